"""The command `notifier replay`, which sends past events again."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import click
import orjson

from notifier.cli import daemon_client
from notifier.cli.context import require_destination, require_source, settings_and_state_file, settings_without_daemon
from notifier.cli.errors import CommandError, StandbyError
from notifier.cli.formatting import format_count, local_time, parse_time_ms
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo, echo_json, is_terminal
from notifier.cli.parameter_types import OneOf, destination_names, json_object_option, reject_empty, source_names
from notifier.cli.progress import request_progress
from notifier.cli.replay_text import history_lines, unfinished_lines
from notifier.cli.store_access import open_store_read_only
from notifier.clock import SystemClock
from notifier.config import Settings, StoreSettings
from notifier.daemon.api.replays import replays_document
from notifier.web.requests import REPLAYABLE_TYPES, ReplaySelection, WrongRequestError, parse_replay

_REFRESH_SECONDS: Final = 0.3
_LONGEST_WAIT_SECONDS: Final = 10.0
"""The command ends when all unfinished destinations have been paused for this long. The daemon continues the replay."""

ShowProgress = Callable[[int, int], None]
"""A function that shows progress. It takes the number of deliveries put back into the queue, and the total."""


@click.command(
    epilog=examples(
        "notifier replay --since 2026-11-21 --dry-run",
        "notifier replay --since 2026-11-01 --until 2026-11-15 --destination hr-system",
        "notifier replay --since 2026-11-21T17:00:00Z --type completion.created",
        "notifier replay --status",
        "notifier replay --stop",
    )
)
@click.option(
    "--since", metavar="DATE", callback=reject_empty, help="Detected from this date (UTC) or moment (RFC 3339) on."
)
@click.option(
    "--until",
    metavar="DATE",
    callback=reject_empty,
    help="Detected up to this date's end, or before this moment; else until now.",
)
@click.option(
    "--destination",
    metavar="D",
    shell_complete=destination_names,
    callback=reject_empty,
    help="Only to this destination.",
)
@click.option(
    "--source", metavar="S", shell_complete=source_names, callback=reject_empty, help="Only events of this source."
)
@click.option("--type", "type_", type=OneOf(REPLAYABLE_TYPES), help="Only events of this type.")
@click.option("--dry-run", is_flag=True, help="Only print how many there are.")
@click.option("--status", is_flag=True, help="Only show the progress of the running replays and of the latest two.")
@click.option("--stop", is_flag=True, help="Stop all running replays for good.")
@json_object_option
@pass_global_options
def replay(
    global_options: GlobalOptions, /, *, type_: str | None, status: bool, stop: bool, as_json: bool, **options: Any
) -> None:
    """Send past events again, under their old ids.

    Each event goes to every destination whose filters match, even if the destination was added after the event. The
    events are sent in small portions, so that at most 500 of them are sent before a new event. Ctrl-C stops the replay;
    a restart of the daemon or a lost terminal does not.
    """
    body = {**options, "type": type_}
    # Wrong usage is reported before any error of the configuration.
    if not (status or stop) and not body["since"]:
        raise click.MissingParameter(param_hint="'--since'", param_type="option")
    if (status or stop) and (status == stop or any(body.values())):
        raise click.UsageError("`--status` and `--stop` cannot be combined with other options")
    settings, state_file = settings_and_state_file(global_options)
    if status or stop:
        progress = (
            _stop_replays(state_file, global_options)
            if stop
            else _read_progress(state_file if settings is None else settings.store)
        )
        if as_json:
            echo_json([progress])
        else:
            echo(*history_lines(progress))
        return
    request = _parse_options(settings, body)
    _request_replay(state_file, global_options, request, body, as_json=as_json)


def _request_replay(
    state_file: Path, global_options: GlobalOptions, request: ReplaySelection, body: dict[str, Any], *, as_json: bool
) -> None:
    plan: dict[str, Any]
    number: int | None = None
    unfinished: list[str] = []
    try:
        with _replay_progress(request, quiet=as_json) as show_progress:
            # There is no time limit, because counting many events takes long.
            answer = daemon_client.request(state_file, "POST", "/v1/replay", body=body, timeout=None)
            if answer is None:
                # Imported only without a daemon, because the import takes half a second.
                from notifier.cli.offline_deliveries import replay_offline  # noqa: PLC0415

                settings = settings_without_daemon(global_options)
                plan = {**replay_offline(settings, request, show_progress)}
            elif not answer.done:
                raise CommandError(answer.body["message"])
            else:
                plan, number = answer.body, answer.body["id"]
                if number is not None:
                    unfinished = unfinished_lines(_wait_for_replay(state_file, number, show_progress))
    except KeyboardInterrupt:
        if not request.dry_run:
            _stop_after_interrupt(state_file, number)
        raise
    if as_json:
        keys = ("events", "deliveries", "destinations", "forgotten_before")
        echo_json([{**{key: plan[key] for key in keys}, "dry_run": request.dry_run, "daemon": answer is not None}])
    else:
        _print_result(plan, request, unfinished, without_daemon=answer is None)


def _parse_options(settings: Settings | None, body: dict[str, Any]) -> ReplaySelection:
    try:
        request = parse_replay(orjson.dumps(body))
    except WrongRequestError as error:
        raise click.UsageError(str(error)) from error
    except TypeError as error:
        raise click.UsageError("an option is not valid UTF-8") from error
    require_destination(settings, request.destination)
    require_source(settings, request.source)
    return request


def _wait_for_replay(state_file: Path, number: int, show_progress: ShowProgress) -> Mapping[str, Any]:
    """Show the progress of the daemon's replay until the replay ends; return the last progress.

    Returns earlier if all unfinished destinations of the replay have been paused for _LONGEST_WAIT_SECONDS. Raises
    CommandError if the daemon or the replay was stopped.
    """
    waiting_since: float | None = None
    while True:
        answer = request_progress(state_file, "/v1/replay")
        if answer is None:
            raise CommandError("the daemon has stopped; the next `notifier run` continues the replay")
        progress = _find_replay(answer.body, number)
        show_progress(progress["queued"], progress["deliveries"])
        if progress["state"] == "done":
            return progress
        if progress["state"] != "running":
            raise CommandError("the replay was stopped before its end", *unfinished_lines(progress))
        running_parts = [part for part in progress["destinations"].values() if part["state"] == "running"]
        if not all(part["waits"] for part in running_parts):
            waiting_since = None
        elif waiting_since is None:
            waiting_since = time.monotonic()
        elif time.monotonic() - waiting_since > _LONGEST_WAIT_SECONDS:
            return progress
        time.sleep(_REFRESH_SECONDS)


def _find_replay(progress: Mapping[str, Any], number: int) -> Mapping[str, Any]:
    """Find the replay with this number in `progress`, the object of `GET /v1/replay`.

    Raises CommandError if `progress` does not contain this replay.
    """
    replays: tuple[Mapping[str, Any] | None, ...] = (progress, progress["previous"], *progress["others"])
    found = next((it for it in replays if it and it["id"] == number), None)
    if found is None:
        raise CommandError("the replay has ended, and others have started since: `notifier replay --status` shows them")
    return found


def _read_progress(store: StoreSettings | Path) -> Mapping[str, Any]:
    """Return the object of `GET /v1/replay`. If the daemon stands by or does not run, the store is read instead."""
    path = store if isinstance(store, Path) else store.path
    with suppress(StandbyError):
        answer = daemon_client.request(path, "GET", "/v1/replay")
        if answer is not None:
            return answer.body
    with open_store_read_only(store) as db:
        return replays_document(db, SystemClock().now_ms())


def _stop_replays(state_file: Path, global_options: GlobalOptions) -> Mapping[str, Any]:
    """Stop all running replays, and return the object of `GET /v1/replay`."""
    answer = daemon_client.request(state_file, "POST", "/v1/replay/stop", timeout=None)
    if answer is not None:
        return answer.body
    # Imported only without a daemon, because the import takes half a second.
    from notifier.cli.offline_deliveries import stop_replay_offline  # noqa: PLC0415

    return stop_replay_offline(settings_without_daemon(global_options))


def _stop_after_interrupt(state_file: Path, number: int | None) -> None:
    """Stop the daemon's replay with this number. If the number is not known yet (None), stop all replays."""
    answer = daemon_client.request(state_file, "POST", "/v1/replay/stop", body={"id": number})
    click.echo(
        "stopped: deliveries that are already in the queue are sent, the rest is not added to the queue", err=True
    )
    for line in (
        unfinished_lines(_find_replay(answer.body, number)) if answer is not None and number is not None else ()
    ):
        click.echo(line, err=True)


def _print_result(
    plan: Mapping[str, Any], request: ReplaySelection, unfinished: list[str], *, without_daemon: bool
) -> None:
    amount = f"{format_count(plan['events'], 'event')}, {format_count(plan['deliveries'], 'delivery', 'deliveries')}"
    if request.dry_run:
        echo(f"{amount} would be put back into the queue")
        echo(*(f"  {name}: {count:,}" for name, count in plan["destinations"].items()))
    else:
        echo(f"{amount} put back into the queue", *unfinished)
        if without_daemon and plan["deliveries"]:
            echo("No daemon is running: they wait in the state file until `notifier run` delivers them.")
    if plan["forgotten_before"] is not None:
        oldest = local_time(parse_time_ms(plan["forgotten_before"]))
        echo(f"Delivered events from before {oldest} were deleted (`retention`) and cannot be sent again.")


@contextmanager
def _replay_progress(request: ReplaySelection, *, quiet: bool) -> Iterator[ShowProgress]:
    """Yield a function that shows a replay's progress.

    With `quiet`, in a dry run, or without a terminal, the function does nothing.
    """
    if quiet or request.dry_run or not is_terminal():
        yield lambda _queued, _total: None
        return
    # Imported only for a terminal, because the import takes a tenth of a second.
    from notifier.cli.rich_output import progress_bar  # noqa: PLC0415

    with progress_bar("replay") as update:
        yield lambda queued, total: update(queued, total, format_count(queued, "delivery", "deliveries"))
