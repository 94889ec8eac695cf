"""Deliveries to destinations that are no longer configured; they wait until an operator decides about them."""

from collections.abc import Collection

from msgspec import Struct

from notifier.store.database import Database


class Orphan(Struct, frozen=True):
    """A destination that is not configured but has waiting or given-up deliveries."""

    destination: str
    pending: int
    dead: int
    oldest_pending_ms: int | None


# Goes from name to name in the index of unfinished deliveries, which is fast even with many deliveries for each.
_NAMES = (
    "WITH RECURSIVE names (name) AS (SELECT min(destination) FROM deliveries WHERE state <> 'delivered' UNION ALL"
    " SELECT (SELECT min(destination) FROM deliveries WHERE state <> 'delivered' AND destination > name) FROM names"
    " WHERE name IS NOT NULL) SELECT name FROM names WHERE name IS NOT NULL"
)
_COUNTED = "SELECT count(*), min(sequence) FROM deliveries WHERE destination = ? AND state = ? AND state <> 'delivered'"


def orphans(db: Database, configured: Collection[str]) -> list[Orphan]:
    """Return the destinations that are not `configured` but have waiting or given-up deliveries."""
    return [_orphan(db, name) for name in unfinished_destinations(db) if name not in configured]


def unfinished_destinations(db: Database) -> list[str]:
    """Return the names of the destinations with waiting or given-up deliveries, configured or not."""
    return [name for (name,) in db.execute(_NAMES).fetchall()]


def move_waiting(db: Database, old: str, new: str, now_ms: int) -> int:
    """Move the waiting deliveries of destination `old` to `new`; return how many were moved.

    The event ids stay, and attempts are counted from 0 again. If `new` already has a delivery of an event, the waiting
    delivery of `old` is deleted instead. Given-up deliveries are not moved.
    """
    db.execute(
        "DELETE FROM deliveries WHERE destination = ? AND state = 'pending' AND state <> 'delivered'"
        " AND EXISTS (SELECT 1 FROM deliveries d WHERE d.sequence = deliveries.sequence AND d.destination = ?)",
        [old, new],
    )
    return int(
        db.execute(
            "UPDATE deliveries SET destination = ?, attempts = 0, suspicions = 0, proven = 0, first_attempt_at = NULL,"
            " tried_from = NULL, taken_by = NULL, next_attempt_at = 0, queued_at = ?, slot_at = NULL"
            " WHERE destination = ? AND state = 'pending' AND state <> 'delivered'",
            [new, now_ms, old],
        ).rowcount
    )


def _orphan(db: Database, name: str) -> Orphan:
    pending, first = db.execute(_COUNTED, [name, "pending"]).fetchone()
    dead, _ = db.execute(_COUNTED, [name, "dead"]).fetchone()
    oldest = db.execute("SELECT detected_at FROM events WHERE sequence = ?", [first]).fetchone()
    return Orphan(name, pending, dead, oldest[0] if oldest else None)
