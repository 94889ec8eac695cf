"""The command `notifier release`, which reports or accepts changes that are held back."""

from pathlib import Path
from typing import Final

import click

from notifier import log
from notifier.cli import daemon_client
from notifier.cli.context import read_settings, require_source, settings_or_state_file
from notifier.cli.errors import CommandError
from notifier.cli.formatting import counted
from notifier.cli.global_options import GlobalOptions, with_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo, echo_json
from notifier.cli.parameter_types import OneOf, one_json_object, source_names
from notifier.cli.progress import Show, shown, watch
from notifier.watch.detection.holds import Direction


@click.command(epilog=examples("notifier release acme arrivals", "notifier release acme removals --silently"))
@click.argument("source", shell_complete=source_names)
@click.argument("what", type=OneOf([str(what) for what in Direction]))
@click.option("--silently", is_flag=True, help="Accept what is held back without sending anything.")
@one_json_object
@with_global_options
def release(given: GlobalOptions, source: str, what: str, *, silently: bool, as_json: bool) -> None:
    """Report what SOURCE holds back, or accept it silently.

    Changes that come in large numbers at once are held back: removals, arrivals of records that were entered before
    the notifier first read the account, and changes of one field. `notifier status` shows what is held back. Arrivals
    are released at once; removals and changes are released by a sweep of the whole list, which starts now. Ctrl-C only
    ends the display of its progress. Changes that have been undone by then are not reported.
    """
    settings, state_file = settings_or_state_file(given)
    if settings is not None:
        require_source(settings, source)
    direction = Direction(what)
    body = {"what": what, "silently": silently}
    with shown(source, quiet=as_json) as show:
        # There is no time limit, because thousands of arrivals take many writes.
        answer = daemon_client.request(state_file, "POST", f"/v1/sources/{source}/release", body=body, timeout=None)
        if answer is None:
            # Imported only without a daemon, because the import takes half a second.
            from notifier.cli.offline_sources import release_alone  # noqa: PLC0415

            settings = settings or read_settings(given)
            log.setup(given.log_level(), "text")
            released = release_alone(settings, source, direction, silently=silently, show=show)
        else:
            released = answer.body["records"]
            _wait(state_file, source, direction, released, show)
    if as_json:
        echo_json(
            [{"source": source, "what": what, "silently": silently, "records": released, "daemon": answer is not None}]
        )
        return
    echo(_said(source, direction, released, silently=silently))
    if released and not silently and answer is None:
        echo("No daemon is running: released events wait in the state file until `notifier run` delivers them.")


def _wait(state_file: Path, source: str, what: Direction, released: int, show: Show) -> None:
    """Wait for the daemon's sweep that releases removals or changes. Raises CommandError if it does not finish."""
    if not released or what is Direction.ARRIVALS:
        return
    try:
        watch(state_file, source, show)
    except CommandError as failure:
        raise CommandError(
            f"{failure.message}; the release itself is stored, and the next complete sweep applies it"
        ) from failure


_HELD: Final = {
    Direction.REMOVALS: "removal",
    Direction.ARRIVALS: "arrival",
    Direction.CHANGES: "change",
}


def _said(source: str, what: Direction, released: int, *, silently: bool) -> str:
    if not released:
        return f"{source}: no {what} are held back"
    how = "accepted without reporting" if silently else "released, to be reported"
    return f"{source}: {counted(released, _HELD[what])} {how}"
