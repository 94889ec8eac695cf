"""`notifier disable`."""

import click

from notifier.cli.completing import destination_names
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.screen import say
from notifier.cli.switching import switch


@click.command(epilog=examples("notifier disable hr-system"))
@click.argument("destination", shell_complete=destination_names)
@takes_given
def disable(given: Given, destination: str) -> None:
    """Park DESTINATION; what goes there is kept.

    Nothing is sent there until `notifier enable`, over restarts too. What waits for it is neither dropped nor given up
    meanwhile.
    """
    reason = switch(given, destination, enabled=False)
    say(f"{destination} is disabled (reason: {reason}); what goes there is kept until `notifier enable {destination}`")
