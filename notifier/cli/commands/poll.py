"""The command `notifier poll`, which polls a source now."""

import click

from notifier.cli import daemon_client
from notifier.cli.context import require_source, settings_and_state_file, settings_without_daemon
from notifier.cli.errors import CommandError
from notifier.cli.formatting import format_count
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo, echo_json
from notifier.cli.parameter_types import json_object_option, source_names


@click.command(epilog=examples("notifier poll acme"))
@click.argument("source", shell_complete=source_names)
@json_object_option
@pass_global_options
def poll(global_options: GlobalOptions, source: str, *, as_json: bool) -> None:
    """Check SOURCE for new completions now.

    The running daemon polls at once, ahead of its schedule. Without a daemon, this command polls, and new events wait
    in the state file until `notifier run` delivers them.
    """
    settings, state_file = settings_and_state_file(global_options)
    require_source(settings, source)
    # There is no time limit, because a poll may read many pages.
    answer = daemon_client.request(state_file, "POST", f"/v1/sources/{source}/poll", timeout=None)
    if answer is None:
        # Imported only without a daemon, because the import takes half a second.
        from notifier.cli.offline_sources import poll_offline  # noqa: PLC0415

        settings = settings_without_daemon(global_options, settings)
        events = poll_offline(settings, source)
    elif answer.done:
        events = answer.body["events"]
    else:
        raise CommandError(f"{source}: {answer.body['message']}")
    if as_json:
        echo_json([{"source": source, "events": events, "daemon": answer is not None}])
        return
    echo(f"{source}: {format_count(events, 'new event')}")
    if events and answer is None:
        echo("No daemon is running: new events wait in the state file until `notifier run` delivers them.")
