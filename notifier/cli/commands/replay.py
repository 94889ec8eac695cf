"""`notifier replay`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import click
import orjson

from notifier import logs
from notifier.cli import running
from notifier.cli.completing import destination_names, source_names
from notifier.cli.configuration import read_settings, require_destination, require_source
from notifier.cli.failures import Failure
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.parameters import OneOf, one_json_object
from notifier.cli.screen import is_terminal, say, say_json
from notifier.cli.text import counted, milliseconds, moment
from notifier.config import Settings
from notifier.web.asked import REPLAYED_TYPES, Replay, WrongRequestError, replay_wish

_LOOK: Final = 0.3

Show = Callable[[int, int], None]
"""Takes how many deliveries are put back into the queue, and of how many."""


@click.command(
    epilog=examples(
        "notifier replay --since 2026-11-21 --dry-run",
        "notifier replay --since 2026-11-01 --until 2026-11-15 --destination hr-system",
        "notifier replay --since 2026-11-21T17:00:00Z --type completion.created",
    )
)
@click.option("--since", metavar="DATE", required=True, help="Detected from this date (UTC) or moment (RFC 3339) on.")
@click.option("--until", metavar="DATE", help="Detected up to this date's end, or before this moment; else until now.")
@click.option("--destination", metavar="D", shell_complete=destination_names, help="Only to this destination.")
@click.option("--source", metavar="S", shell_complete=source_names, help="Only events of this source.")
@click.option("--type", "type_", type=OneOf(REPLAYED_TYPES), help="Only events of this type.")
@click.option("--dry-run", is_flag=True, help="Only say how many there are.")
@one_json_object
@takes_given
def replay(given: Given, /, *, type_: str | None, as_json: bool, **options: Any) -> None:
    """Send past events again, under their old ids.

    To every destination whose filters admit them, one that was added later included. They go out bit by bit, so that
    what is new need not wait; Ctrl-C ends it, and the same command goes on.
    """
    settings = read_settings(given)
    body = {**options, "type": type_}
    wish = _checked(settings, body)
    try:
        with _shown(wish, quiet=as_json) as show:
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
                plan = answer.body
                if not wish.dry_run:
                    _watch(settings, show)
    except KeyboardInterrupt:
        _stop(settings, wish)
        raise
    if as_json:
        keys = ("events", "deliveries", "destinations", "forgotten_before")
        say_json([{**{key: plan[key] for key in keys}, "dry_run": wish.dry_run, "daemon": answer is not None}])
    else:
        _tell(plan, wish, alone=answer is None)


def _checked(settings: Settings, body: dict[str, Any]) -> Replay:
    try:
        wish = replay_wish(orjson.dumps(body))
    except WrongRequestError as error:
        raise click.UsageError(str(error)) from error
    except TypeError as error:
        raise click.UsageError("what is asked for is no text: there are stray bytes in it") from error
    if wish.destination is not None:
        require_destination(settings, wish.destination)
    if wish.source is not None:
        require_source(settings, wish.source)
    return wish


def _watch(settings: Settings, show: Show) -> None:
    """Watch the daemon's replay to its end. Raises Failure when it was cut off."""
    while True:
        answer = running.ask(settings.store.path, "GET", "/v1/replay")
        if answer is None:
            raise Failure("the daemon has stopped before the end: give the same command again once it runs")
        show(answer.body["queued"], answer.body["deliveries"])
        if answer.body["state"] == "done":
            return
        if answer.body["state"] != "running":
            raise Failure("the replay was stopped before its end: the same command goes on")
        time.sleep(_LOOK)


def _stop(settings: Settings, wish: Replay) -> None:
    """End the daemon's replay, if it is one of this command's."""
    if not wish.dry_run:
        running.ask(settings.store.path, "POST", "/v1/replay/stop")
        click.echo("stopped: what is in the queue is delivered, the rest is not put there", err=True)


def _tell(plan: dict[str, Any], wish: Replay, *, alone: bool) -> None:
    much = f"{counted(plan['events'], 'event')}, {counted(plan['deliveries'], 'delivery', 'deliveries')}"
    if wish.dry_run:
        say(f"{much} would be put back into the queue")
        say(*(f"  {name}: {count:,}" for name, count in plan["destinations"].items()))
    else:
        say(f"{much} put back into the queue")
        if alone and plan["deliveries"]:
            say("No daemon runs: they wait in the state file until `notifier run` delivers them.")
    if plan["forgotten_before"] is not None:
        bound = moment(milliseconds(plan["forgotten_before"]))
        say(f"What was delivered of events from before {bound} is forgotten (`retention`) and cannot be sent again.")


@contextmanager
def _shown(wish: Replay, *, quiet: bool) -> Iterator[Show]:
    """Draw progress on a terminal; elsewhere the line at the end is enough."""
    if quiet or wish.dry_run or not is_terminal():
        yield lambda _queued, _of: None
        return
    # Drawing takes a tenth of a second to import, which a pipe never needs.
    from notifier.cli.terminal import progress_bar  # noqa: PLC0415

    with progress_bar("replay") as update:
        yield lambda queued, of: update(queued, of, counted(queued, "delivery", "deliveries"))
