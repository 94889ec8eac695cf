"""`notifier enable`."""

import click

from notifier.cli.completing import destination_names
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.parameters import one_json_object
from notifier.cli.screen import say, say_json
from notifier.cli.switching import switch


@click.command(epilog=examples("notifier enable hr-system"))
@click.argument("destination", shell_complete=destination_names)
@one_json_object
@takes_given
def enable(given: Given, destination: str, *, as_json: bool) -> None:
    """Resume DESTINATION.

    It does not matter who disabled it, the operator or its own answer. What waited for it is delivered, by the next
    `notifier run` when no daemon runs now.
    """
    health = switch(given, destination, enabled=True)
    if as_json:
        say_json([health])
    else:
        say(f"{destination} is enabled")
