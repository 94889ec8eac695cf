"""Reads the data of the dashboard's page about one source or destination: settings, requests, states and events."""

from collections.abc import Mapping, Sequence
from typing import Final

from notifier.clock import Clock
from notifier.config.filter_words import describe_filters
from notifier.config.shown_settings import shown_settings
from notifier.daemon.activity import ActivityLog
from notifier.daemon.configuration import RunningConfiguration
from notifier.store.database import Database
from notifier.store.queries import event_log
from notifier.store.queries.event_log import EventLogFilter, EventLogPage
from notifier.store.reader import StoreReader
from notifier.store.tables import activity
from notifier.store.tables.activity import ActivityKind, ActivitySubject, RequestCount, StateChange
from notifier.store.tables.rollups import HOUR_MS, QUARTER_MS
from notifier.web.daemon_api import DestinationDetail, SourceDetail, UnknownNameError

HOURS: Final = 24
_QUARTERS: Final = HOURS * HOUR_MS // QUARTER_MS
_PER_HOUR: Final = HOUR_MS // QUARTER_MS
_MAX_STATES: Final = 20
_MAX_EVENTS: Final = 10

_StoredData = tuple[Mapping[int, RequestCount], Sequence[StateChange], EventLogPage]


class SourceAndDestinationReader:
    """Reads the data of the dashboard's page about one source or destination."""

    def __init__(
        self, reader: StoreReader, clock: Clock, configuration: RunningConfiguration, activity: ActivityLog
    ) -> None:
        """Initialise with the parts that the data comes from; `activity` holds the counts that are not stored yet."""
        self._reader = reader
        self._clock = clock
        self._configuration = configuration
        self._activity = activity

    async def source(self, name: str) -> SourceDetail:
        """Return the data of a source's page. Raises UnknownNameError, StoreError."""
        known = self._configuration.settings.sources
        if name not in known:
            raise UnknownNameError("source", name, tuple(known))
        subject = ActivitySubject(ActivityKind.SOURCE, name)
        hours, states, events = await self._stored(subject, EventLogFilter(source=name))
        return SourceDetail(
            self._clock.now_ms(), shown_settings(known[name]), hours, states, events.events, events.searched_ms
        )

    async def destination(self, name: str) -> DestinationDetail:
        """Return the data of a destination's page. Raises UnknownNameError, StoreError."""
        known = self._configuration.settings.destinations
        if name not in known:
            raise UnknownNameError("destination", name, tuple(known))
        subject = ActivitySubject(ActivityKind.DESTINATION, name)
        hours, states, events = await self._stored(subject, EventLogFilter(destination=name))
        settings = known[name]
        return DestinationDetail(
            self._clock.now_ms(),
            shown_settings(settings, address=settings.address()),
            hours,
            states,
            events.events,
            events.searched_ms,
            settings.type,
            describe_filters(settings),
        )

    async def _stored(
        self, subject: ActivitySubject, event_filter: EventLogFilter
    ) -> tuple[Sequence[RequestCount], Sequence[StateChange], EventLogPage]:
        last = self._clock.now_ms() // QUARTER_MS
        counts, states, events = await self._reader.run(_read, subject, last - _QUARTERS + 1, event_filter)
        return hourly_counts(counts, self._activity.unwritten_counts(subject), last), states, events


def hourly_counts(
    stored: Mapping[int, RequestCount], unwritten: Mapping[int, RequestCount], last: int
) -> Sequence[RequestCount]:
    """Return the counts of requests for each of the last 24 hours, oldest first. Pure.

    The keys of `stored` and `unwritten` are times in quarter-hours since 1970; `last` is the current quarter-hour.
    """
    hours = [RequestCount() for _ in range(HOURS)]
    for counts in (stored, unwritten):
        for quarter, count in counts.items():
            index = HOURS - 1 - (last - quarter) // _PER_HOUR
            if 0 <= index < HOURS:
                hours[index] += count
    return hours


def _read(db: Database, subject: ActivitySubject, quarter: int, event_filter: EventLogFilter) -> _StoredData:
    counts = activity.request_counts(db, subject, quarter)
    states = activity.latest_changes(db, subject, _MAX_STATES)
    return counts, states, event_log.read_page(db, event_filter, None, _MAX_EVENTS)
