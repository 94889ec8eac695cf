"""The command `notifier reload`, which makes the daemon read its configuration again."""

from typing import Any

import click

from notifier.cli import daemon_client
from notifier.cli.context import locate_daemon
from notifier.cli.errors import CommandError, ConfigurationError
from notifier.cli.formatting import format_count
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo, echo_json
from notifier.cli.parameter_types import json_object_option
from notifier.daemon.socket_path import WRONG_CONFIGURATION

_TIMEOUT_SECONDS = 60.0
"""The time limit of a reload, in which the daemon reads the configuration and finishes running requests."""


@click.command(epilog=examples("notifier reload"))
@json_object_option
@pass_global_options
def reload(global_options: GlobalOptions, *, as_json: bool) -> None:
    """Make the running daemon read its configuration again.

    Sources and destinations are added, changed and removed without losing a delivery. If the configuration is invalid,
    nothing changes. The signal SIGHUP has the same effect, with one exception: when the terminal in which the
    daemon was started is closed, the daemon exits (unless it was started with nohup).
    """
    # This command does not check the configuration itself, because only the daemon has systemd's credentials.
    state_file, config_error = locate_daemon(global_options)
    answer = daemon_client.request(state_file, "POST", "/v1/reload", timeout=_TIMEOUT_SECONDS)
    if answer is None and config_error is not None:
        raise config_error
    if answer is None:
        raise CommandError("no daemon is running, so there is nothing to reload; `notifier run` starts one")
    if not answer.done:
        error_type = ConfigurationError if answer.body["reason"] == WRONG_CONFIGURATION else CommandError
        raise error_type(*answer.body["message"].splitlines())
    if as_json:
        echo_json(
            [
                {
                    key: answer.body[key]
                    for key in ("sources", "destinations", "left_to_restart", "handed_over", "unmatched")
                }
            ]
        )
    else:
        echo(*_lines(answer.body))


def _lines(changed: dict[str, Any]) -> list[str]:
    lines = [
        f"{kind} {what}: {', '.join(names)}"
        for kind in ("sources", "destinations")
        for what, names in changed[kind].items()
        if names
    ]
    lines += [
        f"{format_count(count, 'event')} that {'waits' if count == 1 else 'wait'} for {name} would not pass its filters"
        f" any more, and {'is' if count == 1 else 'are'} sent anyway; `notifier deliveries drop {name} --unmatched"
        " --yes` removes those that are still in the queue"
        for name, count in changed["unmatched"].items()
    ]
    if changed["left_to_restart"]:
        lines.append(f"takes effect only after a restart: {', '.join(changed['left_to_restart'])}")
    if not lines:
        lines.append("the configuration was read again; no source and no destination has changed")
    if changed["handed_over"]:
        lines.append(
            "unchanged since the start, because systemd passes them to the service only then (restart it after"
            " changing one): " + ", ".join(changed["handed_over"])
        )
    if changed["message"]:
        lines.append(changed["message"])
    return lines
