"""Forgets what was delivered long ago, a little at a time; what is known of records stays."""

from dataclasses import dataclass
from typing import NamedTuple

from sqlite_utils import Database

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

    An event stays while any of its deliveries is pending or dead.
    """
    old = db.execute(
        "SELECT detected_at, sequence, EXISTS (SELECT 1 FROM deliveries WHERE deliveries.sequence = events.sequence"
        " AND state <> 'delivered') FROM events WHERE (detected_at, sequence) > (?, ?) AND detected_at < ?"
        " ORDER BY detected_at, sequence LIMIT ?",
        [*behind, before_ms, CHUNK],
    ).fetchall()
    rows = sorted((sequence,) for _, sequence, unfinished in old if not unfinished)
    for table in ("attempts", "deliveries", "events"):
        db.conn.executemany(f"DELETE FROM {table} WHERE sequence = ?", rows)
    return Forgotten(len(rows), Place(*old[-1][:2]) if len(old) == CHUNK else None)
