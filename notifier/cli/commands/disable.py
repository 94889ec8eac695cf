"""`notifier disable`."""

import click

from notifier.cli.completing import destination_names
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.parameters import one_json_object
from notifier.cli.screen import say, say_json
from notifier.cli.switching import switch


@click.command(epilog=examples("notifier disable hr-system"))
@click.argument("destination", shell_complete=destination_names)
@one_json_object
@takes_given
def disable(given: Given, destination: str, *, as_json: bool) -> None:
    """Park DESTINATION; what goes there is kept.

    Nothing is sent there until `notifier enable`, over restarts too. What waits for it is neither dropped nor given up
    meanwhile.
    """
    health = switch(given, destination, enabled=False)
    if as_json:
        say_json([health])
        return
    why = f"reason: {health['reason']}"
    say(f"{destination} is disabled ({why}); what goes there is kept until `notifier enable {destination}`")
