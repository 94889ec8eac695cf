"""`notifier restore`."""

from pathlib import Path

import click

from notifier.cli.configuration import read_settings
from notifier.cli.copying import shown_copying
from notifier.cli.failures import told
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.screen import say
from notifier.cli.text import counted, harmless, moment
from notifier.clock import SystemClock
from notifier.ledger.backup import BackupError
from notifier.ledger.backup import restore as put_back
from notifier.ledger.errors import LedgerError


@click.command(epilog=examples("notifier restore /var/backups/notifier.db"))
@click.argument("file", type=click.Path(path_type=Path))
@takes_given
def restore(given: Given, file: Path) -> None:
    """Put a backup into the state file's place.

    No daemon may run meanwhile. FILE is checked and stays as it is; the present state file is kept under a dated name
    beside it. What has happened since the backup is found again by the API and told again, under the same ids:
    receivers that remember ids skip it.
    """
    settings = read_settings(given)
    state_file = settings.store.path
    with told(BackupError, LedgerError), shown_copying("restore") as progress:
        done = put_back(state_file, file, progress, SystemClock().now_ms())
    say(f"{harmless(str(state_file))}: restored, as it was at {moment(done.copy.last_success_ms)}")
    if done.replaced is not None:
        say(f"The file that was there is kept as {harmless(str(done.replaced))}; delete it when all is well.")
    if done.copy.pending:
        waiting = counted(done.copy.pending, "pending delivery", "pending deliveries")
        say(f"It holds {waiting}, to go out when the daemon starts.")
    say(
        "What was entered, changed or removed since is found again when the daemon starts, and told under the ids that"
        " it had: receivers that remember ids skip it, a Slack channel sees it twice."
    )
