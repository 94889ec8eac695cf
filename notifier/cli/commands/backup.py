"""The command `notifier backup`, which copies the state file."""

from pathlib import Path

import click

from notifier.cli.context import owner_to_become, read_settings_as_caller, switch_to_owner_of
from notifier.cli.copies_as_root import make_as_owner, owner_can_write
from notifier.cli.errors import as_command_error
from notifier.cli.formatting import format_count, local_time, terminal_safe
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo
from notifier.cli.progress import copy_progress
from notifier.config import StoreSettings
from notifier.store.errors import StoreError
from notifier.store.file.backup import BackupError, back_up
from notifier.store.opening import postgres_location, uses_postgres


@click.command(epilog=examples("notifier backup /var/backups/notifier.db", "notifier backup --force latest.db"))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite FILE if it exists.")
@pass_global_options
def backup(global_options: GlobalOptions, file: Path, *, force: bool) -> None:
    """Copy the state file to FILE.

    This works with and without a running daemon, and does not delay the daemon. The copy is a consistent snapshot,
    and is put in place as FILE only after it was checked. Only you can read FILE, because it holds people's names.
    FILE does not include the configuration and its secrets: back those up too.

    With `[store] url`, the database is copied into a new state file.
    """
    store = read_settings_as_caller(global_options).store
    if uses_postgres(store):
        _back_up_database(store, file, force=force)
        return
    state_file = store.path
    owner = owner_to_become(state_file)
    with as_command_error(BackupError), copy_progress("backup") as progress:
        if owner is None or owner_can_write(owner, file):
            switch_to_owner_of(state_file)
            copy = back_up(state_file, file, progress, overwrite=force)
        else:
            copy = make_as_owner(owner, file, lambda made: back_up(state_file, made, progress), overwrite=force)
    target = terminal_safe(str(file))
    waiting = format_count(copy.pending, "pending delivery", "pending deliveries")
    echo(
        f"{target}: {copy.size / 1_000_000:,.1f} MB, checked; it contains all data received from the API"
        f" until {local_time(copy.last_success_ms)}, and {waiting}",
        f"To restore it: stop the daemon, run `notifier restore {target}`, start the daemon.",
    )


def _back_up_database(store: StoreSettings, file: Path, *, force: bool) -> None:
    # Imported here, because a state file does not need the library for PostgreSQL.
    from notifier.store.postgres.copying import back_up_schema  # noqa: PLC0415

    with as_command_error(BackupError, StoreError), copy_progress("backup") as progress:
        copy = back_up_schema(postgres_location(store), file, progress, overwrite=force)
    target = terminal_safe(str(file))
    waiting = format_count(copy.pending, "pending delivery", "pending deliveries")
    echo(
        f"{target}: {copy.size / 1_000_000:,.1f} MB, checked; a state file with all data received from the"
        f" API until {local_time(copy.last_success_ms)}, and {waiting}",
        f"To use it: `[store] path`, or `notifier restore {target}` into an empty database.",
    )
