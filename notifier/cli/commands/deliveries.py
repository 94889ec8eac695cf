"""`notifier deliveries`."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import click
from sqlite_utils import Database

from notifier.cli.columns import Column
from notifier.cli.completing import destination_names
from notifier.cli.configuration import read_settings, require_destination
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.parameters import OneOf
from notifier.cli.screen import Listing, is_terminal, say_json, show_pages
from notifier.cli.state_file import reading
from notifier.cli.text import NOTHING, distance
from notifier.clock import SystemClock
from notifier.config import Settings
from notifier.ledger import history
from notifier.ledger.history import DeliveryCursor, DeliveryFilter, PastDelivery
from notifier.ledger.outbox import DeliveryState

_A_SCREENFUL: Final = 50
_PAGE: Final = 500
_LOOK: Final = 0.2
"""Seconds between two looks for more; one costs some microseconds."""

_COLUMNS: Final = (
    Column("event"),
    Column("record"),
    Column("destination"),
    Column("state"),
    Column("attempts", right=True),
    Column("last answer"),
    Column("decision"),
    Column("next attempt"),
)


@click.command(
    epilog=examples(
        "notifier deliveries",
        "notifier deliveries --state dead --destination hr-system",
        "notifier deliveries --follow",
        "notifier deliveries --state pending --json",
    )
)
@click.option("--state", type=OneOf([str(state) for state in DeliveryState]), help="Only those in this state.")
@click.option("--destination", metavar="D", shell_complete=destination_names, help="Only those to this destination.")
@click.option("--follow", is_flag=True, help="Wait for further attempts, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON objects, one a line.")
@takes_given
def deliveries(given: Given, state: str | None, destination: str | None, *, follow: bool, as_json: bool) -> None:
    """Show what was sent, tried, given up.

    The latest 50 on a terminal, else all, the newest last; then, where it follows, each delivery that is tried, as
    often as it is. It works with and without a running daemon.
    """
    settings = read_settings(given)
    chosen = DeliveryFilter(None if state is None else DeliveryState(state), destination)
    with reading(settings.store.path) as db:
        _check_destination(db, settings, destination)
        show_pages(_pages(db, chosen, follow=follow), _show_json if as_json else _table())


def _check_destination(db: Database, settings: Settings, name: str | None) -> None:
    """Raise UnknownName unless the configuration or the past has a destination of that name."""
    if name is not None and name not in history.destinations_told(db):
        require_destination(settings, name)


def _pages(db: Database, chosen: DeliveryFilter, *, follow: bool) -> Iterator[list[PastDelivery]]:
    attempt = history.newest_attempt(db)
    yield from _past_pages(db, chosen)
    while follow:
        before = attempt
        tried, attempt = history.tried_after(db, attempt, chosen, _PAGE)
        if tried:
            yield tried
        elif attempt == before:
            time.sleep(_LOOK)


def _past_pages(db: Database, chosen: DeliveryFilter) -> Iterator[list[PastDelivery]]:
    if is_terminal():
        if latest := history.latest_deliveries(db, chosen, _A_SCREENFUL):
            yield latest
        return
    cursor = DeliveryCursor()
    while page := history.deliveries_after(db, cursor, chosen, _PAGE):
        yield page
        cursor = page[-1].cursor


def _show_json(page: Sequence[PastDelivery]) -> None:
    say_json(delivery.document() for delivery in page)


def _table() -> Callable[[Sequence[PastDelivery]], None]:
    listing, clock = Listing(*_COLUMNS), SystemClock()
    return lambda page: listing.show(_row(delivery, clock.now_ms()) for delivery in page)


def _row(delivery: PastDelivery, now_ms: int) -> tuple[str, ...]:
    return (
        delivery.event,
        delivery.record,
        delivery.destination,
        delivery.state,
        str(delivery.attempts),
        f"{delivery.reason or NOTHING} {delivery.status or ''}",
        delivery.decision or NOTHING,
        _next_attempt(delivery, now_ms),
    )


def _next_attempt(delivery: PastDelivery, now_ms: int) -> str:
    due_ms = delivery.next_attempt_ms
    return distance(None if due_ms is None else max(due_ms, now_ms), now_ms)
