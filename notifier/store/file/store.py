"""The store in a state file: its lock, its writing connection, and the checks that the file is still in its place."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from notifier.store.errors import DAMAGE, StoreError, StoreReason
from notifier.store.file import maintenance
from notifier.store.file.connection import FileDatabase, note_damage, open_database, open_file_read_only
from notifier.store.file.errors import ErrorConversion
from notifier.store.file.files import file_identity, sibling_path
from notifier.store.file.lock import FileLock
from notifier.store.store import Store

T = TypeVar("T")

_EMPTYING_ATTEMPTS: Final = 20
_EMPTYING_PAUSE_SECONDS: Final = 0.1

Opener = Callable[[Path], FileDatabase]
Rescue = Callable[[FileDatabase | None, Path], None]


class FileStore(Store):
    """Owns a state file: its lock, its only writing connection, and the thread that uses that connection."""

    def __init__(self, path: Path, opener: Opener | None = None, rescue: Rescue | None = None) -> None:
        """Initialise with the state file; nothing is opened yet.

        `opener` opens the file on the store's thread, with the lock held; the default is for tests and tools. If the
        file or its write-ahead log was removed or replaced while it was open, `rescue` saves its content before the
        store closes.
        """
        super().__init__()
        self._path = path
        self._opener = opener or open_database
        self._rescue = rescue
        self._lock = FileLock(path)
        self._error_conversion = ErrorConversion(path)
        self._opened_log_file: tuple[int, int] | None = None
        self._db: FileDatabase | None = None

    @property
    def path(self) -> Path:
        """The state file."""
        return self._path

    async def run_without_transaction(self, work: Callable[[FileDatabase], T]) -> T:
        """Call `work(db)` on the store's thread outside of transactions, as SQLite requires for some maintenance.

        Raises StoreError if the file cannot be read or written. Errors of `work` are passed on.
        """
        return await self._run_on_thread(partial(self._perform_without_transaction, work))

    async def check_access(self) -> None:
        """Check that the paths of the state file and its write-ahead log still lead to the open files.

        Raises StoreError if one was removed or replaced. The store can then only be closed; `rescue` saves its content.
        """
        await self._run_on_thread(self._check_access)

    async def empty_write_ahead_log(self) -> bool:
        """Truncate the write-ahead log; return False if a reader prevents it for too long. Raises StoreError.

        The daemon's own readers prevent this only for a moment. So several attempts are made.
        """
        for _ in range(_EMPTYING_ATTEMPTS):
            if await self.run_without_transaction(maintenance.checkpoint):
                return True
            await asyncio.sleep(_EMPTYING_PAUSE_SECONDS)
        return False

    def open_reader(self) -> FileDatabase:
        """Open a read-only connection. The write-ahead log allows it to read while the store writes."""
        db = open_file_read_only(self.path)
        db.execute("PRAGMA query_only = ON")
        db.execute("PRAGMA temp_store = MEMORY")
        return db

    def converted_errors(self) -> AbstractContextManager[None]:
        """In a `with` block, convert SQLite's errors about the state file to StoreError."""
        return self._error_conversion

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
        self._lock.lock_present_file()
        self._opened_log_file = self._log_file_identity()

    def _usable_connection(self) -> FileDatabase:
        if self._db is None:
            raise RuntimeError("the store is not open")
        return self._db

    def _note_if_fatal(self, error: StoreError) -> None:
        if error.reason not in DAMAGE or self.fatal_error is not None:
            return
        if self._is_displaced():
            # A new reading connection opens whatever has the name now, so this error says nothing about the open file.
            self.fatal_error = self._displaced_error()
        else:
            self.fatal_error = error
            note_damage(self.path)

    def _perform_without_transaction(self, work: Callable[[FileDatabase], T]) -> T:
        return self._use_connection(lambda _db: work(self._usable_connection()))

    def _check_access(self) -> None:
        if self.fatal_error is None and self._is_displaced():
            self.fatal_error = self._displaced_error()
            raise self.fatal_error

    def _is_displaced(self) -> bool:
        """Return whether the state file or its log was removed, replaced or overwritten since it was opened."""
        if self._db is None or not self._lock.holds_file:
            return False
        is_replaced = not self._lock.is_in_place() or self._opened_log_file not in (None, self._log_file_identity())
        return is_replaced or self._lock.is_overwritten()

    def _displaced_error(self) -> StoreError:
        if self._lock.is_overwritten():
            return StoreError(
                StoreReason.DISPLACED,
                f"a backup was copied over state file {self.path} while it was in use: start again, to continue from"
                " the backup; the next time, stop the daemon first, and use `notifier restore`",
            )
        return StoreError(
            StoreReason.DISPLACED,
            f"state file {self.path} or its write-ahead log was removed or replaced while it was in use: the open"
            " file is saved; start again, and stop the daemon before the next such change",
        )

    def _log_file_identity(self) -> tuple[int, int] | None:
        return file_identity(sibling_path(self.path, "-wal"))

    def _close(self) -> None:
        self._thread.close()
        self._close_database()
        self._lock.release()

    def _close_database(self) -> None:
        if self._db is not None:
            displaced = self.fatal_error is not None and self.fatal_error.reason is StoreReason.DISPLACED
            # If the lock file is gone too, another process may use the file that has the state file's name now.
            if displaced and self._rescue is not None and self._lock.is_valid():
                self._rescue(None if self._lock.is_overwritten() else self._db, self.path)
            self._db.close()
            self._db = None
