"""The command `notifier disable`, which stops sending to a destination."""

import click

from notifier.cli.destination_switch import set_enabled
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo, echo_json
from notifier.cli.parameter_types import destination_names, json_object_option


@click.command(epilog=examples("notifier disable hr-system"))
@click.argument("destination", shell_complete=destination_names)
@json_object_option
@pass_global_options
def disable(global_options: GlobalOptions, destination: str, *, as_json: bool) -> None:
    """Stop sending to DESTINATION; its events are kept.

    It stays disabled until `notifier enable`, even after a restart. Waiting events are kept and are not given up.
    """
    health = set_enabled(global_options, destination, enabled=False)
    if as_json:
        echo_json([health])
        return
    why = f"reason: {health['reason']}"
    echo(f"{destination} is disabled ({why}); its events are kept until `notifier enable {destination}`")
