"""`notifier replay`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import click
import orjson

from notifier import logs
from notifier.cli import running
from notifier.cli.configuration import read_settings, require_destination, require_source
from notifier.cli.failures import Failure
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.replayed import history_lines, left_lines
from notifier.cli.screen import is_terminal, say
from notifier.cli.state_file import reading
from notifier.cli.text import counted, milliseconds, moment
from notifier.config import Settings
from notifier.daemon.replays import replays_document
from notifier.web.asked import REPLAYED_TYPES, Replay, WrongRequestError, replay_wish

_LOOK: Final = 0.3

Show = Callable[[int, int], None]
"""Takes how many deliveries are put back into the queue, and of how many."""


@click.command(
    epilog=examples(
        "notifier replay --since 2026-11-21 --dry-run",
        "notifier replay --since 2026-11-01 --until 2026-11-15 --destination hr-system",
        "notifier replay --since 2026-11-21T17:00:00Z --type completion.created",
        "notifier replay --status",
        "notifier replay --stop",
    )
)
@click.option("--since", metavar="DATE", help="Detected from this date (UTC) or moment (RFC 3339) on.")
@click.option("--until", metavar="DATE", help="Detected up to this date's end, or before this moment; else until now.")
@click.option("--destination", metavar="D", help="Only to this destination.")
@click.option("--source", metavar="S", help="Only events of this source.")
@click.option("--type", "type_", type=click.Choice(REPLAYED_TYPES), help="Only events of this type.")
@click.option("--dry-run", is_flag=True, help="Only say how many there are.")
@click.option("--status", is_flag=True, help="Only say how far the replay under way has come, and the latest one.")
@click.option("--stop", is_flag=True, help="End the replay under way for good.")
@takes_given
def replay(given: Given, /, *, type_: str | None, status: bool, stop: bool, **options: Any) -> None:
    """Send past events again, under their old ids.

    To every destination whose filters admit them, one that was added later included. They go out bit by bit, so that
    what is new need not wait. Ctrl-C ends it; a restart of the daemon, or a lost connection to this terminal, does
    not.
    """
    settings = read_settings(given)
    body = {**options, "type": type_}
    if status or stop:
        if status == stop or any(body.values()):
            raise click.UsageError("`--status` and `--stop` go with no other option")
        say(*history_lines(_stopped(settings, given) if stop else _progress(settings)))
        return
    _replay(settings, given, body)


def _replay(settings: Settings, given: Given, body: dict[str, Any]) -> None:
    wish = _checked(settings, body)
    number: int | None = None
    left: list[str] = []
    try:
        with _shown(wish) as show:
            # To count takes as long as there are events: there is no moment at which it has taken too long.
            answer = running.ask(settings.store.path, "POST", "/v1/replay", body=body, timeout=None)
            if answer is None:
                # Half a second of imports that a running daemon makes unnecessary.
                from notifier.cli.alone_deliveries import replay_alone  # noqa: PLC0415

                logs.set_up(given.log_level(), "text")
                plan = replay_alone(settings, wish, show)
            elif not answer.done:
                raise Failure(answer.body["message"])
            else:
                plan, number = answer.body, answer.body["id"]
                if number is not None:
                    left = left_lines(_watched(settings, number, show))
    except KeyboardInterrupt:
        if not wish.dry_run:
            _interrupted(settings, number)
        raise
    _tell(plan, wish, left, alone=answer is None)


def _checked(settings: Settings, body: dict[str, Any]) -> Replay:
    if not body["since"]:
        raise click.MissingParameter(param_hint="'--since'", param_type="option")
    try:
        wish = replay_wish(orjson.dumps(body))
    except WrongRequestError as error:
        raise click.UsageError(str(error)) from error
    if wish.destination is not None:
        require_destination(settings, wish.destination)
    if wish.source is not None:
        require_source(settings, wish.source)
    return wish


def _watched(settings: Settings, number: int, show: Show) -> dict[str, Any]:
    """Watch the daemon's replay to its end, and return what came of it. Raises Failure when it was cut off."""
    while True:
        answer = running.ask(settings.store.path, "GET", "/v1/replay")
        if answer is None:
            raise Failure("the daemon has stopped; the next `notifier run` goes on with the replay")
        progress = _of(answer.body, number)
        show(progress["queued"], progress["deliveries"])
        if progress["state"] == "done":
            return progress
        if progress["state"] != "running":
            raise Failure("the replay was stopped before its end", *left_lines(progress))
        time.sleep(_LOOK)


def _of(told: dict[str, Any], number: int) -> dict[str, Any]:
    """Pick a replay out of what is told of the latest ones."""
    progress = next((it for it in (told, told["previous"]) if it and it["id"] == number), None)
    if progress is None:
        raise Failure("the replay has ended, and others have begun since: `notifier replay --status` tells of them")
    return progress


def _progress(settings: Settings) -> dict[str, Any]:
    """Ask the daemon, or without one the state file, about the latest replays."""
    answer = running.ask(settings.store.path, "GET", "/v1/replay")
    if answer is not None:
        return answer.body
    with reading(settings.store.path) as db:
        return replays_document(db)


def _stopped(settings: Settings, given: Given) -> dict[str, Any]:
    """End the replay under way for good, and return what is told of the latest ones."""
    answer = running.ask(settings.store.path, "POST", "/v1/replay/stop")
    if answer is not None:
        return answer.body
    # Half a second of imports that a running daemon makes unnecessary.
    from notifier.cli.alone_deliveries import stop_replay_alone  # noqa: PLC0415

    logs.set_up(given.log_level(), "text")
    return stop_replay_alone(settings)


def _interrupted(settings: Settings, number: int | None) -> None:
    """End the daemon's replay of this number, or (None) the one that is still being counted."""
    answer = running.ask(settings.store.path, "POST", "/v1/replay/stop", body={"id": number})
    click.echo("stopped: what is in the queue is delivered, the rest is not put there", err=True)
    for line in left_lines(_of(answer.body, number)) if answer is not None and number is not None else ():
        click.echo(line, err=True)


def _tell(plan: dict[str, Any], wish: Replay, left: list[str], *, alone: bool) -> None:
    much = f"{counted(plan['events'], 'event')}, {counted(plan['deliveries'], 'delivery', 'deliveries')}"
    if wish.dry_run:
        say(f"{much} would be put back into the queue")
        say(*(f"  {name}: {count:,}" for name, count in plan["destinations"].items()))
    else:
        say(f"{much} put back into the queue", *left)
        if alone and plan["deliveries"]:
            say("No daemon runs: they wait in the state file until `notifier run` delivers them.")
    if plan["forgotten_before"] is not None:
        bound = moment(milliseconds(plan["forgotten_before"]))
        say(f"What was delivered of events from before {bound} is forgotten (`retention`) and cannot be sent again.")


@contextmanager
def _shown(wish: Replay) -> Iterator[Show]:
    """Draw progress on a terminal; elsewhere the line at the end is enough."""
    if wish.dry_run or not is_terminal():
        yield lambda _queued, _of: None
        return
    # Drawing takes a tenth of a second to import, which a pipe never needs.
    from notifier.cli.terminal import progress_bar  # noqa: PLC0415

    with progress_bar("replay") as update:
        yield lambda queued, of: update(queued, of, counted(queued, "delivery", "deliveries"))
