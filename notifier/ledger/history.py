"""What has happened, to be read: events and what became of their deliveries, a page at a time.

Nothing here writes. A page is read at once, so that nobody who reads slowly keeps the write-ahead log from being
checkpointed.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
from sqlite_utils import Database

from notifier.clock import iso_utc
from notifier.completions import Event
from notifier.ledger.destinations import HealthState
from notifier.ledger.outbox import DeliveryState


def events_after(db: Database, sequence: int, limit: int) -> list[Event]:
    """Return up to `limit` events that were detected after the one with this number, in order."""
    rows = db.execute(
        "SELECT sequence, id, type, source, subject, detected_at, data FROM events"
        " WHERE sequence > ? ORDER BY sequence LIMIT ?",
        [sequence, limit],
    ).fetchall()
    return [
        Event(number, id_, type_, source, subject, at, data.encode())
        for number, id_, type_, source, subject, at, data in rows
    ]


def sequence_before_latest(db: Database, count: int) -> int:
    """Return the number after which the latest `count` events stand; 0 when there are no more than these."""
    row = db.execute("SELECT sequence FROM events ORDER BY sequence DESC LIMIT 1 OFFSET ?", [count]).fetchone()
    return row[0] if row else 0


class DeliveryCursor(NamedTuple):
    """The place of a delivery in the order of all: by its event, then by its destination."""

    sequence: int = 0
    destination: str = ""


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries are asked for; None means whichever."""

    state: DeliveryState | None = None
    destination: str | None = None


@dataclass(frozen=True, slots=True)
class PastDelivery:
    """One event's way to one destination so far; times in Unix milliseconds.

    `decision`, `reason`, `status` and `detail` are of the last attempt. `next_attempt_ms` is 0 when it is due at once,
    None when there will be none: it is delivered, dead, or waits for its destination to be enabled.
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

    @property
    def cursor(self) -> DeliveryCursor:
        """Its place in the order of all."""
        return DeliveryCursor(self.sequence, self.destination)

    def document(self) -> dict[str, Any]:
        """Return the delivery as a JSON object; moments are RFC 3339, and one that is due at once has no next one."""
        return {
            "sequence": self.sequence,
            "event": self.event,
            "type": self.type,
            "source": self.source,
            "record": self.record,
            "destination": self.destination,
            "state": self.state,
            "attempts": self.attempts,
            "decision": self.decision,
            "reason": self.reason,
            "status": self.status,
            "detail": self.detail,
            "last_attempt": iso_utc(self.last_attempt_ms) if self.last_attempt_ms else None,
            "next_attempt": iso_utc(self.next_attempt_ms) if self.next_attempt_ms else None,
        }


def deliveries_after(db: Database, cursor: DeliveryCursor, chosen: DeliveryFilter, limit: int) -> list[PastDelivery]:
    """Return up to `limit` of the chosen deliveries behind `cursor`, in order."""
    terms, values = _terms(chosen)
    return _deliveries(
        db,
        ["(d.sequence, d.destination) > (?, ?)", *terms],
        "ORDER BY d.sequence, d.destination LIMIT ?",
        [*cursor, *values, limit],
    )


def latest_deliveries(db: Database, chosen: DeliveryFilter, limit: int) -> list[PastDelivery]:
    """Return the latest `limit` of the chosen deliveries, in order."""
    terms, values = _terms(chosen)
    order = "ORDER BY d.sequence DESC, d.destination DESC LIMIT ?"
    return _deliveries(db, terms, order, [*values, limit])[::-1]


def newest_attempt(db: Database) -> int:
    """Return the number of the newest attempt; 0 when there is none."""
    number: int = db.execute("SELECT coalesce(max(id), 0) FROM attempts").fetchone()[0]
    return number


def tried_after(db: Database, attempt: int, chosen: DeliveryFilter, limit: int) -> tuple[list[PastDelivery], int]:
    """Return those of the chosen deliveries that the next `limit` attempts were made of, as they stand now, in order.

    `attempt` is the number behind which to look; the second value is the one to go on from.
    """
    last = db.execute(
        "SELECT max(id) FROM (SELECT id FROM attempts WHERE id > ? ORDER BY id LIMIT ?)", [attempt, limit]
    ).fetchone()[0]
    if last is None:
        return [], attempt
    terms, values = _terms(chosen)
    tried = "(d.sequence, d.destination) IN (SELECT sequence, destination FROM attempts WHERE id > ? AND id <= ?)"
    found = _deliveries(db, [tried, *terms], "ORDER BY d.last_attempt_at, d.sequence", [attempt, last, *values])
    return found, last


def deliveries_of(db: Database, sequences: Collection[int]) -> list[PastDelivery]:
    """Return all deliveries of the events with these numbers, in order."""
    wanted = orjson.dumps(list(sequences)).decode()
    terms = ["d.sequence IN (SELECT value FROM json_each(?))"]
    return _deliveries(db, terms, "ORDER BY d.sequence, d.destination", [wanted])


_SELECT = (
    "SELECT d.state, d.sequence, d.destination, e.id, e.type, e.source, e.subject, d.attempts, d.decision, d.reason,"
    " d.status, d.detail, d.last_attempt_at,"
    # A destination in trouble waits as a whole, and what is due for it with it.
    f" CASE WHEN d.state = '{DeliveryState.PENDING}' AND coalesce(t.state, '') <> '{HealthState.DISABLED}'"
    " THEN max(d.next_attempt_at, coalesce(t.retry_at, 0)) END"
    " FROM deliveries d JOIN events e USING (sequence) LEFT JOIN destinations t ON t.name = d.destination"
)


def _terms(chosen: DeliveryFilter) -> tuple[list[str], list[Any]]:
    terms: list[str] = []
    values: list[Any] = []
    if chosen.state is not None:
        terms.append("d.state = ?")
        values.append(chosen.state)
        if chosen.state is not DeliveryState.DELIVERED:
            # Says nothing new, but lets SQLite use the small index of what is unfinished.
            terms.append("d.state <> 'delivered'")
    if chosen.destination is not None:
        terms.append("d.destination = ?")
        values.append(chosen.destination)
    return terms, values


def _deliveries(db: Database, terms: list[str], order: str, values: list[Any]) -> list[PastDelivery]:
    where = f"WHERE {' AND '.join(terms)}" if terms else ""
    rows = db.execute(f"{_SELECT} {where} {order}", values).fetchall()
    return [PastDelivery(DeliveryState(row[0]), *row[1:]) for row in rows]


def destinations_told(db: Database) -> set[str]:
    """Return the names of all destinations that the file knows, those that the configuration has dropped included."""
    return {name for (name,) in db.execute("SELECT name FROM destinations")}
