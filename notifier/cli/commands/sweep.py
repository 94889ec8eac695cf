"""The command `notifier sweep`, which reads the whole list of a source now."""

import click

from notifier.cli import daemon_client
from notifier.cli.context import require_source, settings_and_state_file, settings_without_daemon
from notifier.cli.errors import CommandError
from notifier.cli.formatting import format_count
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo, echo_json
from notifier.cli.parameter_types import json_object_option, source_names
from notifier.cli.progress import sweep_progress, wait_for_sweep


@click.command(epilog=examples("notifier sweep acme"))
@click.argument("source", shell_complete=source_names)
@json_object_option
@pass_global_options
def sweep(global_options: GlobalOptions, source: str, *, as_json: bool) -> None:
    """Read the whole list of SOURCE now.

    The running daemon begins a sweep, or continues an interrupted one; Ctrl-C only ends the display of its progress.
    Without a daemon, this command runs the sweep, and new events wait in the state file until `notifier run` delivers
    them.
    """
    settings, state_file = settings_and_state_file(global_options)
    require_source(settings, source)
    with sweep_progress(source, quiet=as_json) as show_progress:
        answer = daemon_client.request(state_file, "POST", f"/v1/sources/{source}/sweep", timeout=None)
        if answer is None:
            # Imported only without a daemon, because the import takes half a second.
            from notifier.cli.offline_sources import sweep_offline  # noqa: PLC0415

            settings = settings_without_daemon(global_options, settings)
            result = sweep_offline(settings, source, show_progress)
        elif answer.done:
            result = wait_for_sweep(state_file, source, show_progress)
        else:
            raise CommandError(f"{source}: {answer.body['message']}")
    if as_json:
        echo_json(
            [
                {
                    "source": source,
                    "records": result["records"],
                    "changes": result["changes"],
                    "daemon": answer is not None,
                }
            ]
        )
        return
    records, changes = format_count(result["records"], "record"), format_count(result["changes"], "change")
    echo(f"{source}: the whole list was read, {records}, {changes}")
    if result["changes"] and answer is None:
        echo("No daemon is running: new events wait in the state file until `notifier run` delivers them.")
