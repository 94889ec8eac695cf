"""`notifier backup`."""

from pathlib import Path

import click

from notifier.cli.configuration import read_settings
from notifier.cli.copying import shown_copying
from notifier.cli.failures import told
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.screen import say
from notifier.cli.text import harmless, moment
from notifier.ledger.backup import BackupError, back_up


@click.command(epilog=examples("notifier backup /var/backups/notifier.db", "notifier backup --force latest.db"))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite FILE if it exists.")
@takes_given
def backup(given: Given, file: Path, *, force: bool) -> None:
    """Copy the state file to FILE, while the daemon runs or not.

    The copy holds one moment, is checked, and appears when it is whole; the daemon does not wait for it. It holds names
    of people and is yours alone to read. The configuration and its secrets are not in it: keep those too.
    """
    settings = read_settings(given)
    with told(BackupError), shown_copying("backup") as progress:
        copy = back_up(settings.store.path, file, progress, overwrite=force)
    say(
        f"{harmless(str(file))}: {copy.size / 1_000_000:,.1f} MB, whole and checked;"
        f" it knows what was read until {moment(copy.last_success_ms)}, and {copy.pending:,} pending deliveries",
        f"To put it back: stop the daemon, run `notifier restore {harmless(str(file))}`, start the daemon.",
    )
