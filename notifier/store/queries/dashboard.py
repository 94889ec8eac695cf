"""Reads the data of the dashboard from stored counts, small indexes and the newest rows, never from all rows.

Nothing here writes. Times are Unix milliseconds.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any, Final

from msgspec import Struct

from notifier.events import EventType
from notifier.store.database import Database
from notifier.store.queries import history
from notifier.store.queries.history import DeliveryFilter, PastDelivery
from notifier.store.queries.orphans import unfinished_destinations
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.rollups import HOUR_MS, QUARTER_MS

DAYS: Final = 30
"""Number of days in the chart, including today."""

_LATENCY_HOURS: Final = 24


class Day(Struct, frozen=True):
    """The numbers of events detected on one day, by type."""

    date: date
    created: int = 0
    updated: int = 0
    removed: int = 0


class Latency(Struct, frozen=True):
    """The time from detection to delivery. `deliveries` is the number of deliveries that it was calculated from.

    The milliseconds are rounded down to two leading digits.
    """

    deliveries: int
    median_ms: int
    percentile_95_ms: int


class DashboardCounts(Struct, frozen=True):
    """The counts on the dashboard: events by day (oldest first), and deliveries with their latency."""

    days: tuple[Day, ...]
    delivered_today: Mapping[str, int]
    """The number of deliveries today by destination; destinations without any are left out."""
    latency: Latency | None
    """The latency of all deliveries in the last 24 hours; None without any."""
    latencies: Mapping[str, Latency]
    """The latency in the last 24 hours by destination; destinations without deliveries are left out."""


class EventLine(Struct, frozen=True):
    """One event as a line of a list; `summary` is the text of an alert, None for other events.

    `person` and `training` are names, or ids if no name is known.
    """

    sequence: int
    id: str
    type: str
    source: str
    subject: str
    detected_ms: int
    person: str | None
    training: str | None
    completed_on: str | None
    summary: str | None


class LatestEvent(Struct, frozen=True):
    """One of the latest events, with the number of its deliveries in each state."""

    event: EventLine
    deliveries: Counter[DeliveryState]


class DeadDelivery(Struct, frozen=True):
    """A delivery that was given up, with its event."""

    delivery: PastDelivery
    event: EventLine


def read_counts(db: Database, now_ms: int, zone: tzinfo | None = None) -> DashboardCounts:
    """Return the dashboard's counts up to now; days begin at midnight in `zone` (None: this machine's time zone)."""
    begins = _days(now_ms, zone)
    latencies = _latencies(db, now_ms)
    return DashboardCounts(
        _detected(db, begins),
        _delivered_since(db, begins[-1][1]),
        _latency(entry for counted in latencies.values() for entry in counted),
        {name: latency for name, counted in latencies.items() if (latency := _latency(counted)) is not None},
    )


def latest_events(db: Database, limit: int) -> list[LatestEvent]:
    """Return the latest events, newest first."""
    rows = db.execute(f"{SELECT_LINE} ORDER BY sequence DESC LIMIT ?", [limit]).fetchall()
    return [LatestEvent(line, _deliveries(db, line.sequence)) for line in map(to_event_line, rows)]


def dead_deliveries(db: Database, destinations: Collection[str], limit: int) -> list[DeadDelivery]:
    """Return the latest given-up deliveries, up to `limit` for each destination, newest first."""
    # One short query finds the few destinations that have such deliveries; only these are queried one by one.
    unfinished = set(unfinished_destinations(db))
    return [
        DeadDelivery(delivery, _event(db, delivery.sequence))
        for destination in destinations
        if destination in unfinished
        for delivery in reversed(history.latest_deliveries(db, DeliveryFilter(DeliveryState.DEAD, destination), limit))
    ]


def quantile(counted: Sequence[tuple[int, int]], part: float) -> int:
    """Return the smallest value such that at least the share `part` of all values is at or below it. Pure.

    `part` is 0.95, for example. `counted` has one or more pairs of a value and its count, in ascending order of the
    values.
    """
    rank = part * sum(count for _, count in counted)
    so_far = 0
    for value, count in counted:
        so_far += count
        if so_far >= rank:
            return value
    return counted[-1][0]


def _days(now_ms: int, zone: tzinfo | None) -> list[tuple[date, int]]:
    """Return the last DAYS days, oldest first, each with its beginning in Unix ms."""
    today = datetime.fromtimestamp(now_ms / 1000).astimezone(zone).date()
    days = [today - timedelta(days=ago) for ago in reversed(range(DAYS))]
    return [(day, round(datetime.combine(day, time(), zone).timestamp() * 1000)) for day in days]


def _detected(db: Database, begins: Sequence[tuple[date, int]]) -> tuple[Day, ...]:
    first_quarters = [begin_ms // QUARTER_MS for _, begin_ms in begins]
    found: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for quarter, type_, events in db.execute(
        "SELECT quarter, type, events FROM detected_counts WHERE quarter >= ?", [first_quarters[0]]
    ):
        found[bisect_right(first_quarters, quarter) - 1][type_] += events
    return tuple(
        Day(day, found[number][EventType.CREATED], found[number][EventType.UPDATED], found[number][EventType.REMOVED])
        for number, (day, _) in enumerate(begins)
    )


def _delivered_since(db: Database, begin_ms: int) -> dict[str, int]:
    return dict(
        db.execute(
            "SELECT destination, sum(deliveries) FROM delivered_counts WHERE quarter >= ? GROUP BY destination",
            [begin_ms // QUARTER_MS],
        ).fetchall()
    )


def _latencies(db: Database, now_ms: int) -> dict[str, list[tuple[int, int]]]:
    """Return, by destination, how many deliveries of the last 24 hours had each latency (ms)."""
    found: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for destination, milliseconds, deliveries in db.execute(
        "SELECT destination, milliseconds, sum(deliveries) FROM latency_counts WHERE hour > ? GROUP BY 1, 2",
        [now_ms // HOUR_MS - _LATENCY_HOURS],
    ):
        found[destination].append((milliseconds, deliveries))
    return found


def _latency(counted: Iterable[tuple[int, int]]) -> Latency | None:
    in_order = sorted(counted)
    if not in_order:
        return None
    deliveries = sum(count for _, count in in_order)
    return Latency(deliveries, quantile(in_order, 0.5), quantile(in_order, 0.95))


# Of the events' data only these parts are read, because the record as the API returned it can be large.
SELECT_LINE: Final = (
    "SELECT sequence, id, type, source, subject, detected_at, json_extract(data, '$.completion.user_name'),"
    " json_extract(data, '$.completion.user_id'), json_extract(data, '$.completion.training_title'),"
    " json_extract(data, '$.completion.training_id'), json_extract(data, '$.completion.completed_on'),"
    " json_extract(data, '$.summary') FROM events"
)
"""The beginning of a query whose rows `to_event_line` converts to EventLine."""


def to_event_line(row: tuple[Any, ...]) -> EventLine:
    """Convert a row of a `SELECT_LINE` query to an EventLine."""
    sequence, id_, type_, source, subject, at_ms, person, user_id, training, training_id, completed_on, summary = row
    return EventLine(
        sequence,
        id_,
        type_,
        source,
        subject,
        at_ms,
        person or user_id,
        training or training_id,
        completed_on,
        summary,
    )


def _event(db: Database, sequence: int) -> EventLine:
    return to_event_line(db.execute(f"{SELECT_LINE} WHERE sequence = ?", [sequence]).fetchone())


def _deliveries(db: Database, sequence: int) -> Counter[DeliveryState]:
    states = db.execute("SELECT state FROM deliveries WHERE sequence = ?", [sequence])
    return Counter(DeliveryState(state) for (state,) in states)
