"""Upkeep of the state file: its free space, its write-ahead log, and its recovery snapshot (the essentials file)."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

from notifier.clock import Clock
from notifier.events import Event, EventType
from notifier.store.errors import StoreError
from notifier.store.file import maintenance
from notifier.store.file.store import FileStore
from notifier.store.recovery import essentials, snapshot

_log = logging.getLogger(__name__)

UNWRITTEN = "the essentials cannot be written beside the state file; free some space, or make its folder writable"

LARGE_LOG_BYTES = 8_000_000
"""The size in bytes at which the write-ahead log is truncated ahead of schedule. SQLite itself keeps the log at about
4 MB, unless another process reads the file for a long time."""

ESSENTIALS_EVERY_SECONDS = 600.0
"""Seconds after which the recovery snapshot is written again even if only the time of the last success has changed."""

ESSENTIALS_PATIENCE_SECONDS = 600.0
"""Seconds for which writes of the recovery snapshot (essentials file) may fail before an alert is sent."""

URGENT_AFTER_SECONDS = 0.5
"""Seconds to wait before the recovery snapshot (essentials file) is written for events that cannot be detected again.
If the events are delivered within that time, the write is not needed.
"""

URGENT_WAIT_FACTOR = 10.0
"""The least wait before an urgent write of the recovery snapshot, as a multiple of how long the last one took.

So a large snapshot, which is slow to write, is not written all the time.
"""

_NOT_FOUND_AGAIN: Final = (EventType.UPDATED, EventType.REMOVED)

OPTIMIZE_EVERY_SECONDS = 86_400.0
"""Seconds between two updates of SQLite's statistics of its tables."""


class FileUpkeep:
    """Keeps one state file small, and writes its recovery snapshot (essentials file)."""

    def __init__(self, store: FileStore, clock: Clock) -> None:
        """Initialize with the open state file."""
        self._store = store
        self._clock = clock
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
        """Whether a recovery snapshot (essentials file) with at least one source has been written."""
        return self._kept_sources

    async def tidy(self) -> None:
        """Return free space to the disk, update the statistics once a day, and truncate the log. Raises StoreError."""
        while await self._store.run_without_transaction(maintenance.release_pages):
            pass
        if self._clock.monotonic() >= self._optimize_at:
            self._optimize_at = self._clock.monotonic() + OPTIMIZE_EVERY_SECONDS
            await self._store.run_without_transaction(maintenance.optimize)
        await self._store.run_without_transaction(maintenance.checkpoint)

    async def truncate_large_log(self) -> None:
        """Truncate the write-ahead log if it has grown large. Raises StoreError."""
        if await asyncio.to_thread(maintenance.log_size, self._store.path) > LARGE_LOG_BYTES:
            await self._store.run_without_transaction(maintenance.checkpoint)

    async def release_memory(self) -> None:
        """Free the memory of cached pages of the file. Raises StoreError."""
        await self._store.run_without_transaction(maintenance.release_memory)

    def note(self, events: Sequence[Event]) -> None:
        """Schedule an early write of the recovery snapshot if any of these events could not be detected again."""
        if self._urgent is None and any(event.type in _NOT_FOUND_AGAIN for event in events):
            self._urgent = asyncio.create_task(self._write_soon(), name="essentials")

    async def stop(self) -> None:
        """Cancel scheduled early writes; the caller writes the recovery snapshot (essentials file) one last time."""
        if self._urgent is not None:
            self._urgent.cancel()
            await asyncio.wait([self._urgent])

    async def _write_soon(self) -> None:
        """Wait a moment, then write the recovery snapshot if urgent events are still undelivered."""
        await asyncio.sleep(max(URGENT_AFTER_SECONDS, self._pause))
        # Events that arrive from now on need another write.
        self._urgent = None
        try:
            if await self._store.run(snapshot.has_urgent_events, self._written_until):
                started = self._clock.monotonic()
                await self.write_essentials()
                self._pause = (self._clock.monotonic() - started) * URGENT_WAIT_FACTOR
        except StoreError as error:
            _log.debug(error.message, extra={"reason": error.reason})

    async def write_essentials(self) -> None:
        """Write the recovery snapshot beside the state file if the existing one is outdated. Raises StoreError."""
        async with self._writing:
            await self._write()

    async def rewrite_essentials(self) -> None:
        """Write the recovery snapshot twice, so that the older copy lacks erased data, too. Raises StoreError."""
        async with self._writing:
            for _ in ("the present ones", "the older generation"):
                self._written = None
                await self._write()

    async def _write(self) -> None:
        now = self._clock.monotonic()
        found = await self._store.run(snapshot.change_signature)
        if found == self._written and now - self._written_at < ESSENTIALS_EVERY_SECONDS:
            return
        content = await self._store.run(snapshot.take_snapshot, self._clock.now_ms(), instead_of=self._unwritten)
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
        """Return the error if recovery snapshots could not be written for ESSENTIALS_PATIENCE_SECONDS, else None."""
        if self._failing_since is None or self._clock.monotonic() - self._failing_since < ESSENTIALS_PATIENCE_SECONDS:
            return None
        return f"{UNWRITTEN} ({self._failure})"
