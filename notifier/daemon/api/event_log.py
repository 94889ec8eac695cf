"""Reads the log of events for the dashboard: pages of matching events, and exports to files."""

import asyncio
from collections.abc import Sequence
from typing import Final

from notifier.clock import Clock
from notifier.events import Event
from notifier.store.database import Database
from notifier.store.queries import event_log, history
from notifier.store.queries.event_log import EventLogFilter, EventLogPage
from notifier.store.reader import StoreReader
from notifier.web import event_rows
from notifier.web.daemon_api import EventExport, ExportFormat

SEARCH_SECONDS: Final = 0.4
"""Seconds after which a search ends even if its page is not full. The user can then continue the search."""

_EXPORTED_AT_ONCE: Final = 500


class EventLogReader:
    """Reads pages and exports of the log of events."""

    def __init__(self, reader: StoreReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        # Only one export reads at a time, so that the second of the store's two readers stays free.
        self._export_turns = asyncio.Semaphore(1)

    async def page(self, event_filter: EventLogFilter, before: int | None, limit: int) -> EventLogPage:
        """Return up to `limit` matching events with sequence numbers below `before`, newest first.

        If `before` is None, begin with the newest event. Raises StoreError.
        """
        ends_at = self._clock.monotonic() + SEARCH_SECONDS
        found = await self._reader.run(event_log.read_page, event_filter, before, limit)
        while found.next is not None and len(found.events) < limit and self._clock.monotonic() < ends_at:
            more = await self._reader.run(event_log.read_page, event_filter, found.next, limit - len(found.events))
            found = EventLogPage((*found.events, *more.events), more.next, more.searched_ms)
        return found

    async def export(
        self, event_filter: EventLogFilter, before: int | None, export_format: ExportFormat
    ) -> EventExport:
        """Return one part of an export file: at most _EXPORTED_AT_ONCE matching events, newest first.

        Only events with sequence numbers below `before` are returned. If `before` is None, begin with the newest event.
        Raises StoreError.
        """
        async with self._export_turns:
            return await self._reader.run_without_turn_limit(_read_export, event_filter, before, export_format)


def _read_export(
    db: Database, event_filter: EventLogFilter, before: int | None, export_format: ExportFormat
) -> EventExport:
    numbers, following = event_log.numbers_before(db, event_filter, before, _EXPORTED_AT_ONCE)
    events = history.events_numbered(db, numbers)
    return EventExport(_export_bytes(db, events, export_format), following)


def _export_bytes(db: Database, events: Sequence[Event], export_format: ExportFormat) -> bytes:
    if export_format is ExportFormat.JSON_LINES:
        return event_rows.json_lines(events)
    deliveries = history.deliveries_of(db, [event.sequence for event in events])
    return event_rows.csv_rows(events, event_rows.group_by_event(deliveries))
