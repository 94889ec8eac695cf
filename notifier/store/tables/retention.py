"""Deletes old events that were delivered, a few at a time; the known records stay."""

from typing import NamedTuple

from msgspec import Struct

from notifier.store.database import Database
from notifier.store.tables import request_log
from notifier.store.tables.settlements import LONGEST_RUN

CHUNK = 500
"""Number of events examined in one transaction, so that other work does not wait long for the store."""


class DetectionPosition(NamedTuple):
    """An event's position in the order of detection times; events with the same time are ordered by number."""

    detected_ms: int
    sequence: int


BEFORE_ALL = DetectionPosition(-1, -1)
"""The position before all events."""


class RetentionStep(Struct, frozen=True):
    """The number of events deleted, and the `place` after which to continue (None: no old events are left)."""

    events: int
    place: DetectionPosition | None


def delete_old_events(db: Database, before_ms: int, behind: DetectionPosition = BEFORE_ALL) -> RetentionStep:
    """Examine the next CHUNK events detected before `before_ms`; delete those that are not needed any more.

    The examination begins after the position `behind`. An event stays if it has a pending or dead delivery, or if a
    running replay has yet to reach it. Deliveries and attempts are deleted with their event.
    """
    old = db.execute(
        "SELECT detected_at, sequence, EXISTS (SELECT 1 FROM deliveries WHERE deliveries.sequence = events.sequence"
        " AND state <> 'delivered')"
        " OR EXISTS (SELECT 1 FROM replays r JOIN replay_parts p ON p.replay = r.id WHERE p.state = 'running'"
        " AND events.sequence > p.reached AND events.sequence <= r.last"
        " AND events.detected_at >= r.since AND events.detected_at < r.until)"
        " FROM events WHERE (detected_at, sequence) > (?, ?) AND detected_at < ?"
        " ORDER BY detected_at, sequence LIMIT ?",
        [*behind, before_ms, CHUNK],
    ).fetchall()
    rows = sorted((sequence,) for _, sequence, needed in old if not needed)
    request_log.delete_for_events(db, [sequence for (sequence,) in rows])
    for table in ("deliveries", "events"):
        db.executemany(f"DELETE FROM {table} WHERE sequence = ?", rows)
    if rows:
        db.execute(
            "DELETE FROM attempt_runs WHERE first_sequence BETWEEN ? AND ? AND NOT EXISTS (SELECT 1 FROM deliveries"
            " WHERE sequence BETWEEN first_sequence AND last_sequence AND destination = attempt_runs.destination)",
            [rows[0][0] - LONGEST_RUN + 1, rows[-1][0]],
        )
    return RetentionStep(len(rows), DetectionPosition(*old[-1][:2]) if len(old) == CHUNK else None)
