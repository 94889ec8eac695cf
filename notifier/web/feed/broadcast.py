"""Serves the readers of the stream in batches; each event is read and formatted once for all readers.

Serving is limited to a small share of the event loop's time. With many readers, or readers far behind, the stream is
delayed, but deliveries are not.
"""

import asyncio
import logging
import time
from collections import Counter
from enum import IntEnum
from typing import Final

from msgspec import Struct

from notifier.store.database import Database
from notifier.store.errors import StoreError
from notifier.store.queries import feed
from notifier.store.queries.feed import EventFilter, EventPage
from notifier.store.reader import StoreReader
from notifier.web.feed.sse import KEEP_ALIVE, FrameBatch, Tail, batch
from notifier.web.feed.subscriber import Subscriber
from notifier.web.feed.time_budget import Duty

_log = logging.getLogger(__name__)

_SHARE: Final = 0.05
_TAIL: Final = 4_000_000
_BATCH: Final = 128_000
_EVENTS: Final = 500
_STORE_RETRY_SECONDS: Final = 1.0


class Pace(Struct, frozen=True):
    """The times for serving readers, in seconds.

    `batch` is the time for which events are collected before they are sent. `patience` is the time in which a reader
    must receive a batch. `keep_alive` is the longest time without sending anything. `look` is the time within which a
    closed connection is noticed.
    """

    batch: float = 0.1
    patience: float = 30.0
    keep_alive: float = 15.0
    look: float = 1.0


class TooManyReadersError(Exception):
    """The stream has as many readers as are allowed, or the daemon is stopping."""


class Stream:
    """Sends stored events to readers.

    `most_readers` is the most readers at once, and `most_of_peer` the most from one peer.
    """

    def __init__(self, reader: StoreReader, pace: Pace, most_readers: int, most_of_peer: int) -> None:
        self._reader = reader
        self._pace = pace
        self._most_readers = most_readers
        self._most_of_peer = most_of_peer
        self._duty = Duty(_SHARE)
        self._places: Counter[str] = Counter()
        self._readers: set[Subscriber] = set()
        self._news = asyncio.Event()
        self._tail: Tail | None = None
        self._serving: asyncio.Task[None] | None = None
        self._stopped = False
        self._in_trouble = False

    @property
    def readers(self) -> int:
        """The number of readers."""
        return self._places.total()

    def wake(self) -> None:
        """Notify the stream of new events in the store."""
        self._news.set()

    def take_place(self, peer: str) -> None:
        """Count one more reader of a peer; the caller has to call `leave_place` later. Raises TooManyReadersError."""
        if self._stopped:
            raise TooManyReadersError("the daemon is stopping: reconnect when it runs again")
        if self._places.total() >= self._most_readers:
            raise TooManyReadersError(f"the stream already has {self._most_readers} readers, which is the limit")
        if self._places[peer] >= self._most_of_peer:
            raise TooManyReadersError(
                f"the stream already has {self._most_of_peer} readers from your address, which is the limit"
            )
        self._places[peer] += 1

    def leave_place(self, peer: str) -> None:
        """Count one reader fewer for a peer."""
        self._places[peer] -= 1
        if not self._places[peer]:
            del self._places[peer]

    async def serve(self, reader: Subscriber) -> None:
        """Serve a reader until it or its connection ends."""
        if self._stopped:
            return
        self._readers.add(reader)
        self._news.set()
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve(), name="stream")
            self._serving.add_done_callback(self._served)
        try:
            await reader.ended
        finally:
            self._readers.discard(reader)

    async def stop(self) -> None:
        """Disconnect all readers. Clients reconnect with the number of the last event that they received."""
        self._stopped = True
        for reader in self._readers:
            reader.end()
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.wait([self._serving])

    def _served(self, serving: asyncio.Task[None]) -> None:
        """Disconnect all readers if the task that serves them has failed; it starts again when they reconnect."""
        fault = None if serving.cancelled() else serving.exception()
        if fault is not None:
            _log.critical("an internal error; readers of the stream are disconnected", exc_info=fault)
            self._tail = None
            for reader in self._readers:
                reader.end()

    async def _serve(self) -> None:
        while self._readers:
            try:
                left = await self._round()
                self._in_trouble = False
            except StoreError as error:
                if not self._in_trouble:
                    _log.error(error.message, extra={"reason": error.reason})
                self._in_trouble = True
                await asyncio.sleep(_STORE_RETRY_SECONDS)
                continue
            match left:
                case _Left.MORE:
                    await asyncio.sleep(0)
                case _Left.TAKING:
                    await asyncio.sleep(self._pace.batch)
                case _Left.NOTHING:
                    await asyncio.sleep(self._pace.batch)
                    await self._until_news()
        self._tail = None

    async def _until_news(self) -> None:
        try:
            async with asyncio.timeout(self._pace.look):
                await self._news.wait()
        except TimeoutError:
            return

    async def _round(self) -> "_Left":
        """Serve each ready reader once, and return the kind of work left. Raises StoreError."""
        tail, is_whole = await self._extended()
        batches: dict[tuple[int, EventFilter], FrameBatch] = {}
        lefts = {_Left.NOTHING if is_whole else _Left.MORE}
        for reader in tuple(self._readers):
            if reader.ended.done():
                continue
            if reader.is_gone:
                reader.end()
            elif reader.is_taking:
                self._lose_patience(reader)
                lefts.add(_Left.TAKING)
            elif reader.after < tail.end:
                asked = reader.after, reader.chosen
                if asked not in batches:
                    batches[asked] = await self._batch(tail, *asked)
                await self._hand(reader, batches[asked])
                lefts.add(_Left.MORE if reader.after < tail.end else _Left.NOTHING)
            elif reader.idle_for() >= self._pace.keep_alive:
                await self._hand(reader, FrameBatch(KEEP_ALIVE, reader.after))
            await self._duty.rest()
        return max(lefts)

    async def _extended(self) -> tuple[Tail, bool]:
        """Add a page of events to the tail; return the tail, and whether it is complete now. Raises StoreError."""
        self._news.clear()
        if self._tail is None:
            self._tail = Tail(await self._reader.run_patiently(feed.position), _TAIL)
        page = await self._read(self._tail.end, EventFilter())
        with self._duty.work():
            self._tail.extend(page.events, page.next)
        return self._tail, page.ended

    async def _batch(self, tail: Tail, after: int, chosen: EventFilter) -> FrameBatch:
        """Return the chosen events after number `after`: from the tail if it still has them, else from the store."""
        if after >= tail.start:
            with self._duty.work():
                return tail.batch(after, chosen, _BATCH)
        page = await self._read(after, chosen)
        with self._duty.work():
            return batch(page)

    async def _read(self, after: int, chosen: EventFilter) -> EventPage:
        """Return a page of events; its reading counts as work, because it delays deliveries, which need the store."""
        page, seconds = await self._reader.run_patiently(_timed_page, after, chosen)
        self._duty.add(seconds)
        return page

    async def _hand(self, reader: Subscriber, following: FrameBatch) -> None:
        with self._duty.work():
            reader.after = following.last
            if following.written:
                await reader.hand(following.written)

    def _lose_patience(self, reader: Subscriber) -> None:
        if reader.idle_for() >= self._pace.patience:
            _log.info("a reader of the stream is too slow and was disconnected; it can reconnect and resume")
            reader.drop()


class _Left(IntEnum):
    """The work left after a round: nothing, only to wait until readers have received their batches, or more events."""

    NOTHING = 0
    TAKING = 1
    MORE = 2


def _timed_page(db: Database, after: int, chosen: EventFilter) -> tuple[EventPage, float]:
    started = time.perf_counter()
    page = feed.page_after(db, after, chosen, _EVENTS, _BATCH)
    return page, time.perf_counter() - started
