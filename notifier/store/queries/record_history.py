"""The stored history of one record: when it was first seen, its events, and every attempt of their deliveries.

Nothing here writes.
"""

from collections.abc import Collection, Mapping
from typing import Any

import orjson
from msgspec import Struct
from msgspec.structs import replace

from notifier.events import CONTENT_FIELDS, DetectedBy, EventType
from notifier.store.database import NUMBERS, Database, json_list
from notifier.store.queries import history
from notifier.store.queries.history import PastDelivery
from notifier.store.subscriptions import NOTHING_KNOWN, KnownFacts, facts_of_data
from notifier.store.tables import left_out, second_looks
from notifier.store.tables.left_out import UnreadableRecord
from notifier.store.tables.second_looks import SecondLook
from notifier.store.tables.settlements import LONGEST_RUN


class PastAttempt(Struct, frozen=True):
    """One attempt of a delivery: when it began (Unix ms), how long it took, and its result."""

    attempted_ms: int
    milliseconds: int
    decision: str
    reason: str
    status: int | None
    detail: str | None


class DeliveryHistory(Struct, frozen=True):
    """One event's delivery to one destination, with all attempts in order."""

    delivery: PastDelivery
    attempts: tuple[PastAttempt, ...]


class FieldChange(Struct, frozen=True):
    """The values of a completion's field before and after an update, as plain JSON values."""

    old: Any
    new: Any


class EventHistory(Struct, frozen=True):
    """One event about the record; `changes` maps the names of updated fields to their values.

    `training_id`, `user_id` and the `known` facts are those in the event. The record may have other ones now.
    """

    sequence: int
    id: str
    type: str
    revision: int
    detected_ms: int
    detected_by: DetectedBy
    reason: str
    training_id: str
    user_id: str
    changes: Mapping[str, FieldChange]
    deliveries: tuple[DeliveryHistory, ...]
    known: KnownFacts = NOTHING_KNOWN


class RecordHistory(Struct, frozen=True):
    """Everything that is stored about one record of one source; times in Unix milliseconds.

    Names are the present ones, None if unknown. `detected_by` and `reason` belong to the first detection.
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
    detected_by: DetectedBy
    reason: str
    revision: int
    removed_ms: int | None
    held: bool
    """Whether the record's arrival is held back."""
    held_field: str | None
    """The changed field that caused an update to be held back; None if no update is held back."""
    out_of_view: bool
    """Whether the source does not request the record now."""
    look: SecondLook | None
    """The second look that has to confirm a change of the record."""
    events: tuple[EventHistory, ...]
    unreadable: UnreadableRecord | None = None
    """Why the record cannot be read now; None if it can."""

    @property
    def revisions_without_event(self) -> tuple[int, ...]:
        """The revisions without an event in the file: the event was deleted, or the first revision never had one."""
        kept = {event.revision for event in self.events}
        return tuple(revision for revision in range(1, self.revision + 1) if revision not in kept)


# Queried for one source at a time, because the index of the records begins with the source.
_RECORDS = (
    "SELECT r.source, r.key, r.user_id, p.name, r.training_id, t.title, r.completed_on, r.recorded_at, r.seen_at,"
    " r.net, r.reason, r.revision, r.removed_at, r.held,"
    " (SELECT field FROM held_changes h WHERE h.source = r.source AND h.key = r.key), r.out_of_view"
    " FROM sources s CROSS JOIN records r ON r.source = s.name AND r.key = ?"
    " LEFT JOIN people p ON p.source = r.source AND p.id = r.user_id"
    " LEFT JOIN trainings t ON t.source = r.source AND t.id = r.training_id ORDER BY s.name"
)
_EVENTS = (
    "SELECT sequence, id, type, revision, detected_at, net, reason, data FROM events"
    f" WHERE subject = ? AND source = ? AND type <> '{EventType.ALERT}' ORDER BY sequence"
)
# Goes from the events to their runs. The view `attempts` would read the runs of all events.
_ATTEMPTS = (
    "SELECT d.sequence, d.destination, r.attempted_at, r.milliseconds, r.decision, r.reason, r.status, r.detail"
    " FROM deliveries d CROSS JOIN attempt_runs r ON r.destination = d.destination"
    f" AND r.first_sequence BETWEEN d.sequence - {LONGEST_RUN - 1} AND d.sequence AND r.last_sequence >= d.sequence"
    f" WHERE d.sequence IN {NUMBERS} ORDER BY r.id"
)


def record_histories(db: Database, key: str) -> list[RecordHistory]:
    """Return the histories of all records with this key, ordered by source. A source has at most one such record."""
    if not can_be_stored(key):
        return []
    # One transaction, so that writes in the meantime cannot make the parts contradict each other.
    with db.atomic():
        rows = db.execute(_RECORDS, [key]).fetchall()
        unreadable = left_out.of_record(db, key)
        return [
            replace(
                _to_history(row, second_looks.of_record(db, row[0], key), _events(db, key, source=row[0])),
                unreadable=unreadable.get(row[0]),
            )
            for row in rows
        ]


def can_be_stored(key: str) -> bool:
    """Return whether SQLite can store this text; it cannot store lone surrogates, which stand for invalid UTF-8."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def _to_history(row: tuple[Any, ...], look: SecondLook | None, events: tuple[EventHistory, ...]) -> RecordHistory:
    source, key, user, name, training, title, completed, recorded, seen, *state = row
    method, reason, revision, removed, held, held_field, out_of_view = state
    return RecordHistory(
        source,
        key,
        user,
        name,
        training,
        title,
        completed,
        recorded,
        seen,
        DetectedBy(method),
        reason,
        revision,
        removed,
        bool(held),
        held_field,
        bool(out_of_view),
        look,
        events,
    )


def _events(db: Database, key: str, source: str) -> tuple[EventHistory, ...]:
    rows = db.execute(_EVENTS, [key, source]).fetchall()
    deliveries = _deliveries(db, [row[0] for row in rows])
    return tuple(_event(row, tuple(deliveries.get(row[0], ()))) for row in rows)


def _event(row: tuple[Any, ...], deliveries: tuple[DeliveryHistory, ...]) -> EventHistory:
    sequence, id_, type_, revision, at, method, reason, data = row
    parsed = orjson.loads(data)
    old, new = parsed["previous"] or {}, parsed["completion"]
    changes = {name: FieldChange(old[name], new[name]) for name in CONTENT_FIELDS if name in old}
    training, user = new["training_id"], new["user_id"]
    return EventHistory(
        sequence,
        id_,
        type_,
        revision,
        at,
        DetectedBy(method),
        reason,
        training,
        user,
        changes,
        deliveries,
        facts_of_data(parsed),
    )


def _deliveries(db: Database, sequences: Collection[int]) -> dict[int, list[DeliveryHistory]]:
    """Return the deliveries of these events, by the events' numbers."""
    attempts: dict[tuple[int, str], list[PastAttempt]] = {}
    for sequence, destination, *attempt in db.execute(_ATTEMPTS, [json_list(sequences)]):
        attempts.setdefault((sequence, destination), []).append(PastAttempt(*attempt))
    found: dict[int, list[DeliveryHistory]] = {}
    for delivery in history.deliveries_of(db, sequences):
        made = attempts.get((delivery.sequence, delivery.destination), ())
        found.setdefault(delivery.sequence, []).append(DeliveryHistory(delivery, tuple(made)))
    return found
