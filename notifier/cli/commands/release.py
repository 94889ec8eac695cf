"""The command `notifier release`, which reports or accepts changes that are held back."""

from pathlib import Path
from typing import Final

import click

from notifier.cli import daemon_client
from notifier.cli.context import require_source, settings_and_state_file, settings_without_daemon
from notifier.cli.errors import CommandError
from notifier.cli.formatting import format_count
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo, echo_json
from notifier.cli.parameter_types import OneOf, json_object_option, source_names
from notifier.cli.progress import ShowSweep, sweep_progress, wait_for_sweep
from notifier.watch.detection.holds import Direction


@click.command(epilog=examples("notifier release acme arrivals", "notifier release acme removals --silently"))
@click.argument("source", shell_complete=source_names)
@click.argument("what", type=OneOf([str(direction) for direction in Direction]))
@click.option("--silently", is_flag=True, help="Accept what is held back without sending anything.")
@json_object_option
@pass_global_options
def release(global_options: GlobalOptions, source: str, what: str, *, silently: bool, as_json: bool) -> None:
    """Report what SOURCE holds back, or accept it silently.

    Changes that come in large numbers at once are held back: removals, arrivals of records that were entered before
    the notifier first read the account, and changes of one field. `notifier status` shows what is held back. Arrivals
    are released at once. Removals and changes are released by a sweep of the whole list, which starts now. If the
    sweep finds that a change has been undone, the change is not reported. If a daemon is running, Ctrl-C only ends the
    display of the progress, and the sweep continues.
    """
    settings, state_file = settings_and_state_file(global_options)
    require_source(settings, source)
    direction = Direction(what)
    body = {"what": what, "silently": silently}
    with sweep_progress(source, quiet=as_json) as show_progress:
        # There is no time limit, because thousands of arrivals take many writes.
        answer = daemon_client.request(state_file, "POST", f"/v1/sources/{source}/release", body=body, timeout=None)
        if answer is None:
            # Imported only without a daemon, because the import takes half a second.
            from notifier.cli.offline_sources import release_offline  # noqa: PLC0415

            settings = settings_without_daemon(global_options, settings)
            released = release_offline(settings, source, direction, silently=silently, show_progress=show_progress)
        else:
            released = answer.body["records"]
            _wait_for_release(state_file, source, direction, released, show_progress)
    if as_json:
        echo_json(
            [
                {
                    "source": source,
                    "what": what,
                    "silently": silently,
                    "records": released,
                    "daemon": answer is not None,
                }
            ]
        )
        return
    echo(_result_text(source, direction, released, silently=silently))
    if released and not silently and answer is None:
        echo("No daemon is running: released events wait in the state file until `notifier run` delivers them.")


def _wait_for_release(state_file: Path, source: str, what: Direction, released: int, show_progress: ShowSweep) -> None:
    """Wait for the sweep that releases removals or changes. Raises CommandError if the sweep does not finish."""
    if not released or what is Direction.ARRIVALS:
        return
    try:
        wait_for_sweep(state_file, source, show_progress)
    except CommandError as failure:
        raise CommandError(
            f"{failure.message}; the release itself is stored, and the next complete sweep applies it"
        ) from failure


_NOUNS: Final = {
    Direction.REMOVALS: "removal",
    Direction.ARRIVALS: "arrival",
    Direction.CHANGES: "change",
}


def _result_text(source: str, what: Direction, released: int, *, silently: bool) -> str:
    if not released:
        return f"{source}: no {what} are held back"
    outcome = "accepted without reporting" if silently else "released, to be reported"
    return f"{source}: {format_count(released, _NOUNS[what])} {outcome}"
