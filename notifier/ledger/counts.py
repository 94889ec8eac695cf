"""Counts that are kept beside what they count, so that nobody who wants a figure has to read all events.

What happened is counted by the quarter of an hour, for the days of every time zone are made of whole quarters, and by
the hour where no day is asked for. Events that are forgotten were counted all the same.
"""

from collections import Counter
from collections.abc import Collection
from typing import Final

from sqlite_utils import Database

from notifier.completions import Event

QUARTER_MS: Final = 900_000
"""Milliseconds in a quarter of an hour."""

HOUR_MS: Final = 3_600_000
"""Milliseconds in an hour."""

KEPT_MS: Final = 40 * 24 * HOUR_MS
"""For how long counts are kept: longer than the 30 days that anybody asks about."""


def two_digits(value: str) -> str:
    """Write the SQL that rounds a whole number, not below 0, down to its two leading digits: 4 to 4, 2719 to 2700."""
    return (
        f"CASE WHEN {value} < 100 THEN {value}"
        f" ELSE CAST(substr({value}, 1, 2) || substr('000000000000000000', 1, length({value}) - 2) AS INTEGER) END"
    )


def count_detected(db: Database, events: Collection[Event]) -> None:
    """Count events that were written just now."""
    detected = Counter((event.time_ms // QUARTER_MS, event.type) for event in events)
    db.conn.executemany(
        "INSERT INTO detected_counts (quarter, type, events) VALUES (?, ?, ?)"
        " ON CONFLICT (quarter, type) DO UPDATE SET events = events + excluded.events",
        [(quarter, type_, count) for (quarter, type_), count in detected.items()],
    )


def count_delivered(db: Database, runs: str, batch: str) -> None:
    """Count what a batch of attempts delivered, and how long after its detection each event was.

    `runs` is the SQL with which `outbox.settle` makes rows of its `batch`. What is sent again at somebody's wish says
    nothing of how quick delivery is.
    """
    db.execute(
        f"{runs} INSERT INTO delivered_counts (quarter, destination, deliveries)"
        f" SELECT attempted_at / {QUARTER_MS}, destination, sum(last_sequence - first_sequence + 1) FROM runs"
        " WHERE state = 'delivered' GROUP BY 1, 2"
        " ON CONFLICT (quarter, destination) DO UPDATE SET deliveries = deliveries + excluded.deliveries",
        [batch],
    )
    db.execute(
        f"{runs} INSERT INTO latency_counts (hour, destination, milliseconds, deliveries)"
        f" SELECT attempted_at / {HOUR_MS}, destination, {two_digits('late')}, count(*) FROM"
        " (SELECT r.attempted_at, r.destination, max(0, r.attempted_at + r.milliseconds - e.detected_at) AS late"
        " FROM runs r CROSS JOIN events e ON e.sequence BETWEEN r.first_sequence AND r.last_sequence"
        " CROSS JOIN deliveries d ON d.sequence = e.sequence AND d.destination = r.destination"
        " WHERE r.state = 'delivered' AND NOT d.again)"
        " WHERE true GROUP BY 1, 2, 3"
        " ON CONFLICT (hour, destination, milliseconds) DO UPDATE SET deliveries = deliveries + excluded.deliveries",
        [batch],
    )


def forget(db: Database, now_ms: int) -> None:
    """Delete the counts that nobody asks about any more."""
    before_ms = now_ms - KEPT_MS
    db.execute("DELETE FROM detected_counts WHERE quarter < ?", [before_ms // QUARTER_MS])
    db.execute("DELETE FROM delivered_counts WHERE quarter < ?", [before_ms // QUARTER_MS])
    db.execute("DELETE FROM latency_counts WHERE hour < ?", [before_ms // HOUR_MS])
