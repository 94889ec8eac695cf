"""The command `notifier sweep`, which reads the whole list of a source now."""

import click

from notifier import log
from notifier.cli import daemon_client
from notifier.cli.context import read_settings, require_source, settings_or_state_file
from notifier.cli.errors import CommandError
from notifier.cli.formatting import counted
from notifier.cli.global_options import GlobalOptions, with_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo, echo_json
from notifier.cli.parameter_types import one_json_object, source_names
from notifier.cli.progress import shown, watch


@click.command(epilog=examples("notifier sweep acme"))
@click.argument("source", shell_complete=source_names)
@one_json_object
@with_global_options
def sweep(given: GlobalOptions, source: str, *, as_json: bool) -> None:
    """Read the whole list of SOURCE now.

    The running daemon begins a sweep, or continues an interrupted one; Ctrl-C only ends the display of its progress.
    Without a daemon, this command runs the sweep, and new events wait in the state file until `notifier run` delivers
    them.
    """
    settings, state_file = settings_or_state_file(given)
    if settings is not None:
        require_source(settings, source)
    with shown(source, quiet=as_json) as show:
        answer = daemon_client.request(state_file, "POST", f"/v1/sources/{source}/sweep")
        if answer is None:
            # Imported only without a daemon, because the import takes half a second.
            from notifier.cli.offline_sources import sweep_alone  # noqa: PLC0415

            settings = settings or read_settings(given)
            log.setup(given.log_level(), "text")
            done = sweep_alone(settings, source, show)
        elif answer.done:
            done = watch(state_file, source, show)
        else:
            raise CommandError(f"{source}: {answer.body['message']}")
    if as_json:
        echo_json(
            [{"source": source, "records": done["records"], "changes": done["changes"], "daemon": answer is not None}]
        )
        return
    echo(
        f"{source}: the whole list was read, {counted(done['records'], 'record')}, {counted(done['changes'], 'change')}"
    )
    if done["changes"] and answer is None:
        echo("No daemon is running: new events wait in the state file until `notifier run` delivers them.")
