"""The state file as the rest of the program sees it: one thread, one connection, one transaction at a time."""

import asyncio
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

from notifier.ledger.errors import LedgerError, LedgerReason, as_ledger_error
from notifier.ledger.lock import FileLock
from notifier.ledger.rebuilding.damage import DAMAGE, note_damage
from notifier.ledger.schema import migrations, unknown_steps

P = ParamSpec("P")
T = TypeVar("T")

APPLICATION_ID = 0x4B504146
"""What the header of a state file says, and that of no other program's database."""

_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",  # WAL with NORMAL may lose the last commits at a power cut
    "foreign_keys = ON",
    "cache_size = -16000",
    "temp_store = MEMORY",
    "journal_size_limit = 8000000",  # what a long reader has let the write-ahead log grow to is cut off again
)


class Ledger:
    """Owns the state file: holds its lock, its only writing connection, and the thread that alone uses it.

    The work itself stands in this folder's other modules as plain functions of a `Database`;
    `run` calls one of them on the thread, inside one transaction.
    """

    def __init__(self, path: Path, opener: Callable[[Path], Database] | None = None) -> None:
        """Name the state file; nothing is opened yet.

        `opener` opens it, with the lock held and on the thread; by default `open_database`.
        """
        self.path = path
        self.damage: LedgerError | None = None
        """What was found to be wrong with the file itself; from then on nobody can read or write it any more."""
        self.damaged = asyncio.Event()
        """Set when damage was found."""
        self._opener = opener or open_database
        self._lock = FileLock(path)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._db: Database | None = None
        self._closed = False

    async def open(self) -> None:
        """Take the lock, open or create the file, and bring its schema up to date.

        Raises LedgerError: in use, not writable, not a state file, from a newer version, damaged, disk full.
        """
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._open)
        except LedgerError:
            await self.close()
            raise

    async def run(self, work: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work(db, ...)` on the ledger's thread, in one transaction that an error undoes as a whole.

        Raises LedgerError when the file cannot be read or written, and whatever `work` raises.
        """
        return await self._on_thread(partial(self._perform, work, *args, **kwargs))

    async def run_bare(self, work: Callable[[Database], T]) -> T:
        """Call `work(db)` on the ledger's thread in no transaction, for what SQLite does in none: housekeeping.

        Raises LedgerError when the file cannot be read or written, and whatever `work` raises.
        """
        return await self._on_thread(partial(self._perform_bare, work))

    async def _on_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except LedgerError:
            if self.damage is not None:
                self.damaged.set()
            raise

    async def close(self) -> None:
        """Finish the work handed in so far, close the file and give the lock back; may be called again."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(None, self._close)

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(
                LedgerReason.NOT_WRITABLE,
                f"the folder {self.path.parent} cannot be made ({error.strerror}): name another [store] path",
            ) from error
        self._lock.acquire()
        self._db = self._opener(self.path)

    def _perform_bare(self, work: Callable[[Database], T]) -> T:
        with self._errors_noted():
            return work(self._open_db())

    def _perform(self, work: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._errors_noted():
            db = self._open_db()
            with db.atomic():
                return work(db, *args, **kwargs)

    def _open_db(self) -> Database:
        """Return the database, unless it was found to be damaged: whoever writes on makes it worse."""
        if self._db is None:
            raise RuntimeError("the ledger is not open")
        if self.damage is not None:
            raise self.damage
        return self._db

    @contextmanager
    def _errors_noted(self) -> Iterator[None]:
        try:
            with _errors_named(self.path):
                yield
        except LedgerError as error:
            if error.reason in DAMAGE and self.damage is None:
                self.damage = error
                note_damage(self.path)
            raise

    def _close(self) -> None:
        self._thread.submit(self._close_database).result()
        self._thread.shutdown()
        self._lock.release()

    def _close_database(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def open_database(path: Path) -> Database:
    """Open the state file for writing, creating and migrating it as needed; the caller holds the lock.

    Raises LedgerError.
    """
    try:
        # Made before SQLite does, so that names of people are the owner's alone to read.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except IsADirectoryError as error:
        raise _is_a_folder(path) from error
    except OSError as error:
        raise LedgerError(
            LedgerReason.NOT_WRITABLE,
            f"state file {path} cannot be written to ({error.strerror}): give this user write access to it",
        ) from error
    with _errors_named(path), ExitStack() as on_failure:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        on_failure.callback(connection.close)
        db = _prepare(connection, path)
        on_failure.pop_all()
        return db


def open_for_reading(path: Path) -> Database:
    """Open the state file for reading only, beside a running daemon or without one.

    Raises LedgerError when it does not exist, is no state file or comes from a newer or an older version.
    """
    _refuse_what_is_no_file(path)
    with _errors_named(path), ExitStack() as on_failure:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        on_failure.callback(connection.close)
        db = Database(connection)
        _refuse_foreign(db, path)
        _refuse_older(db, path)
        on_failure.pop_all()
        return db


@contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    """Raise SQLite's errors that have to do with the file as LedgerError."""
    try:
        yield
    except sqlite3.Error as error:
        named = as_ledger_error(error, path)
        if named is None:
            raise
        raise named from error


def _refuse_what_is_no_file(path: Path) -> None:
    # Looked at, not opened: closing it again would take SQLite's locks from a process that writes to it as well.
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise LedgerError(
            LedgerReason.NOT_A_STATE_FILE, f"there is no state file {path} yet: start `notifier run`"
        ) from error
    except OSError as error:
        raise LedgerError(
            LedgerReason.NOT_WRITABLE,
            f"state file {path} cannot be opened ({error.strerror}): give this user access to it",
        ) from error
    if is_folder:
        raise _is_a_folder(path)


def _is_a_folder(path: Path) -> LedgerError:
    return LedgerError(LedgerReason.NOT_A_STATE_FILE, f"{path} is a folder: name a file as [store] path")


def _prepare(connection: sqlite3.Connection, path: Path) -> Database:
    db = Database(connection)
    empty = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if empty:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    else:
        _refuse_foreign(db, path)
    for pragma in _PRAGMAS:
        db.execute(f"PRAGMA {pragma}")
    migrations.apply(db)
    return db


def _refuse_foreign(db: Database, path: Path) -> None:
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise LedgerError(
            LedgerReason.NOT_A_STATE_FILE,
            f"{path} is a database of another program: name another [store] path",
        )
    if steps := unknown_steps(db):
        raise LedgerError(
            LedgerReason.NEWER_VERSION,
            f"state file {path} was written by a newer version of notifier (it knows {', '.join(steps)}): "
            "install that version again, or restore the backup made before the upgrade",
        )


def _refuse_older(db: Database, path: Path) -> None:
    """Refuse a file whose tables are not this version's yet: who only reads cannot bring it up to date."""
    if steps := [step.name for step in migrations.pending(db)]:
        raise LedgerError(
            LedgerReason.OLDER_VERSION,
            f"state file {path} was written by an older version of notifier, or its creation was cut off "
            f"(it lacks {', '.join(steps)}): start `notifier run` once, which brings it up to date",
        )
