"""The command `notifier restore`, which replaces the state file with a backup."""

from contextlib import nullcontext
from pathlib import Path

import click

from notifier.cli.context import owner_to_become, read_settings_as_caller, switch_to_owner_of
from notifier.cli.copies_as_root import copy_for_owner, owner_can_read
from notifier.cli.errors import as_command_error
from notifier.cli.formatting import format_count, local_time, terminal_safe
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo
from notifier.cli.progress import copy_progress
from notifier.clock import SystemClock
from notifier.config import StoreSettings
from notifier.regular_files import is_there
from notifier.store.errors import StoreError
from notifier.store.file.backup import BackupError
from notifier.store.file.backup import restore as put_back
from notifier.store.opening import postgres_location, uses_postgres


@click.command(epilog=examples("notifier restore /var/backups/notifier.db"))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="With [store] url: replace a schema that is not empty.")
@pass_global_options
def restore(global_options: GlobalOptions, file: Path, *, force: bool) -> None:
    """Replace the state file with a backup.

    Stop the daemon first. FILE is checked and left unchanged. The previous state file is kept in its folder under a
    dated name. When the daemon starts, it takes from the previous file what the backup does not have yet: waiting
    events are delivered, and events that were already sent are not sent again.

    With `[store] url`, FILE is copied into the database, where the schema must be empty. With --force, a schema that is
    not empty is kept under a dated name, and what FILE does not have yet is taken from this schema at once.
    """
    store = read_settings_as_caller(global_options).store
    if uses_postgres(store):
        _restore_into_database(store, file, force=force)
        return
    state_file = store.path
    owner = owner_to_become(state_file)
    with as_command_error(BackupError, StoreError), copy_progress("restore") as progress:
        needs_root = owner is not None and is_there(file) and not owner_can_read(owner, file)
        with copy_for_owner(owner, file) if owner is not None and needs_root else nullcontext(file) as source:
            switch_to_owner_of(state_file)
            restored = put_back(state_file, source, progress, SystemClock().now_ms())
    echo(f"{terminal_safe(str(state_file))}: restored to its state at {local_time(restored.copy.last_success_ms)}")
    if restored.replaced is not None:
        echo(f"The previous file is kept as {terminal_safe(str(restored.replaced))}; delete it when everything works.")
    if restored.read_error is not None:
        echo(
            f"Warning: the previous file could not be read ({terminal_safe(restored.read_error)}): about the time since"
            " the backup, only what its essentials contain is known."
        )
    if restored.copy.pending:
        waiting = format_count(restored.copy.pending, "pending delivery", "pending deliveries")
        echo(f"The backup contains {waiting}, which the daemon sends when it starts.")
    echo(
        "When the daemon starts, it adds what is known about the time since the backup: waiting events are"
        " delivered, and events that were already sent are not sent again. Other changes are found again through the"
        " API and sent with the same ids."
    )


def _restore_into_database(store: StoreSettings, file: Path, *, force: bool) -> None:
    # Imported here, because a state file does not need the library for PostgreSQL.
    from notifier.store.postgres.copying import restore_into_schema  # noqa: PLC0415

    location, now_ms = postgres_location(store), SystemClock().now_ms()
    with as_command_error(BackupError, StoreError), copy_progress("restore") as progress:
        restored = restore_into_schema(location, file, progress, now_ms, replace=force)
    last_success = local_time(restored.copy.last_success_ms)
    echo(f"{location}: filled with the state of {terminal_safe(str(file))} at {last_success}")
    if restored.replaced is not None:
        was_read = restored.read_error is None
        added = "what it knew about the time since then was added" if was_read else "nothing of it was added"
        echo(f'The previous state is kept in schema "{restored.replaced}"; {added}. Drop it when everything works.')
    if restored.read_error is not None:
        echo(f"Warning: the previous state could not be read: {terminal_safe(restored.read_error.message)}")
    if restored.copy.pending:
        waiting = format_count(restored.copy.pending, "pending delivery", "pending deliveries")
        echo(f"The backup contains {waiting}, which the daemon sends when it starts. Do not run a daemon on FILE, too.")
