"""Counts that are stored when events are written, so that no query has to read all events.

They are counted by quarter of an hour, because the days of every time zone consist of whole quarters, and by hour where
no days are needed. Deleted events remain counted.
"""

from collections import Counter
from collections.abc import Collection
from typing import Final

from sqlite_utils import Database

from notifier.events import Event

QUARTER_MS: Final = 900_000
"""Milliseconds in a quarter of an hour."""

HOUR_MS: Final = 3_600_000
"""Milliseconds in an hour."""

KEPT_MS: Final = 40 * 24 * HOUR_MS
"""Milliseconds for which counts are kept, longer than the 30 days that queries read."""


def two_digits(value: str) -> str:
    """Return the SQL that rounds a whole number (0 or more) down to its two leading digits: 4 to 4, 2719 to 2700."""
    return (
        f"CASE WHEN {value} < 100 THEN {value}"
        f" ELSE CAST(substr({value}, 1, 2) || substr('000000000000000000', 1, length({value}) - 2) AS INTEGER) END"
    )


def count_detected(db: Database, events: Collection[Event]) -> None:
    """Count events that were just written."""
    detected = Counter((event.time_ms // QUARTER_MS, event.type) for event in events)
    db.conn.executemany(
        "INSERT INTO detected_counts (quarter, type, events) VALUES (?, ?, ?)"
        " ON CONFLICT (quarter, type) DO UPDATE SET events = events + excluded.events",
        [(quarter, type_, count) for (quarter, type_), count in detected.items()],
    )


def count_delivered(db: Database, runs: str) -> None:
    """Count the deliveries of a batch of attempts, and how long after detection each one was made.

    `runs` is the SQL for the rows of the batch in `outbox.settle`. Events that were sent again on request do not count
    for the latency.
    """
    db.execute(
        "INSERT INTO delivered_counts (quarter, destination, deliveries)"
        f" SELECT attempted_at / {QUARTER_MS}, destination, sum(last_sequence - first_sequence + 1) FROM {runs}"
        " WHERE state = 'delivered' GROUP BY 1, 2"
        " ON CONFLICT (quarter, destination) DO UPDATE SET deliveries = deliveries + excluded.deliveries"
    )
    db.execute(
        "INSERT INTO latency_counts (hour, destination, milliseconds, deliveries)"
        f" SELECT attempted_at / {HOUR_MS}, destination, {two_digits('late')}, count(*) FROM"
        " (SELECT r.attempted_at, r.destination, max(0, r.attempted_at + r.milliseconds - e.detected_at) AS late"
        f" FROM {runs} r CROSS JOIN events e ON e.sequence BETWEEN r.first_sequence AND r.last_sequence"
        " CROSS JOIN deliveries d ON d.sequence = e.sequence AND d.destination = r.destination"
        " WHERE r.state = 'delivered' AND NOT d.again)"
        " WHERE true GROUP BY 1, 2, 3"
        " ON CONFLICT (hour, destination, milliseconds) DO UPDATE SET deliveries = deliveries + excluded.deliveries"
    )


def forget(db: Database, now_ms: int) -> None:
    """Delete counts that are older than KEPT_MS."""
    before_ms = now_ms - KEPT_MS
    db.execute("DELETE FROM detected_counts WHERE quarter < ?", [before_ms // QUARTER_MS])
    db.execute("DELETE FROM delivered_counts WHERE quarter < ?", [before_ms // QUARTER_MS])
    db.execute("DELETE FROM latency_counts WHERE hour < ?", [before_ms // HOUR_MS])
