"""The command `notifier backup`, which copies the state file."""

from pathlib import Path

import click

from notifier.cli.context import become_owner_of, read_settings_as_caller
from notifier.cli.copies_as_root import made_by_owner, owner_may_write
from notifier.cli.errors import as_command_error
from notifier.cli.formatting import harmless, moment
from notifier.cli.global_options import GlobalOptions, with_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo
from notifier.cli.progress import shown_copying
from notifier.config import StoreSettings
from notifier.privileges import other_owner
from notifier.store.errors import StoreError
from notifier.store.file.backup import BackupError, back_up
from notifier.store.opening import is_database, location_of


@click.command(epilog=examples("notifier backup /var/backups/notifier.db", "notifier backup --force latest.db"))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite FILE if it exists.")
@with_global_options
def backup(given: GlobalOptions, file: Path, *, force: bool) -> None:
    """Copy the state file to FILE.

    It works with and without a running daemon. The copy is a consistent snapshot. It is checked before it appears
    under its name, and the daemon does not wait for it. Only you can read it, because it holds people's names. It
    does not include the configuration and its secrets: back those up too.

    With `[store] url`, it copies the database into a new state file.
    """
    store = read_settings_as_caller(given).store
    if is_database(store):
        _back_up_database(store, file, force=force)
        return
    state_file = store.path
    owner = other_owner(state_file)
    with as_command_error(BackupError), shown_copying("backup") as progress:
        if owner is None or owner_may_write(owner, file):
            become_owner_of(state_file)
            copy = back_up(state_file, file, progress, overwrite=force)
        else:
            copy = made_by_owner(owner, file, lambda made: back_up(state_file, made, progress), overwrite=force)
    echo(
        f"{harmless(str(file))}: {copy.size / 1_000_000:,.1f} MB, checked; it contains all data received from the API"
        f" until {moment(copy.last_success_ms)}, and {copy.pending:,} pending deliveries",
        f"To restore it: stop the daemon, run `notifier restore {harmless(str(file))}`, start the daemon.",
    )


def _back_up_database(store: StoreSettings, file: Path, *, force: bool) -> None:
    # Imported here, because a state file needs no library of PostgreSQL.
    from notifier.store.postgres.copying import back_up_schema  # noqa: PLC0415

    with as_command_error(BackupError, StoreError), shown_copying("backup") as progress:
        copy = back_up_schema(location_of(store), file, progress, overwrite=force)
    echo(
        f"{harmless(str(file))}: {copy.size / 1_000_000:,.1f} MB, checked; a state file with all data received from the"
        f" API until {moment(copy.last_success_ms)}, and {copy.pending:,} pending deliveries",
        f"To use it: `[store] path`, or `notifier restore {harmless(str(file))}` into an empty database.",
    )
