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

# An attempt as `outbox.settle` writes it: number, destination, state, ..., when it began, how long it took.
_DELIVERED = "json_extract(value, '$[2]') = 'delivered'"
_DESTINATION = "json_extract(value, '$[1]')"
_BEGAN = "json_extract(value, '$[7]')"
_TOOK = "json_extract(value, '$[8]')"


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


def count_delivered(db: Database, settlements: str) -> None:
    """Count what a batch of attempts delivered, and how long after its detection each event was.

    `settlements` is the batch as `outbox.settle` writes it. What is sent again at somebody's wish says nothing of how
    quick delivery is.
    """
    db.execute(
        "INSERT INTO delivered_counts (quarter, destination, deliveries)"
        f" SELECT {_BEGAN} / {QUARTER_MS}, {_DESTINATION}, count(*) FROM json_each(?) WHERE {_DELIVERED} GROUP BY 1, 2"
        " ON CONFLICT (quarter, destination) DO UPDATE SET deliveries = deliveries + excluded.deliveries",
        [settlements],
    )
    db.execute(
        "INSERT INTO latency_counts (hour, destination, milliseconds, deliveries)"
        f" SELECT began / {HOUR_MS}, destination, {two_digits('late')}, count(*) FROM"
        f" (SELECT {_BEGAN} AS began, d.destination, max(0, {_BEGAN} + {_TOOK} - e.detected_at) AS late"
        " FROM json_each(?) CROSS JOIN events e ON e.sequence = json_extract(value, '$[0]')"
        f" CROSS JOIN deliveries d ON d.sequence = e.sequence AND d.destination = {_DESTINATION}"
        f" WHERE {_DELIVERED} AND NOT d.again)"
        " WHERE true GROUP BY 1, 2, 3"
        " ON CONFLICT (hour, destination, milliseconds) DO UPDATE SET deliveries = deliveries + excluded.deliveries",
        [settlements],
    )


def forget(db: Database, now_ms: int) -> None:
    """Delete the counts that nobody asks about any more."""
    before_ms = now_ms - KEPT_MS
    db.execute("DELETE FROM detected_counts WHERE quarter < ?", [before_ms // QUARTER_MS])
    db.execute("DELETE FROM delivered_counts WHERE quarter < ?", [before_ms // QUARTER_MS])
    db.execute("DELETE FROM latency_counts WHERE hour < ?", [before_ms // HOUR_MS])
