"""Adds events, and their deliveries to destinations."""

from collections.abc import Iterable

from msgspec.structs import replace

from notifier.events import Event
from notifier.store.database import Database


def insert(
    db: Database,
    event: Event,
    *,
    revision: int = 0,
    detected_by: str = "",
    reason: str = "",
    moved_from: str | None = None,
) -> Event | None:
    """Insert a new event, and return it with its number; None if an event with its id exists already.

    `moved_from` is the person to whom the record belonged before, if the event is about a move to another person.
    """
    row = db.execute(
        "INSERT INTO events (id, type, source, subject, revision, net, reason, detected_at, data, moved_from)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING RETURNING sequence",
        [
            event.id,
            event.type,
            event.source,
            event.subject,
            revision,
            detected_by,
            reason,
            event.time_ms,
            event.data.decode(),
            moved_from,
        ],
    ).fetchone()
    return None if row is None else replace(event, sequence=row[0])


def insert_deliveries(db: Database, event: Event, destinations: Iterable[str], *, queued_ms: int | None = None) -> None:
    """Insert a pending delivery of an event for each of these destinations.

    `queued_ms` is when the delivery began to wait, None if it begins now.
    """
    db.executemany(
        "INSERT INTO deliveries (sequence, destination, queued_at) VALUES (?, ?, ?)",
        [(event.sequence, destination, queued_ms) for destination in destinations],
    )
