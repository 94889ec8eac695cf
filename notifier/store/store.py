"""Access to the store for the rest of the program: one thread, one connection, one transaction at a time."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from notifier.own_thread import WorkThread
from notifier.store.database import Database, ReadingDatabase
from notifier.store.errors import StoreError

P = ParamSpec("P")
T = TypeVar("T")


class Store(ABC):
    """Owns the only writing connection to one set of tables, and the thread that uses that connection.

    Queries are plain functions whose first parameter is a `Database`. `run` calls one on the thread, in one
    transaction. `FileStore` keeps the tables in an SQLite file; only `recovery.opener.open_store` makes one.
    """

    def __init__(self) -> None:
        """Initialise; nothing is opened yet."""
        self.fatal_error: StoreError | None = None
        """The error that made the store unusable for good, such as damage of the file; None while it can be used.

        Once this is set, nothing is read or written.
        """
        self.failed = asyncio.Event()
        """Set when `fatal_error` is set."""
        self.last_error: StoreError | None = None
        """The error of the latest failed use of the store; None if a write has succeeded since."""
        self.on_recovery: list[Callable[[], None]] = []
        """Functions to call when a use of the store succeeds after an earlier one failed or was cancelled.

        The failed use may have been written all the same, for example if the answer to its commit was lost. Nobody
        knows of that write yet.
        """
        self._has_lost_result = False
        self._thread = WorkThread("store")
        self._closed = False

    @property
    def path(self) -> Path | None:
        """The state file; None if the tables are not in a file."""
        return None

    async def open(self) -> None:
        """Open the store: make sure that no other process uses its tables, and create or migrate the tables.

        Raises StoreError if the tables are in use, cannot be written, or are of a newer version.
        """
        try:
            await self._thread.run(self._open)
        except StoreError:
            await self.close()
            raise

    async def run(self, work: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work(db, ...)` on the store's thread in one transaction, and return the result of `work`.

        Raises StoreError if the store cannot be read or written. Errors of `work` are passed on. An error undoes the
        transaction.
        """
        return await self._run_on_thread(partial(self._perform, work, *args, **kwargs))

    async def store_configured_names(self, sources: Collection[str], destinations: Collection[str]) -> None:  # noqa: B027
        """Store which sources and destinations this process has configured.

        A process that takes the store over later compares these names with its own configuration. If no other process
        can take the store over, nothing is stored. Raises StoreError.
        """

    @abstractmethod
    async def check_access(self) -> None:
        """Check that the tables were not moved or replaced, and that this process may write. Raises StoreError."""

    async def empty_write_ahead_log(self) -> bool:
        """Empty the write-ahead log of a state file, because it may still contain deleted personal data.

        Return False if a reader prevents that. Raises StoreError.
        """
        return True

    @abstractmethod
    def open_reader(self) -> ReadingDatabase:
        """Open a new read-only connection. Blocks; may be called on any thread. Raises StoreError."""

    @abstractmethod
    def converted_errors(self) -> AbstractContextManager[None]:
        """In a `with` block, convert the engine's errors to StoreError. May be used on any thread."""

    def note_reader_error(self, error: StoreError) -> None:
        """Set `fatal_error` and `failed` if this error of a reading connection means that the store is unusable."""
        self._note_if_fatal(error)
        if self.fatal_error is not None:
            self.failed.set()

    async def close(self) -> None:
        """Finish the queued work, close the connection, and release the tables; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(None, self._close)

    @abstractmethod
    def _open(self) -> None:
        """Open the tables; runs on the store's thread."""

    @abstractmethod
    def _close(self) -> None:
        """Close everything that was opened; runs on a thread other than the store's."""

    @abstractmethod
    def _usable_connection(self) -> Database:
        """Return the open connection; replace it if it was lost. Runs on the store's thread. Raises StoreError."""

    @abstractmethod
    def _note_if_fatal(self, error: StoreError) -> None:
        """Set `fatal_error` if the error means that the store can no longer be used."""

    async def _run_on_thread(self, work: Callable[[], T]) -> T:
        try:
            result = await self._thread.run(work)
        except (StoreError, asyncio.CancelledError):
            self._has_lost_result = True
            if self.fatal_error is not None:
                self.failed.set()
            raise
        if self._has_lost_result:
            self._has_lost_result = False
            for action in self.on_recovery:
                action()
        return result

    def _perform(self, work: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        def in_transaction(db: Database) -> T:
            with db.atomic():
                return work(db, *args, **kwargs)

        return self._use_connection(in_transaction)

    def _use_connection(self, work: Callable[[Database], T]) -> T:
        """Return the result of `work(db)`, and note whether the store could be used. Raises StoreError."""
        try:
            with self.converted_errors():
                # After a fatal error, nothing is written, because more writes would make damage worse.
                if self.fatal_error is not None:
                    raise self.fatal_error
                db = self._usable_connection()
                written = db.changes
                result = work(db)
                if db.changes != written:
                    self.last_error = None
                return result
        except StoreError as error:
            self.last_error = error
            self._note_if_fatal(error)
            raise
