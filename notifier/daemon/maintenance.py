"""Periodic maintenance of the store, so that it can be used for years without manual work."""

import asyncio
import logging
from collections.abc import Sequence

from notifier import process
from notifier.clock import Clock
from notifier.daemon.configuration import RunningConfiguration
from notifier.daemon.file_upkeep import FileUpkeep
from notifier.events import Event
from notifier.store import pruning
from notifier.store.errors import StoreError
from notifier.store.file.store import FileStore
from notifier.store.store import Store
from notifier.store.tables import activity, erasure, records_by_person, request_log, retention, rollups
from notifier.store.tables.retention import FIRST, DetectionPosition

_log = logging.getLogger(__name__)

RETENTION_JOB = "(retention)"
"""The name of the job that deletes old content; the parentheses distinguish it from names of sources."""

RETENTION_EVERY_SECONDS = 3600.0
"""Seconds between two checks for events older than the retention."""

ESSENTIALS_JOB = "(essentials)"
"""The name of the job that writes the recovery snapshot, which is needed if the state file is lost."""


class Housekeeping:
    """Maintains one store."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        configuration: RunningConfiguration,
    ) -> None:
        self._store = store
        self._clock = clock
        self._configuration = configuration
        self.upkeep = FileUpkeep(store, clock) if isinstance(store, FileStore) else None
        """The upkeep of the state file; None if the store is a database."""

    @property
    def has_snapshot(self) -> bool:
        """Whether a recovery snapshot with at least one source has been written, or the store needs none."""
        return self.upkeep is None or self.upkeep.has_snapshot

    async def delete_old_data(self) -> None:
        """Delete data older than the retention, in small steps, and free the space. Errors are only logged."""
        forgotten = 0
        try:
            before_ms = self._clock.now_ms() - round(self._configuration.settings.store.retention * 1000)
            place: DetectionPosition | None = FIRST
            while place is not None:
                done = await self._store.run(retention.delete_old_events, before_ms, place)
                forgotten, place = forgotten + done.events, done.place
            while await self._store.run(erasure.erase_removed, before_ms):
                pass
            await self._store.run(pruning.prune, self._clock.now_ms())
            await self._store.run(rollups.delete_old, self._clock.now_ms())
            await self._store.run(request_log.delete_old, before_ms)
            await self._store.run(activity.delete_old, self._clock.now_ms())
            if self.upkeep is not None:
                await self.upkeep.compact()
        except StoreError as error:
            _log.error(error.message, extra={"reason": error.reason})
        if forgotten:
            _log.info("old events deleted", extra={"events": forgotten})

    async def maintain_store(self) -> None:
        """Check that the store is still in its place, write the recovery snapshot, and prepare lookups by person."""
        try:
            await self._store.check_access()
            if self.upkeep is not None:
                await self.upkeep.write_essentials()
            await self._store.run(records_by_person.create_index, tuple(self._configuration.settings.sources))
            if self.upkeep is not None:
                await self.upkeep.truncate_large_log()
                await self.upkeep.release_memory()
            await asyncio.to_thread(process.release_free_memory)
        except StoreError as error:
            # The parts that use the store all the time report the same error.
            _log.debug(error.message, extra={"reason": error.reason})

    def schedule_urgent_write(self, events: Sequence[Event]) -> None:
        """Schedule an early write of the recovery snapshot if any of these events could not be detected again."""
        if self.upkeep is not None:
            self.upkeep.schedule_urgent_write(events)

    async def stop(self) -> None:
        """Stop, and write the recovery snapshot (essentials file) one last time."""
        if self.upkeep is not None:
            await self.upkeep.stop()
        await self.maintain_store()

    async def rewrite_essentials(self) -> None:
        """Write the recovery snapshot twice, so that the older copy lacks erased data, too. Raises StoreError."""
        if self.upkeep is not None:
            await self.upkeep.rewrite_essentials()

    def snapshot_failure(self) -> str | None:
        """Return the error if the recovery snapshot could not be written for some time, otherwise None."""
        return None if self.upkeep is None else self.upkeep.write_failure()
