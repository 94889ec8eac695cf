"""Forgets what was delivered long ago, a little at a time; what is known of records stays."""

from dataclasses import dataclass
from typing import NamedTuple

from sqlite_utils import Database

from notifier.ledger.outbox import LONGEST_RUN

CHUNK = 500
"""Events looked at in one transaction, so that nobody waits long for the ledger."""


class Place(NamedTuple):
    """A place in the order of detection, by which events are gone through."""

    detected_ms: int
    sequence: int


FIRST = Place(-1, -1)
"""The place before all events."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How many events were forgotten, and the place up to which was looked; None at the end of what is old."""

    events: int
    place: Place | None


def forget(db: Database, before_ms: int, behind: Place = FIRST) -> Forgotten:
    """Delete those of the next CHUNK events, detected before a moment, that are done, with deliveries and attempts.

    An event stays while any of its deliveries is pending or dead, and while a replay has yet to come to it.
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
    for table in ("deliveries", "events"):
        db.conn.executemany(f"DELETE FROM {table} WHERE sequence = ?", rows)
    if rows:
        db.execute(
            "DELETE FROM attempt_runs WHERE first_sequence BETWEEN ? AND ? AND NOT EXISTS (SELECT 1 FROM deliveries"
            " WHERE sequence BETWEEN first_sequence AND last_sequence AND destination = attempt_runs.destination)",
            [rows[0][0] - LONGEST_RUN + 1, rows[-1][0]],
        )
    return Forgotten(len(rows), Place(*old[-1][:2]) if len(old) == CHUNK else None)
