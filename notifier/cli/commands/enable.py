"""The command `notifier enable`, which sends to a destination again."""

import click

from notifier.cli.destination_switch import set_enabled
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo, echo_json
from notifier.cli.parameter_types import destination_names, json_object_option


@click.command(epilog=examples("notifier enable hr-system"))
@click.argument("destination", shell_complete=destination_names)
@json_object_option
@pass_global_options
def enable(global_options: GlobalOptions, destination: str, *, as_json: bool) -> None:
    """Send to DESTINATION again.

    Use this command after `notifier disable`, after an answer of the receiver has disabled the destination (`notifier
    status` shows why), or to end a pause after failed attempts. Waiting events are sent at once. If no daemon is
    running, the next `notifier run` sends them.
    """
    health = set_enabled(global_options, destination, enabled=True)
    if as_json:
        echo_json([health])
    else:
        tried = "; its pause after failures has ended, and its waiting events are tried now" if health["waited"] else ""
        echo(f"{destination} is enabled{tried}")
        if health["message"]:
            echo(f"But {health['message']}")
