"""The command `notifier disable`, which stops sending to a destination."""

import click

from notifier.cli.destination_switch import switch
from notifier.cli.global_options import GlobalOptions, with_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo, echo_json
from notifier.cli.parameter_types import destination_names, one_json_object


@click.command(epilog=examples("notifier disable hr-system"))
@click.argument("destination", shell_complete=destination_names)
@one_json_object
@with_global_options
def disable(given: GlobalOptions, destination: str, *, as_json: bool) -> None:
    """Stop sending to DESTINATION; its events are kept.

    It stays disabled until `notifier enable`, across restarts too. Waiting events are not dropped and do not expire.
    """
    health = switch(given, destination, enabled=False)
    if as_json:
        echo_json([health])
        return
    why = f"reason: {health['reason']}"
    echo(f"{destination} is disabled ({why}); its events are kept until `notifier enable {destination}`")
