"""`notifier reload`."""

from typing import Any

import click

from notifier.cli import running
from notifier.cli.configuration import locate_state_file
from notifier.cli.failures import Failure, WrongConfiguration
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.parameters import one_json_object
from notifier.cli.screen import say, say_json
from notifier.daemon.places import WRONG_CONFIGURATION

_PATIENCE = 30.0
"""Seconds that it may take: requests under way are given a moment to end."""


@click.command(epilog=examples("notifier reload"))
@one_json_object
@takes_given
def reload(given: Given, *, as_json: bool) -> None:
    """Let the running daemon read its configuration again.

    Sources and destinations are added, changed and removed without losing a delivery. A wrong configuration changes
    nothing. SIGHUP does the same.
    """
    # The daemon reads it, and may have read more than this command can: what systemd hands over is the daemon's alone.
    answer = running.ask(locate_state_file(given), "POST", "/v1/reload", timeout=_PATIENCE)
    if answer is None:
        raise Failure("no daemon runs: there is nothing to reload; `notifier run` starts one")
    if not answer.done:
        kind = WrongConfiguration if answer.body["reason"] == WRONG_CONFIGURATION else Failure
        raise kind(*answer.body["message"].splitlines())
    if as_json:
        say_json([{key: answer.body[key] for key in ("sources", "destinations", "left_to_restart", "handed_over")}])
    else:
        say(*_lines(answer.body))


def _lines(changed: dict[str, Any]) -> list[str]:
    told = [
        f"{kind} {what}: {', '.join(names)}"
        for kind in ("sources", "destinations")
        for what, names in changed[kind].items()
        if names
    ]
    if changed["left_to_restart"]:
        told.append(f"takes effect with the next start only: {', '.join(changed['left_to_restart'])}")
    if not told:
        told.append("the configuration was read again; no source and no destination has changed")
    if changed["handed_over"]:
        told.append(
            "as they were at the start, for systemd hands them over then only (a changed one needs a restart): "
            + ", ".join(changed["handed_over"])
        )
    return told
