"""Counts of events and deliveries, updated with each new event or delivery. So no query has to read all events.

The counts are by quarter of an hour, because the days of every time zone consist of whole quarters; latencies are by
hour. Deleted events remain counted.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from typing import Final

from notifier.events import Event
from notifier.store.database import Database

QUARTER_MS: Final = 900_000
"""Milliseconds in a quarter of an hour."""

HOUR_MS: Final = 3_600_000
"""Milliseconds in an hour."""

KEPT_MS: Final = 40 * 24 * HOUR_MS
"""Milliseconds for which counts are kept, longer than the 30 days that queries read."""


def to_two_digits(value: int) -> int:
    """Round a whole number (0 or more) down to its two leading digits: 4 to 4, 2719 to 2700."""
    unit: int = 10 ** max(0, len(str(value)) - 2)
    return value // unit * unit


def count_detected(db: Database, events: Collection[Event]) -> None:
    """Count events that were just written."""
    detected = Counter((event.time_ms // QUARTER_MS, event.type) for event in events)
    db.executemany(
        "INSERT INTO detected_counts (quarter, type, events) VALUES (?, ?, ?)"
        " ON CONFLICT (quarter, type) DO UPDATE SET events = detected_counts.events + excluded.events",
        [(quarter, type_, count) for (quarter, type_), count in detected.items()],
    )


DeliveredRequest = tuple[str, int, int, int, Collection[int]]
"""A delivered request: destination, time (Unix ms), duration (ms), number of events, times of detection (Unix ms).

Events that were sent again on request have no time of detection here.
"""


def count_delivered(db: Database, requests: Iterable[DeliveredRequest]) -> None:
    """Count the deliveries of these requests, and their latencies: the times from detection to answer."""
    deliveries = Counter[tuple[int, str]]()
    late_ms: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
    for destination, attempted_ms, milliseconds, events, detected_ms in requests:
        deliveries[attempted_ms // QUARTER_MS, destination] += events
        answered_ms = attempted_ms + milliseconds
        late_ms[attempted_ms // HOUR_MS, destination] += [answered_ms - detected for detected in detected_ms]
    latencies = Counter[tuple[int, str, int]]()
    for key, late in late_ms.items():
        for milliseconds, count in Counter(late).items():
            latencies[*key, to_two_digits(max(0, milliseconds))] += count
    db.executemany(
        "INSERT INTO delivered_counts (quarter, destination, deliveries) VALUES (?, ?, ?)"
        " ON CONFLICT (quarter, destination) DO UPDATE"
        " SET deliveries = delivered_counts.deliveries + excluded.deliveries",
        [(*key, count) for key, count in deliveries.items()],
    )
    db.executemany(
        "INSERT INTO latency_counts (hour, destination, milliseconds, deliveries) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (hour, destination, milliseconds) DO UPDATE"
        " SET deliveries = latency_counts.deliveries + excluded.deliveries",
        [(*key, count) for key, count in latencies.items()],
    )


def delete_old(db: Database, now_ms: int) -> None:
    """Delete counts that are older than KEPT_MS."""
    before_ms = now_ms - KEPT_MS
    db.execute("DELETE FROM detected_counts WHERE quarter < ?", [before_ms // QUARTER_MS])
    db.execute("DELETE FROM delivered_counts WHERE quarter < ?", [before_ms // QUARTER_MS])
    db.execute("DELETE FROM latency_counts WHERE hour < ?", [before_ms // HOUR_MS])
