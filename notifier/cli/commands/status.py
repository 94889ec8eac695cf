"""`notifier status`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from notifier.cli import running
from notifier.cli.columns import Column
from notifier.cli.configuration import read_settings
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.screen import Listing, say, say_json
from notifier.cli.state_file import reading
from notifier.cli.text import NOTHING, distance, harmless, milliseconds, moment
from notifier.clock import SystemClock
from notifier.config import Settings

_CONDITION_COLUMNS: Final = (
    Column("needs attention"),
    Column("subject"),
    Column("since"),
    Column("summary"),
)
_SOURCE_COLUMNS: Final = (
    Column("source"),
    Column("state"),
    Column("records", right=True),
    Column("last success"),
    Column("next poll"),
    Column("requests", right=True),
    Column("sweep"),
)
_DESTINATION_COLUMNS: Final = (
    Column("destination"),
    Column("state"),
    Column("reason"),
    Column("pending", right=True),
    Column("oldest"),
    Column("delivered", right=True),
    Column("dead", right=True),
)


@click.command(epilog=examples("notifier status", "notifier status --json"))
@click.option("--json", "as_json", is_flag=True, help="Print one line: the object of /v1/status.")
@takes_given
def status(given: Given, *, as_json: bool) -> None:
    """Show how sources and destinations are doing.

    What the running daemon says; without one, what the state file remembers.
    """
    settings = read_settings(given)
    now_ms = SystemClock().now_ms()
    answer = running.ask(settings.store.path, "GET", "/v1/status")
    document = _remembered(settings, now_ms) if answer is None else answer.body
    if as_json:
        say_json([document])
    else:
        _show(document, settings.store.path, now_ms)


def _remembered(settings: Settings, now_ms: int) -> dict[str, Any]:
    # Half a second of imports that the answer of a running daemon never needs.
    from notifier.daemon.remembered import remembered_status  # noqa: PLC0415

    with reading(settings.store.path) as db:
        return remembered_status(db, settings.sources, settings.destinations, now_ms)


def _show(document: dict[str, Any], state_file: Path, now_ms: int) -> None:
    started_ms = milliseconds(document["started_at"])
    if started_ms is None:
        say(f"No daemon runs; this is what the state file {harmless(str(state_file))} remembers.", "")
    else:
        say(f"Completion Notifier {document['version']}, running since {moment(started_ms)}", "")
    if document["conditions"]:
        Listing(*_CONDITION_COLUMNS).show(_condition_row(it, now_ms) for it in document["conditions"])
        say("")
    Listing(*_SOURCE_COLUMNS).show(_source_row(name, it, now_ms) for name, it in document["sources"].items())
    if document["destinations"]:
        say("")
        rows = (_destination_row(name, it, now_ms) for name, it in document["destinations"].items())
        Listing(*_DESTINATION_COLUMNS).show(rows)
    if errors := list(_errors(document, now_ms)):
        say("")
        Listing(Column("last errors"), Column("when"), Column("reason"), Column("message")).show(errors)


def _condition_row(condition: dict[str, Any], now_ms: int) -> tuple[str, ...]:
    return (
        condition["condition"],
        condition["subject"],
        distance(milliseconds(condition["since"]), now_ms),
        condition["summary"],
    )


def _source_row(name: str, source: dict[str, Any], now_ms: int) -> tuple[str, ...]:
    return (
        name,
        source["state"],
        f"{source['records']:,}",
        distance(milliseconds(source["last_success"]), now_ms),
        distance(milliseconds(source["next_poll"]), now_ms),
        f"{source['requests']:,}",
        _sweep(source["sweep"], now_ms),
    )


def _sweep(sweep: dict[str, Any] | None, now_ms: int) -> str:
    if sweep is None:
        return NOTHING
    if sweep["finished_at"] is not None:
        return f"done {distance(milliseconds(sweep['finished_at']), now_ms)}"
    place = f"at page {sweep['next_page']} of {sweep['last_page'] or '?'}"
    return place if sweep["running"] else f"halted {place}"


def _destination_row(name: str, destination: dict[str, Any], now_ms: int) -> tuple[str, ...]:
    return (
        name,
        destination["state"],
        destination["reason"] or NOTHING,
        f"{destination['pending']:,}",
        distance(milliseconds(destination["oldest_pending"]), now_ms),
        f"{destination['delivered']:,}",
        f"{destination['dead']:,}",
    )


def _errors(document: dict[str, Any], now_ms: int) -> Iterator[tuple[str, ...]]:
    for name, described in [*document["sources"].items(), *document["destinations"].items()]:
        error = described["last_error"]
        if error is not None:
            yield name, distance(milliseconds(error["at"]), now_ms), error["reason"], error["message"]
