"""Serves all who follow the stream: each event is read and written once for all, and readers are served in batches.

Serving them takes no more than a small share of the event loop's time, however many they are and however much there
is to read: they get it later then, and deliveries do not.
"""

import asyncio
import logging
import time
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from sqlite_utils import Database

from notifier.ledger import feed
from notifier.ledger.errors import LedgerError
from notifier.ledger.feed import EventFilter, EventPage
from notifier.ledger.ledger import Ledger
from notifier.web.feed.duty import Duty
from notifier.web.feed.frames import KEEP_ALIVE, Batch, Tail, batch
from notifier.web.feed.reader import Reader

_log = logging.getLogger(__name__)

_SHARE: Final = 0.05
_TAIL: Final = 4_000_000
_BATCH: Final = 128_000
_EVENTS: Final = 500
_LEDGER_RETRY: Final = 1.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How readers are served; in seconds.

    `batch` is the time in which events are collected for the next batch, `patience` the time that a reader has for
    taking a batch, `keep_alive` the longest silence, `look` the time within which a closed connection is noticed.
    """

    batch: float = 0.1
    patience: float = 30.0
    keep_alive: float = 15.0
    look: float = 1.0


class TooManyReadersError(Exception):
    """There are as many readers as can be served, or none is served any more since the daemon stops."""


class Stream:
    """Hands the events of the ledger to its readers. `most_readers` is how many there may be at once."""

    def __init__(self, ledger: Ledger, pace: Pace, most_readers: int) -> None:
        """Take the ledger; nothing is read from it while there are no readers."""
        self._ledger = ledger
        self._pace = pace
        self._most_readers = most_readers
        self._duty = Duty(_SHARE)
        self._places = 0
        self._readers: set[Reader] = set()
        self._news = asyncio.Event()
        self._tail: Tail | None = None
        self._serving: asyncio.Task[None] | None = None
        self._stopped = False
        self._in_trouble = False

    @property
    def readers(self) -> int:
        """How many there are."""
        return self._places

    def wake(self) -> None:
        """Look into the ledger: there is something new."""
        self._news.set()

    def take_place(self) -> None:
        """Count one more reader, who calls `leave_place` at the end. Raises TooManyReadersError."""
        if self._stopped:
            raise TooManyReadersError("the daemon stops: come back when it runs again")
        if self._places >= self._most_readers:
            raise TooManyReadersError(f"the stream has {self._most_readers} readers, and no more can be served")
        self._places += 1

    def leave_place(self) -> None:
        """Count one reader less."""
        self._places -= 1

    async def serve(self, reader: Reader) -> None:
        """Serve a reader until it ends, or its connection does."""
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
        """End all readers; they come back by the number of the last event that they had."""
        self._stopped = True
        for reader in self._readers:
            reader.end()
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.wait([self._serving])

    def _served(self, serving: asyncio.Task[None]) -> None:
        """Let no fault of ours leave readers without a word for ever: they come back, and are served anew."""
        fault = None if serving.cancelled() else serving.exception()
        if fault is not None:
            _log.critical("a fault of the program; readers of the stream are let go", exc_info=fault)
            self._tail = None
            for reader in self._readers:
                reader.end()

    async def _serve(self) -> None:
        while self._readers:
            try:
                left = await self._round()
                self._in_trouble = False
            except LedgerError as error:
                if not self._in_trouble:
                    _log.error(error.message, extra={"reason": error.reason})
                self._in_trouble = True
                await asyncio.sleep(_LEDGER_RETRY)
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
        """Serve each reader that can be served, once. Raises LedgerError."""
        tail, is_whole = await self._extended()
        batches: dict[tuple[int, EventFilter], Batch] = {}
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
                await self._hand(reader, Batch(KEEP_ALIVE, reader.after))
            await self._duty.rest()
        return max(lefts)

    async def _extended(self) -> tuple[Tail, bool]:
        """Bring the tail up to date, a page at a time; tell whether it is. Raises LedgerError."""
        self._news.clear()
        if self._tail is None:
            self._tail = Tail(await self._ledger.run(feed.position), _TAIL)
        page = await self._read(self._tail.end, EventFilter())
        with self._duty.work():
            self._tail.extend(page.events, page.next)
        return self._tail, page.ended

    async def _batch(self, tail: Tail, after: int, chosen: EventFilter) -> Batch:
        """Return what follows behind a number: from memory, or where that does not reach back so far, the ledger."""
        if after >= tail.start:
            with self._duty.work():
                return tail.batch(after, chosen, _BATCH)
        page = await self._read(after, chosen)
        with self._duty.work():
            return batch(page)

    async def _read(self, after: int, chosen: EventFilter) -> EventPage:
        """Read a page. Deliveries need the ledger as they need the event loop, so it counts as work, too."""
        page, seconds = await self._ledger.run(_timed_page, after, chosen)
        self._duty.add(seconds)
        return page

    async def _hand(self, reader: Reader, following: Batch) -> None:
        with self._duty.work():
            reader.after = following.last
            if following.written:
                await reader.hand(following.written)

    def _lose_patience(self, reader: Reader) -> None:
        if reader.idle_for() >= self._pace.patience:
            _log.info("a reader of the stream is too slow and was let go; it can come back for the rest")
            reader.drop()


class _Left(IntEnum):
    """What a round has left to do: nothing, a look whether readers have taken theirs, or more at once."""

    NOTHING = 0
    TAKING = 1
    MORE = 2


def _timed_page(db: Database, after: int, chosen: EventFilter) -> tuple[EventPage, float]:
    started = time.perf_counter()
    page = feed.page_after(db, after, chosen, _EVENTS, _BATCH)
    return page, time.perf_counter() - started
