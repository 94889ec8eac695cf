"""Opens the store read-only, with or without a running daemon."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from notifier.cli.errors import CommandError
from notifier.config import StoreSettings
from notifier.store.database import Database
from notifier.store.errors import StoreError, StoreReason
from notifier.store.file.connection import open_file_read_only
from notifier.store.file.errors import ErrorConversion
from notifier.store.file.files import file_identity
from notifier.store.opening import open_read_only, postgres_location, uses_postgres
from notifier.store.recovery.opener import needed_recovery


@contextmanager
def open_store_read_only(location: StoreSettings | Path) -> Iterator[Database]:
    """Open the store read-only.

    `location` is the settings of the store or, if the settings are unknown, the path of the state file. If the next
    `notifier run` will restore or rebuild the state file, a note says that the command shows the state before that.
    Raises CommandError if the store does not exist or cannot be read.
    """
    if isinstance(location, StoreSettings):
        if uses_postgres(location):
            with _open_database(location) as db:
                yield db
            return
        path = location.path
    else:
        path = location
    if pending_step := needed_recovery(path):
        if not path.exists():
            raise CommandError(f"{pending_step}: start `notifier run` once, which does that")
        click.echo(
            f"Note: {pending_step}; `notifier run` does that when it starts, and this is the state before it.", err=True
        )
    try:
        with ErrorConversion(path), closing(open_file_read_only(path)) as db:
            yield db
    except StoreError as error:
        raise _read_error(error) from error


@contextmanager
def _open_database(store: StoreSettings) -> Iterator[Database]:
    # Imported here, because a state file does not need the library for PostgreSQL.
    from notifier.store.postgres.errors import converted_errors as converted_postgres_errors  # noqa: PLC0415

    try:
        with converted_postgres_errors(postgres_location(store)), closing(open_read_only(store)) as db:
            yield db
    except StoreError as error:
        raise CommandError(error.message) from error


class FollowedStore:
    """A store that is read repeatedly. If the state file is replaced, for example by a restore, opens the new file."""

    def __init__(self, path: Path | None, given_db: Database) -> None:
        """Initialise with an open database, which the caller closes.

        `path` is the state file, or None if the store is in PostgreSQL.
        """
        self._path = path
        self._db = given_db
        self._given_db = given_db
        self._file_id = None if path is None else file_identity(path)

    def current(self) -> tuple[Database, bool]:
        """Return the database to read, and whether this call has opened a new file."""
        found = None if self._path is None else file_identity(self._path)
        if self._path is None or found is None or found == self._file_id:
            return self._db, False
        try:
            with ErrorConversion(self._path):
                db = open_file_read_only(self._path)
        except StoreError:
            # The new file is not complete or not migrated yet. Until it can be read, the old database is returned.
            return self._db, False
        self.close()
        self._db, self._file_id = db, found
        return db, True

    def close(self) -> None:
        """Close the database that `current` has opened. The database given by the caller stays open."""
        if self._db is not self._given_db:
            self._db.close()


@contextmanager
def follow_store(location: StoreSettings | Path) -> Iterator[FollowedStore]:
    """Open the store read-only. If the state file is replaced, reading continues with the new file.

    Raises CommandError.
    """
    file = location.path if isinstance(location, StoreSettings) else location
    path = None if isinstance(location, StoreSettings) and uses_postgres(location) else file
    with open_store_read_only(location) as db, closing(FollowedStore(path, db)) as followed:
        yield followed


def _read_error(error: StoreError) -> CommandError:
    if error.reason in {StoreReason.NOT_WRITABLE, StoreReason.READ_ONLY}:
        return CommandError(f"{error.message}, or run this command as the user that runs the daemon")
    return CommandError(error.message)
