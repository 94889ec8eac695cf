"""One delivery with all that is stored about it: its event, its attempts, and the requests in the log.

Nothing here writes.
"""

from typing import Final

from msgspec import Struct

from notifier.events import Event
from notifier.store.database import Database
from notifier.store.queries import history
from notifier.store.queries.dashboard import SELECT_LINE, EventLine, to_event_line
from notifier.store.queries.history import PastDelivery
from notifier.store.queries.record_history import PastAttempt, can_be_stored
from notifier.store.tables import request_log
from notifier.store.tables.request_log import LoggedRequest
from notifier.store.tables.settlements import LONGEST_RUN

MAX_ATTEMPTS: Final = 50
"""Maximum number of attempts that are returned. If there are more, the latest are returned."""


class AttemptDetail(Struct, frozen=True):
    """An attempt; `logged` is its request in the log of requests, None if it was not logged."""

    attempt: PastAttempt
    logged: LoggedRequest | None


class StoredDelivery(Struct, frozen=True):
    """A delivery with its latest attempts, newest first."""

    delivery: PastDelivery
    event: EventLine
    attempts: tuple[AttemptDetail, ...]
    together: tuple[Event, ...]
    """The stored events of the delivery's latest logged request, in order. Without a logged request, only the event of
    the delivery.
    """
    missing: int
    """The number of events of that request that are no longer stored."""
    slot_ms: int | None = None
    """The slot of the destination's schedule in which the delivery is sent (Unix ms); None without a slot."""

    @property
    def latest_logged(self) -> LoggedRequest | None:
        """The request of the delivery's latest logged attempt; None if none of `attempts` was logged."""
        return next((it.logged for it in self.attempts if it.logged is not None), None)


class EventDeliveries(Struct, frozen=True):
    """An event and all its deliveries, in the order of their destinations' names."""

    event: EventLine
    deliveries: tuple[PastDelivery, ...]


# Searches only the runs that may contain the delivery. The view `attempts` would read the runs of all events.
_ATTEMPTS: Final = (
    "SELECT attempted_at, milliseconds, decision, reason, status, detail FROM attempt_runs"
    f" WHERE destination = :destination AND first_sequence BETWEEN :sequence - {LONGEST_RUN - 1} AND :sequence"
    " AND last_sequence >= :sequence ORDER BY id DESC LIMIT :limit"
)


def deliveries_of(db: Database, event_id: str) -> EventDeliveries | None:
    """Return an event and its deliveries; None if no event has this id."""
    if not can_be_stored(event_id):
        return None
    row = db.execute(f"{SELECT_LINE} WHERE id = ?", [event_id]).fetchone()
    if row is None:
        return None
    line = to_event_line(row)
    return EventDeliveries(line, tuple(history.deliveries_of(db, [line.sequence])))


def find_delivery(db: Database, event_id: str, destination: str) -> StoredDelivery | None:
    """Return the delivery of an event to a destination; None if there is none."""
    found = deliveries_of(db, event_id)
    chosen = [it for it in found.deliveries if it.destination == destination] if found is not None else []
    if found is None or not chosen:
        return None
    sequence = found.event.sequence
    rows = db.execute(_ATTEMPTS, {"destination": destination, "sequence": sequence, "limit": MAX_ATTEMPTS}).fetchall()
    logged = {one.attempted_ms: one for one in request_log.of_delivery(db, sequence, destination)}
    attempts = tuple(AttemptDetail(PastAttempt(*row), logged.get(row[0])) for row in rows)
    latest = next((it.logged for it in attempts if it.logged is not None), None)
    numbers = (sequence,) if latest is None else latest.sequences
    together = tuple(reversed(history.events_numbered(db, numbers)))
    (slot_ms,) = db.execute(
        "SELECT slot_at FROM deliveries WHERE sequence = ? AND destination = ?", [sequence, destination]
    ).fetchone()
    return StoredDelivery(chosen[0], found.event, attempts, together, len(numbers) - len(together), slot_ms)
