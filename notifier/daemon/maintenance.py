"""Periodic maintenance of the state file, so that it can be used for years without manual work."""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from notifier.clock import Clock
from notifier.daemon.offline import UNWRITTEN
from notifier.events import Event, EventType
from notifier.store import maintenance
from notifier.store.errors import StoreError
from notifier.store.recovery import essentials, snapshot
from notifier.store.store import Store
from notifier.store.tables import erasure, retention, rollups
from notifier.store.tables.retention import FIRST, DetectionPlace

_log = logging.getLogger(__name__)

LARGE_LOG_BYTES = 8_000_000
"""The size in bytes at which the write-ahead log is truncated ahead of schedule. SQLite itself keeps the log at about
4 MB, unless another process reads the file for a long time."""

ESSENTIALS_EVERY_SECONDS = 600.0
"""Seconds after which the essentials are written again even if nothing but the time of the last success changed."""

ESSENTIALS_PATIENCE_SECONDS = 600.0
"""Seconds for which writes of the essentials may fail before a notice is sent."""

URGENT_AFTER_SECONDS = 0.5
"""Seconds to wait before the essentials are written for events that cannot be detected again. If the events are
delivered within that time, the write is not needed.
"""

URGENT_SHARE = 10.0
"""The next urgent write waits this many times as long as the last one took, because a large backlog makes it slow."""

_NOT_FOUND_AGAIN: Final = (EventType.UPDATED, EventType.REMOVED)

OPTIMIZE_EVERY_SECONDS = 86_400.0
"""Seconds between two updates of SQLite's statistics of its tables."""


class Housekeeping:
    """Maintains one state file."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        retention_of_now: Callable[[], float],
        sources_of_now: Callable[[], Collection[str] | None] = lambda: None,
    ) -> None:
        """Initialize with functions that return the current retention (seconds) and the current names of sources."""
        self._store = store
        self._clock = clock
        self._retention = retention_of_now
        self._sources = sources_of_now
        self._written: tuple[Any, ...] | None = None
        self._written_at = 0.0
        self._kept_sources = False
        self._optimize_at = clock.monotonic() + OPTIMIZE_EVERY_SECONDS
        self._writing = asyncio.Lock()
        self._urgent: asyncio.Task[None] | None = None
        self._written_until = 0
        self._pause = 0.0
        self._failing_since: float | None = None
        self._failure = ""
        self._unwritten = ""

    @property
    def has_kept(self) -> bool:
        """Whether essentials with at least one source have been written."""
        return self._kept_sources

    async def tidy(self) -> None:
        """Delete data older than the retention, in small steps, and free the space; the next call retries errors."""
        forgotten = 0
        try:
            before_ms = self._clock.now_ms() - round(self._retention() * 1000)
            place: DetectionPlace | None = FIRST
            while place is not None:
                done = await self._store.run(retention.forget, before_ms, place)
                forgotten, place = forgotten + done.events, done.place
            while await self._store.run(erasure.erase_removed, before_ms):
                pass
            await self._store.run(maintenance.prune, self._clock.now_ms())
            await self._store.run(rollups.forget, self._clock.now_ms())
            while await self._store.run_bare(maintenance.give_back):
                pass
            if self._clock.monotonic() >= self._optimize_at:
                self._optimize_at = self._clock.monotonic() + OPTIMIZE_EVERY_SECONDS
                await self._store.run_bare(maintenance.optimize)
            await self._store.run_bare(maintenance.checkpoint)
        except StoreError as error:
            _log.error(error.message, extra={"reason": error.reason})
        if forgotten:
            _log.info("old events deleted", extra={"events": forgotten})

    async def keep(self) -> None:
        """Write the essentials if they have changed, prepare searches, and truncate a large write-ahead log.

        First, check that the state file still has its name, because data written into a deleted file would be lost.
        """
        try:
            await self._store.check_place()
            await self.write_essentials()
            # Imported here, because it is needed some time after the start only.
            from notifier.store.queries import search  # noqa: PLC0415

            await self._store.run(search.prepare, self._sources())
            if await asyncio.to_thread(maintenance.log_size, self._store.path) > LARGE_LOG_BYTES:
                await self._store.run_bare(maintenance.checkpoint)
        except StoreError as error:
            # The parts that use the store all the time report the same error.
            _log.debug(error.message, extra={"reason": error.reason})

    def heed(self, events: Sequence[Event]) -> None:
        """Schedule an early write of the essentials file if these events could not be detected again after a loss."""
        if self._urgent is None and any(event.type in _NOT_FOUND_AGAIN for event in events):
            self._urgent = asyncio.create_task(self._write_soon(), name="essentials")

    async def stop(self) -> None:
        """Stop, and write the essentials one last time."""
        if self._urgent is not None:
            self._urgent.cancel()
            await asyncio.wait([self._urgent])
        await self.keep()

    async def _write_soon(self) -> None:
        """Wait a moment, then write the essentials unless all urgent events have been delivered by then."""
        await asyncio.sleep(max(URGENT_AFTER_SECONDS, self._pause))
        # Events that arrive from now on need another write.
        self._urgent = None
        try:
            if await self._store.run(snapshot.is_urgent, self._written_until):
                started = self._clock.monotonic()
                await self.write_essentials()
                self._pause = (self._clock.monotonic() - started) * URGENT_SHARE
        except StoreError as error:
            _log.debug(error.message, extra={"reason": error.reason})

    async def write_essentials(self) -> None:
        """Write the essentials beside the state file, unless the ones there are up to date. Raises StoreError."""
        async with self._writing:
            await self._write()

    async def rewrite_essentials(self) -> None:
        """Write the essentials and their older generation again: something was erased. Raises StoreError."""
        async with self._writing:
            for _ in ("the present ones", "the older generation"):
                self._written = None
                await self._write()

    async def _write(self) -> None:
        now = self._clock.monotonic()
        found = await self._store.run(snapshot.signature)
        if found == self._written and now - self._written_at < ESSENTIALS_EVERY_SECONDS:
            return
        content = await self._store.run(snapshot.gather, self._clock.now_ms(), instead_of=self._unwritten)
        try:
            await asyncio.to_thread(essentials.write, self._store.path, content)
        except OSError as error:
            if self._failing_since is None:
                _log.error(UNWRITTEN, extra={"detail": error.strerror})
                self._failing_since, self._failure = now, error.strerror or str(error)
            self._unwritten = content.stamp
            return
        self._failing_since, self._unwritten = None, ""
        self._written, self._written_at, self._kept_sources = found, now, bool(content.sources)
        self._written_until = content.sequence

    def failure(self) -> str | None:
        """Return the error if the essentials could not be written for ESSENTIALS_PATIENCE_SECONDS, otherwise None."""
        if self._failing_since is None or self._clock.monotonic() - self._failing_since < ESSENTIALS_PATIENCE_SECONDS:
            return None
        return f"{UNWRITTEN} ({self._failure})"
