"""The history: events and the results of their deliveries, a page at a time.

Nothing here writes. Each page is fetched completely at once, so that a slow client does not prevent checkpoints of the
write-ahead log.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from notifier.events import Event
from notifier.store.database import NUMBERS, Database, json_list
from notifier.store.tables.destinations import HealthState
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.slots import WAIT_END


def events_after(db: Database, sequence: int, limit: int) -> list[Event]:
    """Return up to `limit` events after the one with this number, in order."""
    return _events(db, "WHERE sequence > ? ORDER BY sequence LIMIT ?", [sequence, limit])


def events_numbered(db: Database, sequences: Collection[int]) -> list[Event]:
    """Return the events with these numbers, newest first."""
    return _events(db, f"WHERE sequence IN {NUMBERS} ORDER BY sequence DESC", [json_list(sequences)])


def _events(db: Database, clauses: str, values: Sequence[Any]) -> list[Event]:
    columns = "sequence, id, type, source, subject, detected_at, data"
    rows = db.execute(f"SELECT {columns} FROM events {clauses}", values).fetchall()
    return [
        Event(number, id_, type_, source, subject, at, data.encode())
        for number, id_, type_, source, subject, at, data in rows
    ]


def sequence_before_latest(db: Database, count: int) -> int:
    """Return the number of the event before the latest `count` events; 0 if there is no such event."""
    row = db.execute("SELECT sequence FROM events ORDER BY sequence DESC LIMIT 1 OFFSET ?", [count]).fetchone()
    return row[0] if row else 0


class DeliveryCursor(NamedTuple):
    """A delivery's position in the order of all deliveries: by event, then by destination."""

    sequence: int = 0
    destination: str = ""


class DeliveryFilter(Struct, frozen=True):
    """The properties of the requested deliveries; None means any value."""

    state: DeliveryState | None = None
    destination: str | None = None


class PastDelivery(Struct, frozen=True):
    """The state of one event's delivery to one destination; times in Unix milliseconds.

    `decision`, `reason`, `status` and `detail` are those of the last attempt.
    """

    state: DeliveryState
    sequence: int
    destination: str
    event: str
    type: str
    source: str
    record: str
    attempts: int
    decision: str | None
    reason: str | None
    status: int | None
    detail: str | None
    last_attempt_ms: int | None
    next_attempt_ms: int | None
    """The time of the next attempt; 0 if it is due at once.

    None if no attempt follows: the delivery is delivered or dead, or its destination is disabled.
    """
    scheduled_ms: int | None = None
    """The time that the delivery waits for: its slot, or the end of the quiet time.

    None if the delivery waits for neither, or its destination is disabled.
    """

    @property
    def cursor(self) -> DeliveryCursor:
        """The delivery's position in the order of all deliveries."""
        return DeliveryCursor(self.sequence, self.destination)


def deliveries_after(db: Database, cursor: DeliveryCursor, chosen: DeliveryFilter, limit: int) -> list[PastDelivery]:
    """Return the next deliveries after `cursor` that match `chosen`, at most `limit`, oldest first."""
    terms, values = _terms(chosen)
    return _deliveries(
        db,
        ["(d.sequence, d.destination) > (?, ?)", *terms],
        "ORDER BY d.sequence, d.destination LIMIT ?",
        [*cursor, *values, limit],
    )


def latest_deliveries(db: Database, chosen: DeliveryFilter, limit: int) -> list[PastDelivery]:
    """Return the latest deliveries that match `chosen`, at most `limit`, oldest first."""
    terms, values = _terms(chosen)
    order = "ORDER BY d.sequence DESC, d.destination DESC LIMIT ?"
    return _deliveries(db, terms, order, [*values, limit])[::-1]


def attempted_after(db: Database, attempt: int, chosen: DeliveryFilter, limit: int) -> tuple[list[PastDelivery], int]:
    """Return the deliveries that were tried after attempt number `attempt`, with their present states.

    At most `limit` attempts are examined. Deliveries that `chosen` excludes are left out. The second value is the
    number of the last attempt examined; if none was examined, it is `attempt`.
    """
    last = db.execute(
        "SELECT max(id) FROM (SELECT id FROM attempts WHERE id > ? ORDER BY id LIMIT ?) AS looked_at", [attempt, limit]
    ).fetchone()[0]
    if last is None:
        return [], attempt
    terms, values = _terms(chosen)
    tried = "(d.sequence, d.destination) IN (SELECT sequence, destination FROM attempts WHERE id > ? AND id <= ?)"
    order = "ORDER BY d.last_attempt_at, d.sequence, d.destination"
    found = _deliveries(db, [tried, *terms], order, [attempt, last, *values])
    return found, last


def deliveries_of(db: Database, sequences: Collection[int]) -> list[PastDelivery]:
    """Return all deliveries of the events with these numbers, in order."""
    wanted = json_list(sequences)
    terms = [f"d.sequence IN {NUMBERS}"]
    return _deliveries(db, terms, "ORDER BY d.sequence, d.destination", [wanted])


_IS_ENABLED = f"coalesce(t.state, '') <> '{HealthState.DISABLED}'"
_SELECT = (
    "SELECT d.state, d.sequence, d.destination, e.id, e.type, e.source, e.subject, d.attempts, d.decision, d.reason,"
    " d.status, d.detail, d.last_attempt_at,"
    # While a destination fails, all of its deliveries wait until the destination is tried again.
    f" CASE WHEN d.state = '{DeliveryState.PENDING}' AND {_IS_ENABLED}"
    f" THEN max(d.next_attempt_at, coalesce(t.retry_at, 0), coalesce({WAIT_END}, 0)) END,"
    f" CASE WHEN {_IS_ENABLED} THEN {WAIT_END} END"
    " FROM deliveries d JOIN events e USING (sequence) LEFT JOIN destinations t ON t.name = d.destination"
)


def _terms(chosen: DeliveryFilter) -> tuple[list[str], list[Any]]:
    terms: list[str] = []
    values: list[Any] = []
    if chosen.state is not None:
        terms.append("d.state = ?")
        values.append(chosen.state)
        if chosen.state is not DeliveryState.DELIVERED:
            # This condition is redundant, but lets SQLite use the small index of unfinished deliveries.
            terms.append("d.state <> 'delivered'")
    if chosen.destination is not None:
        terms.append("d.destination = ?")
        values.append(chosen.destination)
    return terms, values


def _deliveries(db: Database, terms: list[str], order: str, values: list[Any]) -> list[PastDelivery]:
    where = f"WHERE {' AND '.join(terms)}" if terms else ""
    rows = db.execute(f"{_SELECT} {where} {order}", values).fetchall()
    return [PastDelivery(DeliveryState(row[0]), *row[1:]) for row in rows]


def known_destination_names(db: Database) -> set[str]:
    """Return the names of all destinations in the store, including those no longer configured."""
    return {name for (name,) in db.execute("SELECT name FROM destinations")}
