"""Opens connections to a state file, and configures them; `FileStore` and the recovery use these functions."""

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

import sqlite_utils

from notifier.store.database import Engine
from notifier.store.errors import StoreError, StoreReason
from notifier.store.file.errors import ErrorConversion
from notifier.store.file.files import DAMAGE_MARKER, open_private, real_path, sibling_path, state_file_problem
from notifier.store.migrations import migrations, unknown_steps

APPLICATION_ID = 0x4B504146
"""The application id in the header of a state file; SQLite databases of other programs have another one."""

_PRAGMAS = (
    "synchronous = FULL",  # WAL with NORMAL may lose the last commits at a power cut
    "foreign_keys = ON",
    "cache_size = -16000",
    "temp_store = MEMORY",
    "secure_delete = ON",  # deleted content is overwritten, because it is personal data
    "journal_size_limit = 8000000",  # truncates a write-ahead log that has grown during a long read
)


class FileDatabase(sqlite_utils.Database):
    """A connection to a state file."""

    engine: Final = Engine.SQLITE

    def __init__(self, place: sqlite3.Connection | Path | None = None, *, memory: bool = False) -> None:
        """Initialise with an open connection or a file's path. If `memory` is set, use a new database in memory."""
        # Plugins of sqlite-utils that are installed for other programs must not touch a state file, and looking for
        # them would take 15 ms.
        super().__init__(place, memory=memory, execute_plugins=False)

    @property
    def changes(self) -> int:
        """A count that grows with every row written over this connection."""
        return self.conn.total_changes

    def executemany(self, sql: str, rows: Iterable[Sequence[Any] | Mapping[str, Any]], /) -> sqlite3.Cursor:
        """Execute one statement once for each row of parameters; `rowcount` of the result counts all changed rows."""
        return self.conn.executemany(sql, rows)

    @property
    def is_usable(self) -> bool:
        """True, because no server can close the connection."""
        return True

    def interrupt(self) -> None:
        """Make the running statement fail; SQLite allows this from any thread."""
        # The thread may be closing the connection at this moment.
        with suppress(sqlite3.ProgrammingError):
            self.conn.interrupt()


def open_database(path: Path) -> FileDatabase:
    """Open a state file for writing; create it if it is missing, but do not repair damage.

    The program itself opens its state file with `recovery.opener`, which also repairs it. Raises StoreError.
    """
    try:
        # The file is created here and not by SQLite, so that only its owner can read the names of people.
        os.close(open_private(real_path(path), os.O_RDWR | os.O_CREAT))
    except OSError as error:
        raise not_writable(path, error) from error
    with ErrorConversion(path), ExitStack() as on_failure:
        db = connect(path)
        on_failure.callback(db.close)
        if is_empty(db):
            make_empty(db)
        else:
            refuse_foreign_or_newer(db, path)
        set_up(db, path)
        on_failure.pop_all()
        return db


def connect(path: Path) -> FileDatabase:
    """Open an existing file for reading and writing; SQLite finishes or undoes the work of a killed process."""
    uri = f"{path.absolute().as_uri()}?mode=rw"
    return FileDatabase(sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False))


def is_empty(db: FileDatabase) -> bool:
    """Return whether a file has no tables yet."""
    return bool(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0)


def make_empty(db: FileDatabase) -> None:
    """Mark a file without tables as a state file."""
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def set_up(db: FileDatabase, path: Path) -> None:
    """Configure a connection for writing, and migrate the tables to this version. Raises StoreError."""
    use_write_ahead_log(db, path)
    for pragma in _PRAGMAS:
        db.execute(f"PRAGMA {pragma}")
    migrations.apply(db)


def use_write_ahead_log(db: FileDatabase, path: Path) -> None:
    """Switch a file to write-ahead logging, permanently.

    Raises StoreError if the file stays in another mode, because SQLite itself raises no error in this case.
    """
    (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreError(
            StoreReason.IO_ERROR,
            f"state file {path} cannot have a write-ahead log: the disk reports errors, or its file system does not"
            " support one (for example a network share); check it, or set [store] path to a local disk",
        )


def open_file_read_only(path: Path) -> FileDatabase:
    """Open the state file read-only; a daemon may be using it.

    Raises StoreError if the file does not exist, is not a state file, or is of a newer or older version.
    """
    _require_state_file(path)
    with ErrorConversion(path), ExitStack() as on_failure:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        on_failure.callback(connection.close)
        db = FileDatabase(connection)
        refuse_foreign_or_newer(db, path)
        _refuse_older(db, path)
        on_failure.pop_all()
        return db


def note_damage(path: Path) -> None:
    """Create a marker file beside the state file, so that the next opening checks the whole state file for damage."""
    # If the marker file cannot be created, the damage is reported anyway.
    with contextlib.suppress(OSError):
        os.close(open_private(sibling_path(path, DAMAGE_MARKER), os.O_RDWR | os.O_CREAT))


def _require_state_file(path: Path) -> None:
    # The file is not opened here: if this process also writes, closing the file would drop its SQLite locks.
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(
            StoreReason.NOT_A_STATE_FILE, f"there is no state file {path} yet: start `notifier run`"
        ) from error
    except OSError as error:
        raise StoreError(
            StoreReason.NOT_WRITABLE,
            f"state file {path} cannot be opened ({error.strerror}): give this user access to it",
        ) from error
    if is_folder:
        raise _is_a_folder(path)
    if problem := state_file_problem(real_path(path)):
        raise StoreError(StoreReason.LINKED, f"{problem}; remove it, or name another [store] path")


def not_writable(path: Path, error: OSError) -> StoreError:
    """Return the error for a state file that cannot be written."""
    if isinstance(error, IsADirectoryError):
        return _is_a_folder(path)
    return StoreError(
        StoreReason.NOT_WRITABLE,
        f"state file {path} cannot be written to ({error.strerror}): give this user write access to it",
    )


def _is_a_folder(path: Path) -> StoreError:
    return StoreError(StoreReason.NOT_A_STATE_FILE, f"{path} is a folder: name a file as [store] path")


def refuse_foreign_or_newer(db: FileDatabase, path: Path) -> None:
    """Raise StoreError for another program's database and for a file of a newer version."""
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StoreError(
            StoreReason.NOT_A_STATE_FILE,
            f"{path} is a database of another program: name another [store] path",
        )
    if steps := unknown_steps(db):
        raise StoreError(
            StoreReason.NEWER_VERSION,
            f"state file {path} was written by a newer version of notifier (it knows {', '.join(steps)}): "
            "install that version again, or restore the backup made before the upgrade",
        )


def _refuse_older(db: FileDatabase, path: Path) -> None:
    """Raise StoreError for a file with an older version's tables, which a read-only connection cannot migrate."""
    if steps := [step.name for step in migrations.pending(db)]:
        raise StoreError(
            StoreReason.OLDER_VERSION,
            f"state file {path} was written by an older version of notifier, or its creation was interrupted (it"
            f" lacks {', '.join(steps)}): start `notifier run` once, which updates it",
        )
