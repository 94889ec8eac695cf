"""Access to the state file for the rest of the program: one thread, one connection, one transaction at a time."""

import asyncio
import contextlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from sqlite_utils import Database

from notifier.store.errors import DAMAGE, StoreError, StoreReason, as_store_error
from notifier.store.files import DAMAGE_MET, beside, foreign_part, open_private, real_path
from notifier.store.lock import FileLock
from notifier.store.migrations import migrations, unknown_steps

P = ParamSpec("P")
T = TypeVar("T")

APPLICATION_ID = 0x4B504146
"""The application id in the header of a state file, by which SQLite databases of other programs are recognized."""

_PRAGMAS = (
    "synchronous = FULL",  # WAL with NORMAL may lose the last commits at a power cut
    "foreign_keys = ON",
    "cache_size = -16000",
    "temp_store = MEMORY",
    "secure_delete = ON",  # deleted content is overwritten, because it is personal data
    "journal_size_limit = 8000000",  # truncates a write-ahead log that has grown during a long read
)


Opener = Callable[[Path], Database]
Rescue = Callable[[Database, Path], None]


class Store:
    """Owns the state file: holds its lock, its only writing connection, and the thread that uses that connection.

    The queries are plain functions of a `Database` in this folder's other modules; `run` calls one of them on the
    thread, inside one transaction. The program makes a `Store` only through `recovery.opener.open_store`.
    """

    def __init__(self, path: Path, opener: Opener | None = None, rescue: Rescue | None = None) -> None:
        """Initialize with the state file; nothing is opened yet.

        `opener` opens the file on the thread, with the lock held; the default `open_database` is for tests and tools.
        `rescue` saves the content of the open file before it is closed, if its name was removed.
        """
        self.path = path
        self.damage: StoreError | None = None
        """The damage that was found in the file; from then on it is no longer read or written."""
        self.damaged = asyncio.Event()
        """Set when damage is found."""
        self.unwritable: StoreError | None = None
        """The error of the last failed use of the file; None once a write has succeeded again."""
        self._opener = opener or open_database
        self._rescue = rescue
        self._lock = FileLock(path)
        self._log_file: tuple[int, int] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._db: Database | None = None
        self._closed = False

    async def open(self) -> None:
        """Take the lock, open or create the file, and bring its schema up to date.

        Raises StoreError if it is in use, not writable, not a state file, of a newer version, damaged, or the disk is
        full.
        """
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._open)
        except StoreError:
            await self.close()
            raise

    async def run(self, work: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work(db, ...)` on the store's thread in one transaction, and return its result; an error undoes it all.

        Raises StoreError if the file cannot be read or written, and whatever `work` raises.
        """
        return await self._on_thread(partial(self._perform, work, *args, **kwargs))

    async def run_bare(self, work: Callable[[Database], T]) -> T:
        """Call `work(db)` on the store's thread without a transaction, for maintenance that SQLite forbids inside one.

        Raises StoreError if the file cannot be read or written, and whatever `work` raises.
        """
        return await self._on_thread(partial(self._perform_bare, work))

    async def _on_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except StoreError:
            if self.damage is not None:
                self.damaged.set()
            raise

    def note_damage_met(self, error: StoreError) -> None:
        """Remember an error of another connection to the file as damage, if its reason means damage."""
        self._note_damage(error)
        if self.damage is not None:
            self.damaged.set()

    def _note_damage(self, error: StoreError) -> None:
        if error.reason in DAMAGE and self.damage is None:
            self.damage = error
            note_damage(self.path)

    async def check_place(self) -> None:
        """Check that the file and its write-ahead log still have their names.

        Raises StoreError if they were removed or replaced. The file then counts as damaged, and the content of the open
        file is rescued when it is closed.
        """
        await self._on_thread(self._check_place)

    async def close(self) -> None:
        """Finish the queued work, close the file and release the lock; further calls do nothing."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(None, self._close)

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                StoreReason.NOT_WRITABLE,
                f"the folder {self.path.parent} cannot be created ({error.strerror}): name another [store] path",
            ) from error
        self._lock.acquire()
        self._db = self._opener(self.path)
        self._lock.follow()
        self._log_file = self._log_file_of_now()

    def _perform_bare(self, work: Callable[[Database], T]) -> T:
        with self._errors_noted() as db:
            return work(db)

    def _perform(self, work: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._errors_noted() as db, db.atomic():
            return work(db, *args, **kwargs)

    def _open_db(self) -> Database:
        """Return the open database. Raises its damage, if any was found, because more writes would make it worse."""
        if self._db is None:
            raise RuntimeError("the store is not open")
        if self.damage is not None:
            raise self.damage
        return self._db

    @contextmanager
    def _errors_noted(self) -> Iterator[Database]:
        try:
            with errors_named(self.path):
                db = self._open_db()
                written = db.conn.total_changes
                yield db
                if db.conn.total_changes != written:
                    self.unwritable = None
        except StoreError as error:
            self.unwritable = error
            self._note_damage(error)
            raise

    def _check_place(self) -> None:
        if self._db is None or self.damage is not None or not self._lock.holds_file:
            return
        if self._lock.is_in_place() and self._log_file in (None, self._log_file_of_now()):
            return
        self.damage = StoreError(
            StoreReason.DISPLACED,
            f"state file {self.path} or its write-ahead log was removed or replaced while it was in use: the open"
            " file is saved; start again, and stop the daemon before the next such change",
        )
        raise self.damage

    def _log_file_of_now(self) -> tuple[int, int] | None:
        try:
            found = beside(self.path, "-wal").stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _close(self) -> None:
        self._thread.submit(self._close_database).result()
        self._thread.shutdown()
        self._lock.release()

    def _close_database(self) -> None:
        if self._db is not None:
            displaced = self.damage is not None and self.damage.reason is StoreReason.DISPLACED
            # If the lock file is gone too, another process may be using the file that has the name now.
            if displaced and self._rescue is not None and self._lock.is_valid():
                self._rescue(self._db, self.path)
            self._db.close()
            self._db = None


def open_database(path: Path) -> Database:
    """Open a state file for writing without recovery, creating it if missing; the program uses `recovery.opener`.

    Raises StoreError.
    """
    try:
        # The file is created here, before SQLite would, so that only the owner can read the names of people.
        os.close(open_private(real_path(path), os.O_RDWR | os.O_CREAT))
    except OSError as error:
        raise not_writable(path, error) from error
    with errors_named(path), ExitStack() as on_failure:
        db = connect(path)
        on_failure.callback(db.close)
        if is_empty(db):
            make_empty(db)
        else:
            refuse_foreign(db, path)
        set_up(db, path)
        on_failure.pop_all()
        return db


def connect(path: Path) -> Database:
    """Open an existing file for reading and writing; SQLite recovers the work of a killed process."""
    uri = f"{path.absolute().as_uri()}?mode=rw"
    return Database(sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False))


def is_empty(db: Database) -> bool:
    """Return whether a file has no tables yet."""
    return bool(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0)


def make_empty(db: Database) -> None:
    """Mark a file without tables as a state file."""
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def set_up(db: Database, path: Path) -> None:
    """Configure a connection for writing, and migrate the tables to this version. Raises StoreError."""
    use_write_ahead_log(db, path)
    for pragma in _PRAGMAS:
        db.execute(f"PRAGMA {pragma}")
    migrations.apply(db)


def use_write_ahead_log(db: Database, path: Path) -> None:
    """Switch a file to write-ahead logging, permanently.

    Raises StoreError if that fails; SQLite itself raises nothing, but returns the mode that it kept.
    """
    (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreError(
            StoreReason.IO_ERROR,
            f"state file {path} cannot have a write-ahead log: the disk reports errors, or its file system does not"
            " support one (for example a network share); check it, or set [store] path to a local disk",
        )


def open_for_reading(path: Path) -> Database:
    """Open the state file for reading only, beside a running daemon or without one.

    Raises StoreError if it does not exist, is not a state file, or is of a newer or older version.
    """
    _refuse_what_is_no_file(path)
    with errors_named(path), ExitStack() as on_failure:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        on_failure.callback(connection.close)
        db = Database(connection)
        refuse_foreign(db, path)
        _refuse_older(db, path)
        on_failure.pop_all()
        return db


def note_damage(path: Path) -> None:
    """Note beside the file that damage was found, so that the next opening checks the whole file."""
    # If the note cannot be written, the damage is reported anyway.
    with contextlib.suppress(OSError):
        os.close(open_private(beside(path, DAMAGE_MET), os.O_RDWR | os.O_CREAT))


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """Convert SQLite errors about the file to StoreError."""
    try:
        yield
    except sqlite3.Error as error:
        named = as_store_error(error, path)
        if named is None:
            raise
        raise named from error


def _refuse_what_is_no_file(path: Path) -> None:
    # This does not open the file, because closing it would drop the SQLite locks of this process if it also writes.
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
    if problem := foreign_part(real_path(path)):
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


def refuse_foreign(db: Database, path: Path) -> None:
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


def _refuse_older(db: Database, path: Path) -> None:
    """Raise StoreError for a file with an older version's tables, which a read-only connection cannot migrate."""
    if steps := [step.name for step in migrations.pending(db)]:
        raise StoreError(
            StoreReason.OLDER_VERSION,
            f"state file {path} was written by an older version of notifier, or its creation was interrupted (it"
            f" lacks {', '.join(steps)}): start `notifier run` once, which updates it",
        )
