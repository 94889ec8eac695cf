"""Keeps the state file and its write-ahead log small, and writes its essentials beside it."""

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

SNAPSHOT_NOT_WRITTEN = (
    "the essentials cannot be written beside the state file; free some space, or make its folder writable"
)

LARGE_LOG_BYTES = 8_000_000
"""The size in bytes above which the write-ahead log is truncated soon, without waiting for the hourly maintenance.

SQLite itself keeps the log at about 4 MB, unless another process reads the file for a long time.
"""

ESSENTIALS_EVERY_SECONDS = 600.0
"""Seconds after which the essentials are written again even if their important content has not changed."""

ESSENTIALS_GRACE_SECONDS = 600.0
"""Seconds for which all writes of the essentials may fail before an alert is sent."""

URGENT_AFTER_SECONDS = 0.5
"""Seconds between an update or removal and the urgent write of the essentials.

If the event is delivered within this time, the write is skipped.
"""

URGENT_WAIT_FACTOR = 10.0
"""The minimum wait before an urgent write of the essentials, as a multiple of the duration of the last urgent write.

Large essentials are slow to write. Without this wait, they could be written all the time.
"""

_NOT_DETECTABLE_AGAIN: Final = (EventType.UPDATED, EventType.REMOVED)

OPTIMIZE_EVERY_SECONDS = 86_400.0
"""Seconds between two updates of SQLite's statistics of its tables."""


class FileUpkeep:
    """Keeps one state file small, and writes its essentials."""

    def __init__(self, store: FileStore, clock: Clock) -> None:
        """Initialise with the open state file."""
        self._store = store
        self._clock = clock
        self._written_signature: tuple[Any, ...] | None = None
        self._written_at = 0.0
        self._has_snapshot = False
        self._optimize_at = clock.monotonic() + OPTIMIZE_EVERY_SECONDS
        self._write_lock = asyncio.Lock()
        self._urgent_write: asyncio.Task[None] | None = None
        self._written_sequence = 0
        self._urgent_delay_seconds = 0.0
        self._failing_since: float | None = None
        self._write_error = ""
        self._failed_stamp = ""

    @property
    def has_snapshot(self) -> bool:
        """Whether this process has written essentials that contain at least one source."""
        return self._has_snapshot

    @property
    def has_written(self) -> bool:
        """Whether this process has written the essentials."""
        return self._written_at > 0

    async def compact(self) -> None:
        """Release unused space of the state file, and truncate its write-ahead log. Raises StoreError.

        Once a day, also update SQLite's statistics of the tables.
        """
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
        """Free the memory that SQLite uses to cache pages of the file. Raises StoreError."""
        await self._store.run_without_transaction(maintenance.release_memory)

    def schedule_urgent_write(self, events: Sequence[Event]) -> None:
        """If `events` contains an update or a removal, schedule an urgent write of the essentials.

        If the state file were lost before the write, the events would be lost: the API cannot show them again.
        """
        if self._urgent_write is None and any(event.type in _NOT_DETECTABLE_AGAIN for event in events):
            self._urgent_write = asyncio.create_task(self._write_urgently(), name="essentials")

    async def stop(self) -> None:
        """Cancel a scheduled urgent write. The caller must then write the essentials one last time."""
        if self._urgent_write is not None:
            self._urgent_write.cancel()
            await asyncio.wait([self._urgent_write])

    async def _write_urgently(self) -> None:
        """Wait, then write the essentials if the existing ones lack an undelivered update or removal."""
        await asyncio.sleep(max(URGENT_AFTER_SECONDS, self._urgent_delay_seconds))
        # An event that arrives after this point schedules another write.
        self._urgent_write = None
        try:
            if await self._store.run(snapshot.has_urgent_events, self._written_sequence):
                started = self._clock.monotonic()
                await self.write_essentials()
                self._urgent_delay_seconds = (self._clock.monotonic() - started) * URGENT_WAIT_FACTOR
        except StoreError as error:
            _log.debug(error.message, extra={"reason": error.reason})

    async def write_essentials(self) -> None:
        """Write the essentials beside the state file if the existing ones are outdated. Raises StoreError."""
        async with self._write_lock:
            await self._write_if_outdated()

    async def rewrite_essentials(self) -> bool:
        """Write the essentials twice, so that neither the current nor the previous file contains erased data.

        Return False if the essentials could not be written. Raises StoreError.
        """
        async with self._write_lock:
            for _ in ("current version", "previous version"):
                self._written_signature = None
                await self._write_if_outdated()
        return self._failing_since is None

    async def _write_if_outdated(self) -> None:
        now = self._clock.monotonic()
        signature = await self._store.run(snapshot.change_signature)
        if signature == self._written_signature and now - self._written_at < ESSENTIALS_EVERY_SECONDS:
            return
        content = await self._store.run(snapshot.take_snapshot, self._clock.now_ms(), instead_of=self._failed_stamp)
        try:
            await asyncio.to_thread(essentials.write, self._store.path, content)
        except OSError as error:
            if self._failing_since is None:
                _log.error(SNAPSHOT_NOT_WRITTEN, extra={"detail": error.strerror})
                self._failing_since, self._write_error = now, error.strerror or str(error)
            self._failed_stamp = content.stamp
            return
        self._failing_since, self._failed_stamp = None, ""
        self._written_signature, self._written_at, self._has_snapshot = signature, now, bool(content.sources)
        self._written_sequence = content.sequence

    def write_failure(self) -> str | None:
        """Return an error message if writes have failed for ESSENTIALS_GRACE_SECONDS, otherwise None."""
        if self._failing_since is None or self._clock.monotonic() - self._failing_since < ESSENTIALS_GRACE_SECONDS:
            return None
        return f"{SNAPSHOT_NOT_WRITTEN} ({self._write_error})"
