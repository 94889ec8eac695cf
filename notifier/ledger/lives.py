"""One record's whole life as the state file has it: when it was seen, what was told of it, and every attempt.

Nothing here writes.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlite_utils import Database

from notifier.completions import CONTENT_FIELDS, EventType, Net
from notifier.ledger import history
from notifier.ledger.history import PastDelivery
from notifier.ledger.outbox import LONGEST_RUN


@dataclass(frozen=True, slots=True)
class PastAttempt:
    """One attempt of a delivery: when it began (Unix ms), how long it took, and what came of it."""

    attempted_ms: int
    milliseconds: int
    decision: str
    reason: str
    status: int | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class DeliveryLife:
    """One event's way to one destination, with every attempt in order."""

    delivery: PastDelivery
    attempts: tuple[PastAttempt, ...]


@dataclass(frozen=True, slots=True)
class FieldChange:
    """What a field of the completion held before an update and after it: plain JSON values."""

    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class EventLife:
    """One event about the record; `changes` holds the fields that an update changed, by their names.

    `training_id` and `user_id` are those that the event tells of: an update may have changed the record's.
    """

    sequence: int
    id: str
    type: str
    revision: int
    detected_ms: int
    net: Net
    reason: str
    training_id: str
    user_id: str
    changes: Mapping[str, FieldChange]
    deliveries: tuple[DeliveryLife, ...]


@dataclass(frozen=True, slots=True)
class Life:
    """What one source knows of a record; moments in Unix milliseconds.

    The names are those known now, None for unknown ones. `net` and `reason` are of the first meeting.
    """

    source: str
    key: str
    user_id: str
    user_name: str | None
    training_id: str
    training_title: str | None
    completed_on: str | None
    recorded_ms: int | None
    seen_ms: int
    net: Net
    reason: str
    revision: int
    removed_ms: int | None
    events: tuple[EventLife, ...]

    @property
    def revisions_without_event(self) -> tuple[int, ...]:
        """The revisions of which no event is kept: it was forgotten, or, of the first one, there never was any."""
        kept = {event.revision for event in self.events}
        return tuple(revision for revision in range(1, self.revision + 1) if revision not in kept)


# Source by source: the records' index begins with it.
_RECORDS = (
    "SELECT r.source, r.key, r.user_id, p.name, r.training_id, t.title, r.completed_on, r.recorded_at, r.seen_at,"
    " r.net, r.reason, r.revision, r.removed_at"
    " FROM sources s CROSS JOIN records r ON r.source = s.name AND r.key = ?"
    " LEFT JOIN people p ON p.source = r.source AND p.id = r.user_id"
    " LEFT JOIN trainings t ON t.source = r.source AND t.id = r.training_id ORDER BY s.name"
)
_EVENTS = (
    "SELECT sequence, id, type, revision, detected_at, net, reason, data FROM events"
    f" WHERE subject = ? AND source = ? AND type <> '{EventType.ALERT}' ORDER BY sequence"
)
# From the events to the runs that they are in; the view `attempts` goes through all runs, to tell of all events.
_ATTEMPTS = (
    "SELECT d.sequence, d.destination, r.attempted_at, r.milliseconds, r.decision, r.reason, r.status, r.detail"
    " FROM deliveries d CROSS JOIN attempt_runs r ON r.destination = d.destination"
    f" AND r.first_sequence BETWEEN d.sequence - {LONGEST_RUN - 1} AND d.sequence AND r.last_sequence >= d.sequence"
    " WHERE d.sequence IN (SELECT value FROM json_each(?)) ORDER BY r.id"
)


def lives(db: Database, key: str) -> list[Life]:
    """Return the record's life at every source that knows it, by the sources' names; empty when none does."""
    if not _can_be_stored(key):
        return []
    # One transaction, so that what is written meanwhile does not make the parts contradict each other.
    with db.atomic():
        rows = db.execute(_RECORDS, [key]).fetchall()
        return [_life(row, _events(db, key, source=row[0])) for row in rows]


def _can_be_stored(key: str) -> bool:
    """Tell whether SQLite takes the text: bytes of a command line that are no UTF-8 arrive as lone surrogates."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def _life(row: tuple[Any, ...], events: tuple[EventLife, ...]) -> Life:
    source, key, user, name, training, title, completed, recorded, seen, net, reason, revision, removed = row
    return Life(
        source, key, user, name, training, title, completed, recorded, seen, Net(net), reason, revision, removed, events
    )


def _events(db: Database, key: str, source: str) -> tuple[EventLife, ...]:
    rows = db.execute(_EVENTS, [key, source]).fetchall()
    deliveries = _deliveries(db, [row[0] for row in rows])
    return tuple(_event(row, tuple(deliveries.get(row[0], ()))) for row in rows)


def _event(row: tuple[Any, ...], deliveries: tuple[DeliveryLife, ...]) -> EventLife:
    sequence, id_, type_, revision, at, net, reason, data = row
    parsed = orjson.loads(data)
    old, new = parsed["previous"] or {}, parsed["completion"]
    changes = {name: FieldChange(old[name], new[name]) for name in CONTENT_FIELDS if name in old}
    training, user = new["training_id"], new["user_id"]
    return EventLife(sequence, id_, type_, revision, at, Net(net), reason, training, user, changes, deliveries)


def _deliveries(db: Database, sequences: Collection[int]) -> dict[int, list[DeliveryLife]]:
    """Return the deliveries of these events, by the events' numbers."""
    attempts: dict[tuple[int, str], list[PastAttempt]] = {}
    for sequence, destination, *attempt in db.execute(_ATTEMPTS, [orjson.dumps(list(sequences)).decode()]):
        attempts.setdefault((sequence, destination), []).append(PastAttempt(*attempt))
    found: dict[int, list[DeliveryLife]] = {}
    for delivery in history.deliveries_of(db, sequences):
        made = attempts.get((delivery.sequence, delivery.destination), ())
        found.setdefault(delivery.sequence, []).append(DeliveryLife(delivery, tuple(made)))
    return found
