"""`notifier sweep`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import click

from notifier import logs
from notifier.cli import running
from notifier.cli.completing import source_names
from notifier.cli.configuration import read_settings, require_source
from notifier.cli.failures import Failure
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.parameters import one_json_object
from notifier.cli.screen import is_terminal, say, say_json
from notifier.cli.text import counted
from notifier.config import Settings

_LOOK: Final = 0.3

Show = Callable[[dict[str, Any]], None]
"""Takes how far a sweep has come, as `/v1/status` tells it."""


@click.command(epilog=examples("notifier sweep acme"))
@click.argument("source", shell_complete=source_names)
@one_json_object
@takes_given
def sweep(given: Given, source: str, *, as_json: bool) -> None:
    """Read the whole list of SOURCE now.

    The running daemon does it, or goes on with a sweep that was cut off; Ctrl-C ends only the watching. Without a
    daemon this command does it; what it finds waits in the state file until `notifier run` delivers it.
    """
    settings = read_settings(given)
    require_source(settings, source)
    with _shown(source, quiet=as_json) as show:
        answer = running.ask(settings.store.path, "POST", f"/v1/sources/{source}/sweep")
        if answer is None:
            # Half a second of imports that a running daemon makes unnecessary.
            from notifier.cli.alone import sweep_alone  # noqa: PLC0415

            logs.set_up(given.log_level(), "text")
            done = sweep_alone(settings, source, show)
        elif answer.done:
            done = _watch(settings, source, show)
        else:
            raise Failure(f"{source}: {answer.body['message']}")
    if as_json:
        say_json(
            [{"source": source, "records": done["records"], "changes": done["changes"], "daemon": answer is not None}]
        )
        return
    say(f"{source}: the whole list is read, {counted(done['records'], 'record')}, {counted(done['changes'], 'change')}")
    if done["changes"] and answer is None:
        say("No daemon runs: what was found waits in the state file until `notifier run` delivers it.")


def _watch(settings: Settings, source: str, show: Show) -> dict[str, Any]:
    """Watch the daemon's sweep to its end and return what came of it. Raises Failure when it was cut off."""
    while True:
        answer = running.ask(settings.store.path, "GET", "/v1/status")
        if answer is None:
            raise Failure("the daemon has stopped; the next `notifier run` goes on with the sweep")
        described = answer.body["sources"][source]
        progress: dict[str, Any] = described["sweep"]
        show(progress)
        if progress["finished_at"] is not None:
            return progress
        if not progress["running"]:
            error = described["last_error"]
            raise Failure(f"{source}: {error['message'] if error else 'the sweep was cut off'}")
        time.sleep(_LOOK)


@contextmanager
def _shown(source: str, *, quiet: bool) -> Iterator[Show]:
    """Draw progress on a terminal; elsewhere the line at the end is enough."""
    if quiet or not is_terminal():
        yield lambda _progress: None
        return
    # Drawing takes a tenth of a second to import, which a pipe never needs.
    from notifier.cli.terminal import progress_bar  # noqa: PLC0415

    with progress_bar(source) as update:
        yield lambda progress: update(
            progress["next_page"] - 1, progress["last_page"], counted(progress["records"], "record")
        )
