"""`notifier poll`."""

import click

from notifier import logs
from notifier.cli import running
from notifier.cli.completing import source_names
from notifier.cli.configuration import read_settings, require_source
from notifier.cli.failures import Failure
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.parameters import one_json_object
from notifier.cli.screen import say, say_json
from notifier.cli.text import counted


@click.command(epilog=examples("notifier poll acme"))
@click.argument("source", shell_complete=source_names)
@one_json_object
@takes_given
def poll(given: Given, source: str, *, as_json: bool) -> None:
    """Look for new completions of SOURCE now.

    The running daemon does it, out of turn. Without one this command does it; what it finds waits in the state file
    until `notifier run` delivers it.
    """
    settings = read_settings(given)
    require_source(settings, source)
    # A round takes as long as its pages do: there is no moment at which it has taken too long.
    answer = running.ask(settings.store.path, "POST", f"/v1/sources/{source}/poll", timeout=None)
    if answer is None:
        # Half a second of imports that a running daemon makes unnecessary.
        from notifier.cli.alone import poll_alone  # noqa: PLC0415

        logs.set_up(given.log_level(), "text")
        events = poll_alone(settings, source)
    elif answer.done:
        events = answer.body["events"]
    else:
        raise Failure(f"{source}: {answer.body['message']}")
    if as_json:
        say_json([{"source": source, "events": events, "daemon": answer is not None}])
        return
    say(f"{source}: {counted(events, 'new event')}")
    if events and answer is None:
        say("No daemon runs: what was found waits in the state file until `notifier run` delivers it.")
