"""`notifier events`."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import click
import orjson
from sqlite_utils import Database

from notifier.cli.columns import Column
from notifier.cli.configuration import read_settings
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.screen import Listing, is_terminal, say_json, show_pages
from notifier.cli.state_file import reading
from notifier.cli.text import moment
from notifier.completions import Event
from notifier.deliver.envelope import cloudevent
from notifier.ledger import history

_A_SCREENFUL: Final = 50
_PAGE: Final = 500
_LOOK: Final = 0.2
"""Seconds between two looks for more; one costs some microseconds."""

_HIGHEST: Final = 2**63 - 1
"""The highest number that SQLite knows."""

_COLUMNS: Final = (
    Column("seq", right=True),
    Column("detected"),
    Column("what"),
    Column("source"),
    Column("record"),
    Column("person"),
    Column("training"),
    Column("completed"),
)


@click.command(epilog=examples("notifier events", "notifier events --follow", "notifier events --after 1042 --json"))
@click.option(
    "--after",
    type=click.IntRange(min=0),
    metavar="SEQ",
    help="Only what was detected after the event with this number; by default the latest 50 on a terminal, else all.",
)
@click.option("--follow", is_flag=True, help="Wait for more, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print CloudEvents, one a line.")
@takes_given
def events(given: Given, after: int | None, *, follow: bool, as_json: bool) -> None:
    """Show what was detected.

    The newest event comes last. It works with and without a running daemon.
    """
    settings = read_settings(given)
    with reading(settings.store.path) as db:
        if after is None:
            after = history.sequence_before_latest(db, _A_SCREENFUL) if is_terminal() else 0
        show_pages(_pages(db, min(after, _HIGHEST), follow=follow), _show_json if as_json else _table())


def _pages(db: Database, after: int, *, follow: bool) -> Iterator[list[Event]]:
    while True:
        page = history.events_after(db, after, _PAGE)
        if page:
            yield page
            after = page[-1].sequence
        elif follow:
            time.sleep(_LOOK)
        else:
            return


def _show_json(page: Sequence[Event]) -> None:
    say_json(cloudevent(event) for event in page)


def _table() -> Callable[[Sequence[Event]], None]:
    listing = Listing(*_COLUMNS)
    return lambda page: listing.show(_row(event) for event in page)


def _row(event: Event) -> tuple[str, ...]:
    data = orjson.loads(event.data)
    completion = data.get("completion") or {}
    return (
        str(event.sequence),
        moment(event.time_ms),
        event.type.removeprefix("completion."),
        event.source,
        event.subject,
        completion.get("user_name") or completion.get("user_id") or "",
        completion.get("training_title") or completion.get("training_id") or data.get("summary") or "",
        completion.get("completed_on") or "",
    )
