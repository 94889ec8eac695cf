"""The page of events, and its exports, read from the store in short steps."""

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
"""Seconds after which a search ends even if its page is not full; the visitor can continue the search."""

_EXPORTED_AT_ONCE: Final = 500


class EventLogReader:
    """Reads the log of events."""

    def __init__(self, reader: StoreReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        # Downloads take turns, so that they never use more than one of the two readers of the store.
        self._exporting = asyncio.Semaphore(1)

    async def page(self, chosen: EventLogFilter, before: int | None, limit: int) -> EventLogPage:
        """Return up to `limit` matching events before the number `before` (None: the newest). Raises StoreError."""
        ends_at = self._clock.monotonic() + SEARCH_SECONDS
        found = await self._reader.run(event_log.read_page, chosen, before, limit)
        while found.next is not None and len(found.events) < limit and self._clock.monotonic() < ends_at:
            more = await self._reader.run(event_log.read_page, chosen, found.next, limit - len(found.events))
            found = EventLogPage((*found.events, *more.events), more.next, more.searched_ms)
        return found

    async def export(self, chosen: EventLogFilter, before: int | None, form: ExportFormat) -> EventExport:
        """Return matching events before the number `before`, newest first, as a part of a file. Raises StoreError."""
        async with self._exporting:
            return await self._reader.run_without_turn_limit(_export, chosen, before, form)


def _export(db: Database, chosen: EventLogFilter, before: int | None, form: ExportFormat) -> EventExport:
    numbers, following = event_log.numbers_before(db, chosen, before, _EXPORTED_AT_ONCE)
    events = history.events_numbered(db, numbers)
    return EventExport(_as_file(db, events, form), following)


def _as_file(db: Database, events: Sequence[Event], form: ExportFormat) -> bytes:
    if form is ExportFormat.JSON_LINES:
        return event_rows.json_lines(events)
    deliveries = history.deliveries_of(db, [event.sequence for event in events])
    return event_rows.csv_rows(events, event_rows.group_by_event(deliveries))
