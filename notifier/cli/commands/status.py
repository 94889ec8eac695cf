"""The command `notifier status`, which shows the state of sources and destinations."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from notifier import __version__
from notifier.cli import daemon_client
from notifier.cli.context import read_settings, settings_and_state_file
from notifier.cli.errors import CommandError, ExitCode
from notifier.cli.formatting import (
    NOTHING,
    Column,
    format_count,
    local_time,
    parse_time_ms,
    relative_time,
    terminal_safe,
)
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import TableWriter, echo, echo_json
from notifier.cli.store_access import open_store_read_only
from notifier.clock import Clock, SystemClock
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
    Column("records", align_right=True),
    Column("last success"),
    Column("next poll"),
    Column("requests", align_right=True),
    Column("sweep"),
)
_DETECTION_COLUMNS: Final = (Column("source"), Column("detection"), Column("what"))
_DESTINATION_COLUMNS: Final = (
    Column("destination"),
    Column("state"),
    Column("reason"),
    Column("pending", align_right=True),
    Column("oldest"),
    Column("next attempt"),
    Column("delivered", align_right=True),
    Column("dead", align_right=True),
)

_BY_OPERATOR: Final = "operator"
"""The `reason` of a destination that an operator has disabled. A copy, because importing the store is slow."""


@click.command(epilog=examples("notifier status", "notifier status --json", "notifier status --exit-code"))
@click.option("--json", "as_json", is_flag=True, help="Print one line: the object of /v1/status.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 while anything fails or needs attention.")
@pass_global_options
def status(global_options: GlobalOptions, *, as_json: bool, exit_code: bool) -> None:
    """Show the state of sources and destinations.

    Asks the running daemon. If no daemon is running, shows what is stored in the state file. The exit code is 0 if the
    status could be shown. With --exit-code, the exit code is 1 while anything fails: no daemon is running (on any
    machine), a condition is active, a source or a destination fails, deliveries were given up, or the daemon has not
    evaluated its state for a while.
    """
    settings, state_file = settings_and_state_file(global_options)
    clock = SystemClock()
    now_ms = clock.now_ms()
    answer = daemon_client.request(state_file, "GET", "/v1/status")
    if answer is None and (holder := daemon_client.lock_holder_pid(state_file)):
        raise CommandError(
            f"process {holder} uses the state file {state_file} and does not answer yet: it is starting (opening a"
            " large file takes minutes) or stopping, or its socket was removed; see its log"
        )
    document = answer.body if answer is not None else _stored_status(settings or read_settings(global_options), clock)
    if as_json:
        echo_json([document])
    else:
        _show(document, state_file, now_ms)
    if exit_code and is_failing(document):
        raise click.exceptions.Exit(ExitCode.FAILED)


def is_failing(document: Mapping[str, Any]) -> bool:
    """Return whether the object of `/v1/status` shows any failure, or that no daemon is running. Pure."""
    evaluation, destinations = document["evaluation"], document["destinations"].values()
    has_daemon = document["started_at"] is not None or document["store"]["holder"] is not None
    return (
        not has_daemon
        or bool(document["conditions"])
        or (evaluation["at"] is not None and not evaluation["well"])
        or any(source["state"] == "failing" for source in document["sources"].values())
        or any(it["state"] == "retrying" or it["dead"] or _is_disabled_by_notifier(it) for it in destinations)
    )


def _is_disabled_by_notifier(destination: Mapping[str, Any]) -> bool:
    return bool(destination["state"] == "disabled" and destination["reason"] != _BY_OPERATOR)


def _stored_status(settings: Settings, clock: Clock) -> Mapping[str, Any]:
    # Imported only without a daemon, because the import takes half a second.
    from notifier.daemon.api.stored_status import stored_status_document  # noqa: PLC0415

    with open_store_read_only(settings.store) as db:
        return stored_status_document(db, settings.sources, settings.destinations, clock)


def _schedule_line(name: str, events: int, until_ms: int | None, now_ms: int) -> str:
    when = f"{local_time(until_ms)} ({relative_time(until_ms, now_ms)})"
    if until_ms is not None and until_ms <= now_ms:
        return f"{format_count(events, 'event')} for `{name}`: due by its schedule since {when}"
    return f"{format_count(events, 'event waits', 'events wait')} for the schedule of `{name}`: until {when}"


def _show(document: Mapping[str, Any], state_file: Path, now_ms: int) -> None:
    echo(*_heading_lines(document, state_file), *_clock_warnings(document), "")
    if document["conditions"]:
        TableWriter(*_CONDITION_COLUMNS).show(_condition_row(it, now_ms) for it in document["conditions"])
        echo("")
    TableWriter(*_SOURCE_COLUMNS).show(_source_row(name, it, now_ms) for name, it in document["sources"].items())
    detection = [row for name, it in document["sources"].items() for row in _detection_rows(name, it)]
    if detection:
        echo("")
        TableWriter(*_DETECTION_COLUMNS).show(detection)
    if document["destinations"]:
        echo("")
        rows = (_destination_row(name, it, now_ms) for name, it in document["destinations"].items())
        TableWriter(*_DESTINATION_COLUMNS).show(rows)
    for name, it in document["destinations"].items():
        if it["scheduled"]:
            echo("", _schedule_line(name, it["scheduled"], parse_time_ms(it["scheduled_for"]), now_ms))
    for it in document["replays"]:
        amount = f"{it['queued']:,} of {format_count(it['deliveries'], 'delivery', 'deliveries')}"
        echo("", f"A replay to `{it['destination']}` is running: {amount} put back into the queue")
    if errors := list(_error_rows(document, now_ms)):
        echo("")
        TableWriter(Column("last errors"), Column("when"), Column("reason"), Column("message")).show(errors)


def _heading_lines(document: Mapping[str, Any], state_file: Path) -> Iterator[str]:
    """Yield lines about the daemon and about the place where its state is stored."""
    started_ms = parse_time_ms(document["started_at"])
    in_database = document["store"]["kind"] != "file"
    if document.get("standby"):
        yield f"This process stands by; {_holder_text(document)}."
    elif started_ms is not None:
        yield f"Completion Notifier {document['version']}, running since {local_time(started_ms)}"
        if document["version"] != __version__:
            yield f"Warning: {__version__} is installed: restart the daemon to run it."
        if in_database:
            yield f"Its state is in a database; {_holder_text(document)}"
        yield _evaluation_line(document["evaluation"])
    elif in_database:
        yield f"No daemon is running on this machine; {_holder_text(document)}. This is what the database contains."
    else:
        yield f"No daemon is running; this is what the state file {terminal_safe(str(state_file))} contains."


def _clock_warnings(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield a warning if the clocks of this machine and of the database server differ."""
    if (seconds := document["store"].get("clock_ahead_seconds")) is not None:
        # Imported here, because most stores are files.
        from notifier.store.postgres.server_clock import difference_sentence  # noqa: PLC0415

        if sentence := difference_sentence(round(seconds * 1000)):
            yield f"Warning: {sentence}."


def _holder_text(document: Mapping[str, Any]) -> str:
    store = document["store"]
    if store["holder"] is None:
        return "no process holds the database"
    return f"{terminal_safe(store['holder'])} holds the database since {local_time(parse_time_ms(store['since']))}"


def _evaluation_line(evaluation: Mapping[str, Any]) -> str:
    if evaluation["at"] is None:
        return "Its state has not been evaluated yet."
    destination = evaluation["alerts_to"]
    alerts_text = (
        f"alerts go to {destination}" if destination else "alerts go to no one (set [alerts] in the configuration)"
    )
    return f"State evaluated {evaluation['age_seconds']:.0f} s ago; {alerts_text}"


def _condition_row(condition: Mapping[str, Any], now_ms: int) -> tuple[str, ...]:
    summary, remedy = condition["summary"], condition.get("remedy")
    return (
        condition["condition"],
        condition["subject"],
        relative_time(parse_time_ms(condition["since"]), now_ms),
        # Some summaries contain the same advice.
        f"{summary}. What to do: {remedy}" if remedy and remedy not in summary else summary,
    )


def _source_row(name: str, source: Mapping[str, Any], now_ms: int) -> tuple[str, ...]:
    return (
        name,
        source["state"],
        f"{source['records']:,}",
        relative_time(parse_time_ms(source["last_success"]), now_ms),
        relative_time(parse_time_ms(source["next_poll"]), now_ms),
        f"{source['requests']:,}",
        _sweep_text(source["sweep"], now_ms),
    )


def _detection_rows(name: str, source: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield rows about the detection of changes in a source, such as held records and differences of the count."""
    held = source["held"]
    for what, one in held.items():
        if one["records"]:
            field = f" of `{one['field']}`" if one.get("field") else ""
            example = f", such as {one['example']}" if one.get("example") else ""
            release = f"`notifier release {name} {what}` reports them"
            yield name, "held back", f"{one['records']:,} {what}{field}{example}: {release}"
    waiting = [format_count(number, kind.replace("_", " ")) for kind, number in source["waiting"].items() if number]
    if waiting:
        yield name, "waiting", f"for a second look: {', '.join(waiting)}"
    figures = {
        "unexplained": (source["unexplained"], "+,"),
        "an error of the API": (source["count_offset"], "+,"),
        "unreadable": (source["unreadable"], ","),
    }
    if any(number for number, _ in figures.values()):
        parts = [f"{number:{form}} {what}" for what, (number, form) in figures.items() if number]
        yield name, "count", f"the API's differs from the known records: {', '.join(parts)}"
    if example := source["unreadable_example"]:
        example_text = "" if example["record"] is None else f", such as {example['record']}"
        yield name, "unreadable", f"{format_count(source['unreadable'], 'record')}{example_text}: {example['problem']}"
    if error := source["failing"].get("names"):
        passes = "filters let events pass if what they check is unknown"
        yield name, "names", f"cannot be read, so {passes}: {error['message']}"
    if source["searching"]:
        yield name, "searching", "for a change of an older record"
    budget = source["budget"]
    if budget["used"]:
        by = ", ".join(f"{purpose} {used:,}" for purpose, used in budget["by"].items() if used)
        waiting_text = f"; {budget['waiting']:,} wait" if budget["waiting"] else ""
        yield name, "requests", f"{budget['used']:,} of {budget['allowed']:g} in the last minute: {by}{waiting_text}"


def _sweep_text(sweep: Mapping[str, Any] | None, now_ms: int) -> str:
    if sweep is None:
        return NOTHING
    if sweep["finished_at"] is not None:
        return f"done {relative_time(parse_time_ms(sweep['finished_at']), now_ms)}"
    place = f"at page {sweep['next_page']} of {sweep['last_page'] or '?'}"
    return place if sweep["running"] else f"stopped {place}"


def _destination_row(name: str, destination: Mapping[str, Any], now_ms: int) -> tuple[str, ...]:
    return (
        name,
        destination["state"],
        destination["reason"] or NOTHING,
        f"{destination['pending']:,}",
        relative_time(parse_time_ms(destination["oldest_pending"]), now_ms),
        relative_time(parse_time_ms(destination["next_attempt"]), now_ms),
        f"{destination['delivered']:,}",
        f"{destination['dead']:,}",
    )


def _error_rows(document: Mapping[str, Any], now_ms: int) -> Iterator[tuple[str, ...]]:
    for name, described in [*document["sources"].items(), *document["destinations"].items()]:
        error = described["last_error"]
        if error is not None:
            yield name, relative_time(parse_time_ms(error["at"]), now_ms), error["reason"], error["message"]
