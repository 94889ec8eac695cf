"""Reads the store for the HTTP interface, with time limits and without blocking the thread that writes."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Concatenate, Final, ParamSpec, TypeVar

from msgspec import Struct

from notifier.store.database import Database, ReadingDatabase
from notifier.store.errors import StoreError, StoreReason
from notifier.store.store import Store

P = ParamSpec("P")
T = TypeVar("T")

_INTERRUPT_EVERY_SECONDS: Final = 0.05
"""Seconds between two interrupts of the same work. An interrupt ends only the statement that is running."""


class ReadingLimits(Struct, frozen=True):
    """How many readers may read at the same time, and for how many seconds each may wait and read.

    A reader waits up to `wait_seconds` for its turn, and then reads for up to `work_seconds`.
    """

    max_readers: int = 2
    wait_seconds: float = 1.0
    work_seconds: float = 1.0


class StoreReader:
    """Runs queries on read-only connections, while the store goes on writing.

    A query is interrupted if it takes too long or its client has gone. So HTTP requests delay neither polls nor
    deliveries nor the end of the process.
    """

    def __init__(self, store: Store, limits: ReadingLimits | None = None) -> None:
        """Initialise with the store; nothing is opened yet."""
        self._store = store
        self._limits = limits or ReadingLimits()
        self._threads = [_ReaderThread(store, number) for number in range(self._limits.max_readers)]
        self._free_threads = list(self._threads)
        self._turns = asyncio.Semaphore(self._limits.max_readers)

    async def run(self, work: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work(db, ...)` on a thread, in one read transaction, and return its result.

        Raises StoreError if the store cannot be read: BUSY if no turn was free within `wait_seconds`, or `work` took
        longer than `work_seconds`. Errors of `work` are passed on.
        """
        await self._wait_for_turn()
        return await self._run_on_thread(lambda db: work(db, *args, **kwargs))

    async def run_without_turn_limit(
        self, work: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call `work(db, ...)` as `run` does, but wait for a turn without a time limit."""
        await self._turns.acquire()
        return await self._run_on_thread(lambda db: work(db, *args, **kwargs))

    async def close(self) -> None:
        """Interrupt all reading, and close the connections."""
        await asyncio.gather(*(thread.close() for thread in self._threads))

    async def _wait_for_turn(self) -> None:
        try:
            async with asyncio.timeout(self._limits.wait_seconds):
                await self._turns.acquire()
        except TimeoutError:
            raise StoreError(
                StoreReason.BUSY, "the state file is being read by too many requests at the moment: try again later"
            ) from None

    async def _run_on_thread(self, work: Callable[[Database], T]) -> T:
        thread, given_up = self._free_threads.pop(), threading.Event()
        if self._store.fatal_error is not None:
            self._release(thread)
            raise self._store.fatal_error
        try:
            done = asyncio.get_running_loop().run_in_executor(thread.executor, thread.perform, work, given_up)
        except RuntimeError as error:
            # The executor keeps the work, and does it when it gets a thread.
            given_up.set()
            self._release(thread)
            raise StoreError(
                StoreReason.BUSY, f"the state cannot be read now ({error}): raise the limit of threads, or try later"
            ) from error
        done.add_done_callback(lambda ended: self._work_ended(thread, ended))
        try:
            async with asyncio.timeout(self._limits.work_seconds):
                return await asyncio.shield(done)
        except TimeoutError:
            raise StoreError(
                StoreReason.BUSY,
                f"reading this takes longer than {self._limits.work_seconds:g} s: request less, or try again later",
            ) from None
        finally:
            given_up.set()
            thread.interrupt_until(done)

    def _work_ended(self, thread: "_ReaderThread", ended: "asyncio.Future[T]") -> None:
        if not ended.cancelled():
            # The error is retrieved here, because the caller may have been cancelled, or may wait no longer.
            error = ended.exception()
            if isinstance(error, StoreError):
                self._store.note_reader_error(error)
        self._release(thread)

    def _release(self, thread: "_ReaderThread") -> None:
        self._free_threads.append(thread)
        self._turns.release()


class _ReaderThread:
    """A thread with its own read-only connection."""

    def __init__(self, store: Store, number: int) -> None:
        self._store = store
        self._db: ReadingDatabase | None = None
        self._reading: ReadingDatabase | None = None
        self.executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"reader {number}")

    def perform(self, work: Callable[[Database], T], given_up: threading.Event) -> T:
        """Call `work` in one read transaction, and return its result; runs on this thread.

        First opens the connection, if necessary. If `given_up` is set after that, nobody waits for the result any more,
        and StoreError is raised.
        """
        with self._store.converted_errors():
            db = self._open()
            # An interrupt may cut the connection. If opening one takes longer than reading may take, no reader would
            # ever get one.
            if given_up.is_set():
                raise StoreError(StoreReason.BUSY, "opening a connection took too long: try again")
            self._reading = db
            try:
                with db.atomic():
                    return work(db)
            finally:
                self._reading = None

    def interrupt_until(self, done: "asyncio.Future[T]") -> None:
        """Interrupt this thread's running statement again and again until `done` is set; runs on the event loop."""
        if done.done():
            return
        if (db := self._reading) is not None:
            db.interrupt()
        asyncio.get_running_loop().call_later(_INTERRUPT_EVERY_SECONDS, self.interrupt_until, done)

    async def close(self) -> None:
        """Interrupt the reading, and close the connection."""
        closed = asyncio.get_running_loop().run_in_executor(self.executor, self._close)
        self.interrupt_until(closed)
        with suppress(StoreError):
            await closed
        await asyncio.to_thread(self.executor.shutdown)

    def _open(self) -> ReadingDatabase:
        if self._db is not None and not self._db.is_usable:
            self._db.close()
            self._db = None
        if self._db is None:
            self._db = self._store.open_reader()
        return self._db

    def _close(self) -> None:
        with self._store.converted_errors():
            if self._db is not None:
                self._db.close()
                self._db = None
