"""Sends events to the readers of the stream in batches.

A new event is read and formatted once for all readers. Serving gets a small share of the event loop's time. Many
readers, or requests for many old events, delay the stream, but not the deliveries.
"""

import asyncio
import logging
import time
from collections import Counter
from enum import IntEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from notifier.store.database import Database
from notifier.store.errors import StoreError
from notifier.store.queries import feed
from notifier.store.queries.feed import EventFilter, EventPage
from notifier.store.reader import StoreReader
from notifier.web.feed.sse import KEEP_ALIVE, FrameBatch, Tail, format_batch
from notifier.web.feed.subscriber import Subscriber
from notifier.web.feed.time_budget import TimeBudget

_log = logging.getLogger(__name__)

_EVENT_LOOP_SHARE: Final = 0.05
_TAIL_BYTES: Final = 4_000_000
_BATCH_BYTES: Final = 128_000
_EVENTS_PER_READ: Final = 500
_STORE_RETRY_SECONDS: Final = 1.0


class StreamTiming(Struct, frozen=True):
    """The intervals and time limits for serving readers."""

    batch_seconds: float = 0.1
    """Seconds for which events are collected before they are sent."""
    slow_reader_seconds: float = 30.0
    """Seconds after which a reader that has not received a batch is disconnected."""
    keep_alive_seconds: float = 15.0
    """Seconds without any event after which a reader gets a keep-alive line."""
    disconnect_check_seconds: float = 1.0
    """Seconds within which a closed connection is noticed."""


class TooManyReadersError(Exception):
    """The stream has as many readers as are allowed, or the daemon is stopping."""


class Stream:
    """Sends stored events to readers.

    There can be up to `max_readers` at the same time, and up to `max_per_peer` from one peer.
    """

    def __init__(self, reader: StoreReader, timing: StreamTiming, max_readers: int, max_per_peer: int) -> None:
        self._reader = reader
        self._timing = timing
        self._max_readers = max_readers
        self._max_per_peer = max_per_peer
        self._time_budget = TimeBudget(_EVENT_LOOP_SHARE)
        self._readers_by_peer: Counter[str] = Counter()
        self._readers: set[Subscriber] = set()
        self._new_events = asyncio.Event()
        self._tail: Tail | None = None
        self._serve_task: asyncio.Task[None] | None = None
        self._stopped = False
        self._has_store_failed = False

    @property
    def reader_count(self) -> int:
        """The number of readers."""
        return self._readers_by_peer.total()

    def wake(self) -> None:
        """Notify the stream that there are new events in the store."""
        self._new_events.set()

    def drop_cached_events(self) -> None:
        """Forget the latest events kept in memory, so that events erased from the store are not sent."""
        self._tail = None

    def register_reader(self, peer: str) -> None:
        """Add a reader to the count for its peer. Raises TooManyReadersError at a limit, and after `stop`."""
        if self._stopped:
            raise TooManyReadersError("the daemon is stopping: reconnect when it runs again")
        if self._readers_by_peer.total() >= self._max_readers:
            raise TooManyReadersError(f"the stream already has {self._max_readers} readers, which is the limit")
        if self._readers_by_peer[peer] >= self._max_per_peer:
            raise TooManyReadersError(
                f"the stream already has {self._max_per_peer} readers from your address, which is the limit"
            )
        self._readers_by_peer[peer] += 1

    def unregister_reader(self, peer: str) -> None:
        """Remove a registered reader from the count for its peer."""
        self._readers_by_peer[peer] -= 1
        if not self._readers_by_peer[peer]:
            del self._readers_by_peer[peer]

    async def serve(self, reader: Subscriber) -> None:
        """Send events to a reader until the reader is ended or disconnected."""
        if self._stopped:
            return
        self._readers.add(reader)
        self._new_events.set()
        if self._serve_task is None or self._serve_task.done():
            self._serve_task = asyncio.create_task(self._serve(), name="stream")
            self._serve_task.add_done_callback(self._on_serve_task_done)
        try:
            await reader.ended
        finally:
            self._readers.discard(reader)

    async def stop(self) -> None:
        """Disconnect all readers. Clients reconnect with the number of the last event that they received."""
        self._stopped = True
        for reader in self._readers:
            reader.end()
        if self._serve_task is not None:
            self._serve_task.cancel()
            await asyncio.wait([self._serve_task])

    def _on_serve_task_done(self, task: asyncio.Task[None]) -> None:
        """If the task that serves readers has failed, disconnect them. The next reader starts a new task."""
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            _log.critical("an internal error; readers of the stream are disconnected", exc_info=fault)
            self._tail = None
            for reader in self._readers:
                reader.end()

    async def _serve(self) -> None:
        while self._readers:
            try:
                remaining = await self._serve_round()
                self._has_store_failed = False
            except StoreError as error:
                if not self._has_store_failed:
                    _log.error(error.message, extra={"reason": error.reason})
                self._has_store_failed = True
                await asyncio.sleep(_STORE_RETRY_SECONDS)
                continue
            match remaining:
                case _RemainingWork.MORE_EVENTS:
                    await asyncio.sleep(0)
                case _RemainingWork.UNSENT:
                    await asyncio.sleep(self._timing.batch_seconds)
                case _RemainingWork.NOTHING:
                    await asyncio.sleep(self._timing.batch_seconds)
                    await self._wait_for_new_events()
        self._tail = None

    async def _wait_for_new_events(self) -> None:
        try:
            async with asyncio.timeout(self._timing.disconnect_check_seconds):
                await self._new_events.wait()
        except TimeoutError:
            return

    async def _serve_round(self) -> "_RemainingWork":
        """Send at most one batch to each reader, and return what work remains. Raises StoreError."""
        tail, is_whole = await self._extend_tail()
        batches: dict[tuple[int, EventFilter], FrameBatch] = {}
        remaining = {_RemainingWork.NOTHING if is_whole else _RemainingWork.MORE_EVENTS}
        for reader in tuple(self._readers):
            if self._tail is not tail:
                return _RemainingWork.MORE_EVENTS
            if reader.ended.done():
                continue
            if reader.is_disconnected:
                reader.end()
            elif reader.has_unsent_data:
                self._drop_if_too_slow(reader)
                remaining.add(_RemainingWork.UNSENT)
            else:
                if reader.after < tail.end:
                    batch_key = reader.after, reader.event_filter
                    if batch_key not in batches:
                        batches[batch_key] = await self._read_batch(tail, *batch_key)
                    await self._send(reader, batches[batch_key])
                    remaining.add(_RemainingWork.MORE_EVENTS if reader.after < tail.end else _RemainingWork.NOTHING)
                # A search of very many old events for the few that match can take minutes.
                if reader.seconds_since_send() >= self._timing.keep_alive_seconds:
                    await reader.send(KEEP_ALIVE)
            await self._time_budget.rest()
        return max(remaining)

    async def _extend_tail(self) -> tuple[Tail, bool]:
        """Add a page of new events to the tail; return the tail, and whether it is up to date. Raises StoreError."""
        self._new_events.clear()
        while True:
            if self._tail is None:
                self._tail = Tail(await self._reader.run_without_turn_limit(feed.newest_number), _TAIL_BYTES)
            tail = self._tail
            page = await self._read_page(tail.end, EventFilter())
            # If the tail was dropped in the meantime, the page may contain erased events.
            if self._tail is tail:
                break
        with self._time_budget.measure_work():
            tail.extend(page.events, page.next)
        return tail, page.ended

    async def _read_batch(self, tail: Tail, after: int, event_filter: EventFilter) -> FrameBatch:
        """Return matching events after number `after`: from the tail if it goes back that far, else from the store."""
        if after >= tail.start:
            with self._time_budget.measure_work():
                return tail.batch(after, event_filter, _BATCH_BYTES)
        page = await self._read_page(after, event_filter)
        with self._time_budget.measure_work():
            batch = format_batch(page)
        # Otherwise, the reader would never reach the tail's end if the last events have been deleted.
        return replace(batch, last=max(batch.last, tail.end)) if page.ended else batch

    async def _read_page(self, after: int, event_filter: EventFilter) -> EventPage:
        """Read a page of events. The reading time counts as work, because deliveries cannot use the store meanwhile."""
        page, seconds = await self._reader.run_without_turn_limit(_read_page_timed, after, event_filter)
        self._time_budget.add(seconds)
        return page

    async def _send(self, reader: Subscriber, batch: FrameBatch) -> None:
        with self._time_budget.measure_work():
            reader.after = batch.last
            if batch.data:
                await reader.send(batch.data)

    def _drop_if_too_slow(self, reader: Subscriber) -> None:
        if reader.seconds_since_send() >= self._timing.slow_reader_seconds:
            _log.info("a reader of the stream is too slow and was disconnected; it can reconnect and resume")
            reader.drop()


class _RemainingWork(IntEnum):
    """The work that remains after a round.

    `UNSENT` means that some readers have not received all of their previous batch yet. `MORE_EVENTS` means that there
    are more batches to send; it takes precedence over `UNSENT`.
    """

    NOTHING = 0
    UNSENT = 1
    MORE_EVENTS = 2


def _read_page_timed(db: Database, after: int, event_filter: EventFilter) -> tuple[EventPage, float]:
    started = time.perf_counter()
    page = feed.page_after(db, after, event_filter, _EVENTS_PER_READ, _BATCH_BYTES)
    return page, time.perf_counter() - started
