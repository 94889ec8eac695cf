"""The command `notifier restore`, which replaces the state file with a backup."""

from contextlib import nullcontext
from pathlib import Path

import click

from notifier.cli.context import become_owner_of, read_settings_as_caller
from notifier.cli.copies_as_root import lent_to_owner, owner_may_read
from notifier.cli.errors import as_command_error
from notifier.cli.formatting import counted, harmless, moment
from notifier.cli.global_options import GlobalOptions, with_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo
from notifier.cli.progress import shown_copying
from notifier.clock import SystemClock
from notifier.config import StoreSettings
from notifier.privileges import other_owner
from notifier.store.errors import StoreError
from notifier.store.file.backup import BackupError
from notifier.store.file.backup import restore as put_back
from notifier.store.opening import is_database, location_of


@click.command(epilog=examples("notifier restore /var/backups/notifier.db"))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="With [store] url: replace a schema that is not empty.")
@with_global_options
def restore(given: GlobalOptions, file: Path, *, force: bool) -> None:
    """Replace the state file with a backup.

    Stop the daemon first. FILE is checked and left unchanged; the present state file is kept under a dated name
    beside it. When the daemon starts, it adds newer data from that file: waiting events are delivered, and events that
    were already sent are not sent again.

    With `[store] url`, FILE is copied into the database, where the schema must be empty. With --force, a schema that is
    not empty is kept under a dated name, and its newer data is added at once.
    """
    store = read_settings_as_caller(given).store
    if is_database(store):
        _restore_into_database(store, file, force=force)
        return
    state_file = store.path
    owner = other_owner(state_file)
    with as_command_error(BackupError, StoreError), shown_copying("restore") as progress:
        needs_root = owner is not None and file.exists() and not owner_may_read(owner, file)
        with lent_to_owner(owner, file) if owner is not None and needs_root else nullcontext(file) as source:
            become_owner_of(state_file)
            done = put_back(state_file, source, progress, SystemClock().now_ms())
    echo(f"{harmless(str(state_file))}: restored to its state at {moment(done.copy.last_success_ms)}")
    if done.replaced is not None:
        echo(f"The previous file is kept as {harmless(str(done.replaced))}; delete it when everything works.")
    if done.copy.pending:
        waiting = counted(done.copy.pending, "pending delivery", "pending deliveries")
        echo(f"It contains {waiting}, which the daemon sends when it starts.")
    echo(
        "When the daemon starts, it adds what is known about the time since the backup: waiting events are"
        " delivered, and events that were already sent are not sent again. Other changes are found again through the"
        " API and sent with the same ids."
    )


def _restore_into_database(store: StoreSettings, file: Path, *, force: bool) -> None:
    # Imported here, because a state file needs no library of PostgreSQL.
    from notifier.store.postgres.copying import restore_into_schema  # noqa: PLC0415

    location, now_ms = location_of(store), SystemClock().now_ms()
    with as_command_error(BackupError, StoreError), shown_copying("restore") as progress:
        done = restore_into_schema(location, file, progress, now_ms, replace=force)
    echo(f"{location}: filled with the state of {harmless(str(file))} at {moment(done.copy.last_success_ms)}")
    if done.replaced is not None:
        added = "what it knew about the time since then was added" if done.unread is None else "nothing of it was added"
        echo(f'The previous state is kept in schema "{done.replaced}"; {added}. Drop it when everything works.')
    if done.unread is not None:
        echo(f"Warning: the previous state could not be read: {harmless(done.unread.message)}")
    if done.copy.pending:
        waiting = counted(done.copy.pending, "pending delivery", "pending deliveries")
        echo(f"It contains {waiting}, which the daemon sends when it starts. Do not run a daemon on FILE, too.")
