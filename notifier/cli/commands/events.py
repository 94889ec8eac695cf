"""The command `notifier events`, which shows detected events."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import click
import orjson

from notifier.cli.context import settings_and_state_file
from notifier.cli.formatting import Column, local_time
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import TableWriter, echo_bytes, echo_json, is_terminal, show_pages
from notifier.cli.store_access import FollowedStore, follow_store
from notifier.destinations.webhook.envelope import cloudevent
from notifier.events import Event
from notifier.store.queries import history
from notifier.store.queries.feed import highest_sequence

_LATEST_ROWS: Final = 50
_PAGE: Final = 500
_CHECK_SECONDS: Final = 0.2
"""Seconds between two checks for new events; a check takes some microseconds."""

_HIGHEST: Final = 2**63 - 1
"""The largest integer that SQLite supports."""

_COLUMNS: Final = (
    Column("seq", align_right=True, min_width=5),
    Column("detected", min_width=19),
    Column("what", min_width=7),
    Column("source", min_width=8),
    Column("record", min_width=8),
    Column("person", min_width=20),
    Column("training", min_width=28),
    Column("completed"),
)


@click.command(
    epilog=examples(
        "notifier events",
        "notifier events --follow",
        "notifier events --after 1042 --json",
        "notifier events --csv > events.csv",
    )
)
@click.option(
    "--after",
    type=click.IntRange(min=0),
    metavar="SEQ",
    help="Only events after this number; by default the latest 50 on a terminal, else all.",
)
@click.option("--follow", is_flag=True, help="Wait for more, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print CloudEvents, one a line.")
@click.option("--csv", "as_csv", is_flag=True, help="Print a CSV file, for spreadsheets.")
@pass_global_options
def events(global_options: GlobalOptions, after: int | None, *, follow: bool, as_json: bool, as_csv: bool) -> None:
    """Show detected events.

    The newest event comes last. This command works with and without a running daemon. In a CSV file, an apostrophe is
    put before a cell that a spreadsheet would take for a formula.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv cannot be combined")
    settings, state_file = settings_and_state_file(global_options)
    with follow_store(state_file if settings is None else settings.store) as store:
        db, _ = store.current()
        if after is None:
            after = history.sequence_before_latest(db, _LATEST_ROWS) if is_terminal() else 0
        pages = _pages(store, min(after, _HIGHEST), follow=follow)
        if as_csv:
            _show_csv(store, pages)
        else:
            show_pages(pages, _show_json if as_json else _table(may_grow=follow))


def _pages(store: FollowedStore, after: int, *, follow: bool) -> Iterator[list[Event]]:
    while True:
        db, is_replaced = store.current()
        if is_replaced:
            # The new state file may lack the latest events, and may use their numbers for other events.
            after = min(after, highest_sequence(db))
        page = history.events_after(db, after, _PAGE)
        if page:
            yield page
            after = page[-1].sequence
        elif follow:
            time.sleep(_CHECK_SECONDS)
        else:
            return


def _show_json(page: Sequence[Event]) -> None:
    echo_json(cloudevent(event) for event in page)


def _show_csv(store: FollowedStore, pages: Iterable[Sequence[Event]]) -> None:
    """Print events with their deliveries as CSV. The heading is printed even if there are no events."""
    # Imported only here, because the other formats do not need it.
    from notifier.web import event_rows  # noqa: PLC0415

    echo_bytes(event_rows.header_line())
    for page in pages:
        deliveries = history.deliveries_of(store.current()[0], [event.sequence for event in page])
        echo_bytes(event_rows.csv_rows(page, event_rows.group_by_event(deliveries)))


def _table(*, may_grow: bool) -> Callable[[Sequence[Event]], None]:
    listing = TableWriter(*_COLUMNS, may_grow=may_grow)
    return lambda page: listing.show(_row(event) for event in page)


def _row(event: Event) -> tuple[str, ...]:
    data = orjson.loads(event.data)
    completion = data.get("completion") or {}
    return (
        str(event.sequence),
        local_time(event.time_ms),
        event.type.removeprefix("completion."),
        event.source,
        event.subject,
        completion.get("user_name") or completion.get("user_id") or "",
        completion.get("training_title") or completion.get("training_id") or data.get("summary") or "",
        completion.get("completed_on") or "",
    )
