"""Periodic maintenance of the store: deletes old data, and writes the essentials of a state file."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from notifier import process
from notifier.clock import Clock
from notifier.daemon.configuration import RunningConfiguration
from notifier.daemon.file_upkeep import FileUpkeep
from notifier.events import Event
from notifier.store import pruning
from notifier.store.errors import StoreError
from notifier.store.file.store import FileStore
from notifier.store.store import Store
from notifier.store.tables import activity, erasure, records_by_person, request_log, retention, rollups, starts
from notifier.store.tables.retention import BEFORE_ALL, DetectionPosition

_log = logging.getLogger(__name__)

RETENTION_JOB = "(retention)"
"""The name of the job that deletes old data. The parentheses prevent a clash with the name of a source's job."""

RETENTION_EVERY_SECONDS = 3600.0
"""Seconds between two deletions of data that is older than the retention."""

ESSENTIALS_JOB = "(essentials)"
"""The name of the job that writes the essentials, from which a lost state file is rebuilt."""

DATABASE_JOB = "(database)"
"""The name of the job that checks the database connection, to notice a loss even when nothing is written."""

DATABASE_CHECK_EVERY_SECONDS = 2.0
"""Seconds between two checks of the database connection."""


class Housekeeping:
    """Maintains one store."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        configuration: RunningConfiguration,
        clock_seems_right: Callable[[], bool] = lambda: True,
    ) -> None:
        """Initialise with the store and the configuration.

        `clock_seems_right` returns whether the clock of this machine can be trusted. If it cannot, old data is kept.
        """
        self._store = store
        self._clock = clock
        self._configuration = configuration
        self._clock_seems_right = clock_seems_right
        self.upkeep = FileUpkeep(store, clock) if isinstance(store, FileStore) else None
        """The upkeep of the state file; None if the store is a database."""

    @property
    def has_snapshot(self) -> bool:
        """Whether this process has written essentials with at least one source; True for a database."""
        return self.upkeep is None or self.upkeep.has_snapshot

    async def delete_old_data(self) -> None:
        """Delete data that is older than the retention, and free its space. Errors are only logged.

        Do nothing while this machine's clock seems to be wrong: if it is months ahead, all data looks old.
        """
        if not self._clock_seems_right():
            return
        forgotten = 0
        try:
            before_ms = self._clock.now_ms() - round(self._configuration.settings.store.retention * 1000)
            place: DetectionPosition | None = BEFORE_ALL
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

    async def check_database(self) -> None:
        """Check the connection to the database; if it is lost, try to reconnect. Errors are only logged."""
        try:
            await self._store.check_access()
        except StoreError as error:
            _log.debug(error.message, extra={"reason": error.reason})

    async def record_stop(self, started_ms: int) -> None:
        """Record the orderly end of the run that started at `started_ms`. Errors are only logged."""
        try:
            await self._store.run(starts.record_orderly_stop, started_ms, self._clock.now_ms())
        except StoreError as error:
            _log.debug(error.message, extra={"reason": error.reason})

    async def maintain_store(self) -> None:
        """Check that the store still exists, write the essentials, create missing indexes and free memory.

        Errors are only logged.
        """
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
            # Parts that use the store more often report this error.
            _log.debug(error.message, extra={"reason": error.reason})

    def schedule_urgent_write(self, events: Sequence[Event]) -> None:
        """If `events` contains an update or a removal, schedule an urgent write of the essentials.

        If the state file were lost before the write, the events would be lost: the API cannot show them again.
        """
        if self.upkeep is not None:
            self.upkeep.schedule_urgent_write(events)

    async def stop(self) -> None:
        """Cancel scheduled writes, and write the essentials one last time."""
        if self.upkeep is not None:
            await self.upkeep.stop()
        await self.maintain_store()

    async def rewrite_essentials(self) -> bool:
        """Write the essentials twice, so that neither the current nor the previous file contains erased data.

        Return False if the essentials could not be written. Raises StoreError.
        """
        return self.upkeep is None or await self.upkeep.rewrite_essentials()

    @property
    def lacks_first_snapshot(self) -> bool:
        """Whether this process has to write the essentials, but has not written them yet."""
        return self.upkeep is not None and not self.upkeep.has_written

    def snapshot_failure(self) -> str | None:
        """Return an error message if the essentials could not be written for ten minutes, otherwise None."""
        return None if self.upkeep is None else self.upkeep.write_failure()
