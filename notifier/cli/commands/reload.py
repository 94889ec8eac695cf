"""`notifier reload`."""

from typing import Any

import click

from notifier.cli import running
from notifier.cli.configuration import read_settings
from notifier.cli.failures import Failure
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.parameters import one_json_object
from notifier.cli.screen import say, say_json

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
    settings = read_settings(given)
    answer = running.ask(settings.store.path, "POST", "/v1/reload", timeout=_PATIENCE)
    if answer is None:
        raise Failure("no daemon runs: there is nothing to reload; `notifier run` starts one")
    if not answer.done:
        raise Failure(answer.body["message"])
    if as_json:
        say_json([{key: answer.body[key] for key in ("sources", "destinations", "left_to_restart")}])
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
    return told or ["the configuration was read again; no source and no destination has changed"]
