"""Writes the records in an answer of the API, with their events and deliveries, in one transaction."""

from collections.abc import Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Final

from msgspec import Struct, field
from msgspec.structs import fields, replace

from notifier.events import (
    Change,
    Completion,
    DetectedBy,
    Event,
    EventType,
    Names,
    event_data,
    event_id,
)
from notifier.facts import Occasion
from notifier.store.database import Database
from notifier.store.subscriptions import KnownFacts, Subscription
from notifier.store.tables import events, holds, records_by_person, second_looks
from notifier.store.tables.announced_events import AnnouncedEvents, PlannedAnnouncement, is_first, read_announced
from notifier.store.tables.holds import HeldChange
from notifier.store.tables.outbox import Delivery
from notifier.store.tables.rollups import count_detected
from notifier.store.tables.second_looks import SecondLook
from notifier.store.tables.silent_updates import Adoption, change_key, refresh, stored_json


class SilentRecord(Struct, frozen=True):
    """A record that becomes known without an event, and the reason why it is not announced."""

    completion: Completion
    detected_by: DetectedBy
    reason: str


class Findings(Struct, frozen=True):
    """The decisions about one answer, to be written in one transaction."""

    source: str
    id_namespace: str
    """A text that is part of the event ids."""
    learned: Sequence[SilentRecord] = ()
    """Records to store without an event."""
    changes: Sequence[Change] = ()
    """Changes to announce."""
    names: Names = field(default_factory=Names)
    """The people and trainings that events show."""
    held: Sequence[SilentRecord] = ()
    """New records to store with their announcement held back."""
    announced: Sequence[Change] = ()
    """Known records to announce for the first time: released ones, and ones that were wrongly taken for old."""
    refreshed: Sequence[Completion] = ()
    """Known records to store in their new form without an event."""
    adopted: Sequence[Adoption] = ()
    """Known records to which the API now gives other keys."""
    removed: Sequence[str] = ()
    """Keys of known records to mark as removed without an event."""
    dropped: Sequence[str] = ()
    """Keys of held-back records to delete, because they are gone."""
    in_view: Sequence[str] = ()
    """Keys of known records that the source's filters include again."""
    looks: Sequence[SecondLook] = ()
    """Second looks to store."""
    ended_looks: Sequence[str] = ()
    """Keys of second looks to delete."""
    held_changes: Sequence[HeldChange] = ()
    """Held-back changes to store."""
    ended_changes: Sequence[str] = ()
    """Keys of held-back changes to delete."""

    def __bool__(self) -> bool:
        """Return whether there is anything to write."""
        return any(_parts(self))

    def changes_with_event(self) -> Sequence[Change]:
        """Return all changes that cause an event."""
        return (*self.changes, *self.announced)


_parts: Final = attrgetter(
    *(part.name for part in fields(Findings) if part.name not in ("source", "id_namespace", "names"))
)


_MAX_RETURNED: Final = 500
"""Maximum number of returned deliveries: a thousand events for a thousand destinations would fill the memory."""


class WrittenEvents(Struct, frozen=True):
    """The events that were written, and up to _MAX_RETURNED of their deliveries, both in order."""

    events: list[Event]
    deliveries: list[Delivery]


class _WriteContext(Struct, frozen=True):
    """The values that all functions called by `write_findings` share.

    `deliveries` collects the deliveries that these functions write, up to _MAX_RETURNED.
    """

    source: str
    id_namespace: str
    names: Names
    subscriptions: Sequence[Subscription]
    now_ms: int
    past: AnnouncedEvents
    occasions: Mapping[str, Occasion] = field(default_factory=dict)
    deliveries: list[Delivery] = field(default_factory=list)


def write(db: Database, findings: Findings, subscriptions: Sequence[Subscription], now_ms: int) -> list[Event]:
    """Write findings as `write_findings` does, and return the events."""
    return write_findings(db, findings, subscriptions, now_ms).events


def write_findings(
    db: Database, findings: Findings, subscriptions: Sequence[Subscription], now_ms: int
) -> WrittenEvents:
    """Write records, their events and one delivery per interested destination, all or nothing.

    An event that was announced before is not written again, even if a damaged state file has lost it.
    """
    source = findings.source
    learned = (it.completion.key for it in (*findings.learned, *findings.held))
    past = read_announced(db, source, chain(learned, (it.completion.key for it in findings.changes_with_event())))
    context = _WriteContext(source, findings.id_namespace, findings.names, subscriptions, now_ms, past)
    for adoption in findings.adopted:
        change_key(db, source, adoption, now_ms)
    recovered = findings.learned if past.has_owed else ()
    owed = [past.owed_change(it.completion, it.detected_by, it.reason) for it in recovered]
    if findings.learned:
        _add_to_count(db, source, _insert_silent_records(db, context, findings.learned, held=False))
    if findings.held:
        arrivals = _insert_silent_records(db, context, findings.held, held=True)
        _add_to_count(db, source, arrivals)
        db.execute("UPDATE sources SET held_arrivals = held_arrivals + ? WHERE name = ?", [arrivals, source])
    _write_silent_changes(db, findings, now_ms)
    changes = (*(change for change in owed if change is not None), *findings.changes)
    context = replace(context, occasions=records_by_person.occasions(db, source, (*changes, *findings.announced)))
    written = [_write_change(db, context, change) for change in changes]
    written += [_announce_known_record(db, context, change) for change in findings.announced]
    new_events = [event for event in written if event is not None]
    if findings.ended_looks:
        second_looks.delete(db, source, findings.ended_looks)
    if findings.looks:
        second_looks.put(db, source, findings.looks)
    ended = [*findings.ended_changes, *_keys_no_longer_listed(findings)]
    if findings.held_changes or ended:
        holds.write_changes(db, source, findings.held_changes, ended)
    count_detected(db, new_events)
    return WrittenEvents(new_events, context.deliveries)


def _keys_no_longer_listed(findings: Findings) -> list[str]:
    """Return the keys of the records that are gone, or that the API now lists under other keys."""
    removed = [change.completion.key for change in findings.changes if change.type is EventType.REMOVED]
    return [*removed, *findings.removed, *findings.dropped, *(adoption.old_key for adoption in findings.adopted)]


def _write_silent_changes(db: Database, findings: Findings, now_ms: int) -> None:
    """Write those changes of known records that cause no event."""
    source = findings.source
    for key in findings.in_view:
        db.execute("UPDATE records SET out_of_view = 0 WHERE source = ? AND key = ?", [source, key])
        _add_to_count(db, source, 1)
    for key in findings.removed:
        db.execute("UPDATE records SET removed_at = ? WHERE source = ? AND key = ?", [now_ms, source, key])
        _add_to_count(db, source, -1)
    for key in findings.dropped:
        db.execute("DELETE FROM records WHERE source = ? AND key = ?", [source, key])
        db.execute("UPDATE sources SET held_arrivals = held_arrivals - 1 WHERE name = ?", [source])
        _add_to_count(db, source, -1)
    for completion in findings.refreshed:
        refresh(db, source, completion, completion.key)


def _insert_silent_records(db: Database, context: _WriteContext, learned: Sequence[SilentRecord], *, held: bool) -> int:
    rows = [
        (
            *_row(
                context.source,
                known.completion,
                context.past.revision_of(known.completion.key) or 1,
                known.detected_by,
                known.reason,
                context.now_ms,
            ),
            int(held),
        )
        for known in learned
        if not context.past.is_owed(known.completion.key)
    ]
    return int(db.executemany(f"{_INSERT} ON CONFLICT (source, key) DO NOTHING", rows).rowcount)


def _announce_known_record(db: Database, context: _WriteContext, change: Change) -> Event | None:
    """Write the first event of a record that was stored without an event. Return the event; None if none is written."""
    row = db.execute(
        "SELECT held FROM records WHERE source = ? AND key = ?", [context.source, change.completion.key]
    ).fetchone()
    if row is None:
        return None
    db.execute(
        "UPDATE records SET held = 0, net = ?, reason = ? WHERE source = ? AND key = ?",
        [change.detected_by, change.reason, context.source, change.completion.key],
    )
    db.execute("UPDATE sources SET held_arrivals = held_arrivals - ? WHERE name = ?", [row[0], context.source])
    planned = context.past.plan_announcement(context.id_namespace, change)
    event = None if planned.was_announced else _insert_event(db, context, planned.change)
    if event is not None:
        _insert_deliveries(db, context, planned, event)
    return event


def _write_change(db: Database, context: _WriteContext, change: Change) -> Event | None:
    completion = change.completion
    # A removed record may come back with another content. A server that lags then shows the content before the removal.
    earlier = completion if change.type is EventType.REMOVED else change.previous
    if earlier is not None:
        second_looks.store_earlier_form(
            db, context.source, completion.key, earlier.content_fingerprint(), context.now_ms
        )
    planned = context.past.plan_announcement(context.id_namespace, change)
    change = planned.change
    event = None if planned.was_announced else _insert_event(db, context, change)
    if event is None:
        # This event was announced before. Later events of the record may have been announced, too, so the record's
        # revision must not be lower than theirs.
        told_until = context.past.highest_revision(db, completion.key)
        if planned.was_announced or is_first(change):
            change = replace(change, revision=max(change.revision, told_until))
            _store_record(db, context.source, change, context.now_ms)
            return None
        # The file has lost the record but not its events. An announced change is not detected again, so this is
        # another change.
        change = replace(change, revision=told_until + 1)
        event = _insert_event(db, context, change)
    _store_record(db, context.source, change, context.now_ms)
    if event is not None:
        _insert_deliveries(db, context, planned, event)
    return event


def _insert_deliveries(db: Database, context: _WriteContext, planned: PlannedAnnouncement, event: Event) -> None:
    """Add the deliveries of an event, one for each destination that wants it."""
    completion, names = planned.change.completion, context.names
    known = KnownFacts(names.trainings.get(completion.training_id), names.person_facts.get(completion.user_id))
    destinations = [
        subscription.destination
        for subscription in context.subscriptions
        if subscription.admits(planned.change.type, context.source, completion.training_id, completion.user_id, known)
        and planned.includes_destination(subscription.destination)
    ]
    events.insert_deliveries(db, event, destinations)
    room = _MAX_RETURNED - len(context.deliveries)
    context.deliveries.extend(Delivery(event, destination) for destination in destinations[:room])


def _insert_event(db: Database, context: _WriteContext, change: Change) -> Event | None:
    """Insert the event of a change, and return it; None if an event with its id exists already."""
    key = change.completion.key
    return events.insert(
        db,
        Event(
            0,
            event_id(context.id_namespace, change),
            change.type,
            context.source,
            key,
            context.now_ms,
            event_data(change, context.names, context.occasions.get(key)),
        ),
        revision=change.revision,
        detected_by=change.detected_by,
        reason=change.reason,
        moved_from=_moved_from(change),
    )


def _moved_from(change: Change) -> str | None:
    before = None if change.previous is None else change.previous.user_id
    return None if before == change.completion.user_id else before


_INSERT = (
    "INSERT INTO records (source, key, revision, user_id, training_id, completed_on, recorded_at,"
    " seen_at, net, reason, fingerprint, record, held) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def _store_record(db: Database, source: str, change: Change, now_ms: int) -> None:
    if change.type is EventType.REMOVED:
        db.execute(
            "UPDATE records SET revision = ?, removed_at = ? WHERE source = ? AND key = ?",
            [change.revision, now_ms, source, change.completion.key],
        )
        _add_to_count(db, source, -1)
        return
    db.execute(
        f"{_INSERT} ON CONFLICT (source, key) DO UPDATE SET revision = excluded.revision, user_id = excluded.user_id,"
        " training_id = excluded.training_id, completed_on = excluded.completed_on,"
        " recorded_at = excluded.recorded_at, removed_at = NULL, fingerprint = excluded.fingerprint,"
        " record = excluded.record",
        (*_row(source, change.completion, change.revision, change.detected_by, change.reason, now_ms), 0),
    )
    if change.type is EventType.CREATED:
        _add_to_count(db, source, 1)


def _add_to_count(db: Database, source: str, more: int) -> None:
    db.execute("UPDATE sources SET records = records + ? WHERE name = ?", [more, source])


def _row(
    source: str, completion: Completion, revision: int, detected_by: DetectedBy, reason: str, now_ms: int
) -> tuple[str | int | None, ...]:
    return (
        source,
        completion.key,
        revision,
        completion.user_id,
        completion.training_id,
        completion.completed_on,
        completion.recorded_at,
        now_ms,
        # Plain texts, because sqlite3 looks for an adapter for each value of an enumeration.
        str(detected_by),
        str(reason),
        completion.fingerprint(),
        stored_json(completion),
    )
