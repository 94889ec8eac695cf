"""The command `notifier deliveries`, which shows, drops and moves deliveries."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import click

from notifier import log
from notifier.cli import daemon_client
from notifier.cli.context import read_settings, require_destination, settings_or_state_file
from notifier.cli.errors import CommandError
from notifier.cli.formatting import NOTHING, Column, counted, distance, moment
from notifier.cli.global_options import GlobalOptions, with_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import TableWriter, echo, echo_json, is_terminal, show_pages
from notifier.cli.parameter_types import OneOf, destination_names, one_json_object
from notifier.cli.store_access import Followed, following
from notifier.clock import SystemClock
from notifier.config import Settings
from notifier.daemon.api.delivery import delivery_document
from notifier.store.database import Database
from notifier.store.queries import history
from notifier.store.queries.history import DeliveryCursor, DeliveryFilter, PastDelivery
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.requeue import Drop
from notifier.web.requests import DROPPED_STATES

EVENT_ID: Final = "evt_"
"""The prefix of every event id; no destination's name can begin with it."""

_A_SCREENFUL: Final = 50
_PAGE: Final = 500
_LOOK_SECONDS: Final = 0.2
"""Seconds between two checks for new deliveries; a check takes some microseconds."""

_COLUMNS: Final = (
    Column("event", least=30),
    Column("record", least=8),
    Column("destination", least=12),
    Column("state", least=9),
    Column("attempts", right=True),
    Column("last answer", least=20),
    Column("decision", least=12),
    Column("next attempt"),
)


@click.group(
    invoke_without_command=True,
    epilog=examples(
        "notifier deliveries",
        "notifier deliveries --state dead --destination hr-system",
        "notifier deliveries --follow",
        "notifier deliveries --state pending --json",
        "notifier deliveries drop evt_o5xz64gu32q36eieigh27fof3j --yes",
    ),
)
@click.option("--state", type=OneOf([str(state) for state in DeliveryState]), help="Only those in this state.")
@click.option("--destination", metavar="D", shell_complete=destination_names, help="Only those to this destination.")
@click.option("--follow", is_flag=True, help="Wait for further attempts, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON objects, one a line.")
@with_global_options
@click.pass_context
def deliveries(
    context: click.Context,
    given: GlobalOptions,
    state: str | None,
    destination: str | None,
    *,
    follow: bool,
    as_json: bool,
) -> None:
    """Show deliveries: what was sent, retried or given up.

    Shows the latest 50 on a terminal, otherwise all of them, newest last. With --follow it goes on to show each
    attempt as it is made. It works with and without a running daemon. `notifier deliveries drop` removes deliveries
    from the queue; `notifier deliveries move` moves them to a destination that was renamed.
    """
    if context.invoked_subcommand is not None:
        return
    settings, state_file = settings_or_state_file(given)
    chosen = DeliveryFilter(None if state is None else DeliveryState(state), destination)
    with following(state_file if settings is None else settings.store) as file:
        _check_destination(file.now()[0], settings, destination)
        show_pages(_pages(file, chosen, follow=follow), _show_json if as_json else _table(grows=follow))


@deliveries.command(
    epilog=examples(
        "notifier deliveries drop old-system --yes",
        "notifier deliveries drop evt_o5xz64gu32q36eieigh27fof3j --destination hr-system --yes",
        "notifier deliveries drop hr-system --unmatched --yes",
    )
)
@click.argument("what", metavar="DESTINATION|EVENT_ID")
@click.option(
    "--destination", metavar="D", shell_complete=destination_names, help="With EVENT_ID: only to this destination."
)
@click.option(
    "--state",
    type=OneOf([str(state) for state in DROPPED_STATES]),
    default=str(DeliveryState.PENDING),
    show_default=True,
    help="Those that wait, or those that were given up.",
)
@click.option("--unmatched", is_flag=True, help="Only those whose events the destination's filters now exclude.")
@click.option("--yes", is_flag=True, help="Do it. Without --yes, only print how many there are.")
@one_json_object
@with_global_options
def drop(
    given: GlobalOptions, what: str, destination: str | None, state: str, *, unmatched: bool, yes: bool, as_json: bool
) -> None:
    """Remove deliveries from the queue for good; they are never sent.

    Removes those of one event, or all those to one destination, even if it is no longer configured. The events
    themselves are kept, and a replay can send them again.
    """
    settings, state_file = settings_or_state_file(given)
    if what.startswith(EVENT_ID):
        wish = Drop((what,), destination, DeliveryState(state), unmatched=unmatched)
    elif destination is not None:
        raise click.UsageError("`--destination` needs an event's id: name the destination only once")
    else:
        wish = Drop((), what, DeliveryState(state), unmatched=unmatched)
    body = {
        "event_ids": wish.event_ids,
        "destination": wish.destination,
        "state": state,
        "unmatched": unmatched,
        "dry_run": not yes,
    }
    answer = daemon_client.request(state_file, "POST", "/v1/deliveries/drop", body=body)
    if answer is not None:
        told: Mapping[str, Any] = answer.body
    else:
        # Imported only without a daemon, because the import takes half a second.
        from notifier.cli.offline_deliveries import drop_alone  # noqa: PLC0415

        settings = settings or read_settings(given)
        log.setup(given.log_level(), "text")
        told = drop_alone(settings, wish, dry_run=not yes)
    if as_json:
        echo_json([{**told, "daemon": answer is not None}])
        return
    echo(f"{counted(told['deliveries'], 'delivery', 'deliveries')} {'dropped' if yes else 'would be dropped'}")
    echo(*(f"  {name}: {count:,}" for name, count in told["destinations"].items()))
    if not yes and told["deliveries"]:
        raise CommandError("nothing was dropped: add `--yes` to drop them")


@deliveries.command(epilog=examples("notifier deliveries move hr hr-system"))
@click.argument("old")
@click.argument("new", shell_complete=destination_names)
@one_json_object
@with_global_options
def move(given: GlobalOptions, old: str, new: str, *, as_json: bool) -> None:
    """Move the deliveries that wait for OLD to NEW.

    OLD is a destination that is no longer configured, for example because it was renamed. Events keep their ids,
    and NEW is not sent anything that it already has.
    """
    settings, state_file = settings_or_state_file(given)
    if settings is not None:
        require_destination(settings, new)
    answer = daemon_client.request(state_file, "POST", "/v1/deliveries/move", body={"from": old, "to": new})
    if answer is not None:
        done, told = answer.done, answer.body
    else:
        # Imported only without a daemon, because the import takes half a second.
        from notifier.cli.offline_deliveries import move_alone  # noqa: PLC0415

        settings = settings or read_settings(given)
        log.setup(given.log_level(), "text")
        alone = move_alone(settings, old, new)
        done, told = alone.ok, dict(alone.body)
    if not done:
        raise CommandError(told["message"])
    if as_json:
        echo_json([{**told, "daemon": answer is not None}])
        return
    echo(f"{counted(told['deliveries'], 'delivery', 'deliveries')} moved to {new}")


def _check_destination(db: Database, settings: Settings | None, name: str | None) -> None:
    """Raise CommandError if no destination of this name is configured or has past deliveries."""
    if settings is not None and name is not None and name not in history.known_destination_names(db):
        require_destination(settings, name)


def _pages(file: Followed, chosen: DeliveryFilter, *, follow: bool) -> Iterator[list[PastDelivery]]:
    db, _ = file.now()
    attempt = history.newest_attempt(db)
    yield from _past_pages(db, chosen)
    while follow:
        db, is_another = file.now()
        if is_another:
            # A state file that replaces another may number its attempts differently.
            attempt = min(attempt, history.newest_attempt(db))
        before = attempt
        tried, attempt = history.tried_after(db, attempt, chosen, _PAGE)
        if tried:
            yield tried
        elif attempt == before:
            time.sleep(_LOOK_SECONDS)


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
    echo_json(delivery_document(delivery) for delivery in page)


def _table(*, grows: bool) -> Callable[[Sequence[PastDelivery]], None]:
    listing, clock = TableWriter(*_COLUMNS, grows=grows), SystemClock()
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
    due = distance(None if due_ms is None else max(due_ms, now_ms), now_ms)
    return due if delivery.scheduled_ms is None else f"{due} (schedule: {moment(delivery.scheduled_ms)[:16]})"
