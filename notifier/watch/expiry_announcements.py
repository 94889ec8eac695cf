"""Announces completions that expire, and withdraws announcements, in the transaction of the caller."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

import orjson
from msgspec import Struct

from notifier.config import SourceSettings
from notifier.config.source_settings import ExpiryDates
from notifier.events import Change, Completion, DetectedBy, Event, EventType, Names, event_data, expiry_event_id
from notifier.facts import ListedEnd, PersonField, TrainingFacts, Validity, ValiditySource, listed_validity, validity
from notifier.kpa.versions import API_VERSIONS, RecordFormat, read_stored
from notifier.store.database import Database
from notifier.store.subscriptions import KnownFacts, Subscription
from notifier.store.tables import events, expiries, records_by_person
from notifier.store.tables import names as name_table
from notifier.store.tables.announced_events import was_announced
from notifier.store.tables.expiries import ExpiryRow
from notifier.store.tables.rollups import count_detected
from notifier.watch.detection.expiry import (
    ExpiryStage,
    LastAnnouncement,
    expiring_days_of,
    has_left,
    next_announcement,
    stage_of,
)
from notifier.watch.detection.news import NewsReason
from notifier.watch.name_cache import wanted_ids

_REASONS: Final = {ExpiryStage.EXPIRING: NewsReason.RUNS_OUT, ExpiryStage.EXPIRED: NewsReason.RAN_OUT}
_TYPES: Final = {ExpiryStage.EXPIRING: EventType.EXPIRING, ExpiryStage.EXPIRED: EventType.EXPIRED}

Pair = tuple[str, str]
"""The id of a person and the id of a training."""


class ExpiryRequest(Struct, frozen=True):
    """What the store's thread needs to decide which completions of one source expire."""

    source: str
    settings: SourceSettings
    subscriptions: Sequence[Subscription]
    today: date
    since: date
    """The day on which expiry was switched on."""
    now_ms: int
    listed: Mapping[Pair, ListedEnd] | None = None
    """End dates from the account's employee status list, for the people who are examined; None if it was not read."""

    @property
    def version(self) -> RecordFormat:
        """The format of the stored records."""
        return API_VERSIONS[self.settings.api]


class ExpiryOutcome(Struct, frozen=True):
    """The events that were written, and the destinations whose waiting deliveries were deleted."""

    events: tuple[Event, ...] = ()
    dequeued_destinations: frozenset[str] = frozenset()


def announce_due(db: Database, request: ExpiryRequest, ids: Sequence[int]) -> ExpiryOutcome:
    """Announce the completions that expire, and withdraw announcements that are no longer true.

    `ids` are the store's numbers of the records to examine. Each of them is the newest completion of one training by
    one person.
    """
    found: dict[str, tuple[int, Completion]] = {}
    for key, revision, raw in expiries.record_contents(db, ids):
        completion = read_stored(request.version, key, raw)
        if completion is not None:
            found[key] = revision, completion
    names = _names(db, request, [completion for _, completion in found.values()])
    before: dict[str, list[ExpiryRow]] = {}
    for row in expiries.announcements_of(db, request.source, list(found)):
        before.setdefault(row.key, []).append(row)
    events: list[Event] = []
    taken: set[str] = set()
    for key, (revision, completion) in found.items():
        rule = names.training_facts.get(completion.training_id)
        valid = _validity_of(db, request, completion, rule, before.get(key, ()))
        until = valid.until
        last = None
        for row in before.get(key, ()):
            if row.valid_until == until:
                last = _announced(row)
            # Without the training's rule, the end of the completion is unknown, so nothing is withdrawn.
            elif not row.renewed and (until is not None or rule is not None):
                events += _take_back(db, request, row, completion, revision, names, taken, valid)
        person = names.person_facts.get(completion.user_id)
        if until is None or person is None or has_left(person.get(PersonField.TERMINATED_ON), request.today):
            continue
        days = expiring_days_of(request.settings.expiring_within, None if rule is None else rule.expiring_days)
        due = next_announcement(last, stage_of(until, request.today, days, request.since))
        if due is None:
            continue
        expiries.store_announcement(
            db,
            request.source,
            ExpiryRow(key, until, completion.user_id, completion.training_id, due.stage, due.turn, 0),
        )
        change = Change(_TYPES[due.stage], completion, revision, DetectedBy.CALENDAR, _REASONS[due.stage])
        events += _write(db, request, change, key, until, due.turn, names, valid)
    count_detected(db, events)
    return ExpiryOutcome(tuple(events), frozenset(taken))


def retract_outdated(
    db: Database, request: ExpiryRequest, rows: Sequence[tuple[ExpiryRow, int | None]]
) -> ExpiryOutcome:
    """Withdraw announcements about records that are no longer the newest of their person and training.

    `rows` are the announcements, each with the store's number of the newest completion of its person and training (None
    if there is none).
    """
    events: list[Event] = []
    taken: set[str] = set()
    current = {(row.key, row.valid_until) for row in expiries.standing_announcements(db, request.source)}
    for row, newest in rows:
        if (row.key, row.valid_until) not in current:
            continue
        others = [] if newest is None else expiries.record_contents(db, [newest])
        if any(key == row.key for key, _, _ in others):
            continue
        known = expiries.stored_content(db, request.source, row.key)
        key, revision, raw = others[0] if others else (row.key, *(known or (0, b"{}")))
        completion = read_stored(request.version, key, raw)
        if completion is None:
            # Its content was erased, so no event can show it.
            expiries.store_announcement(db, request.source, row._replace(renewed=1))
            taken.update(expiries.withdraw(db, request.source, row.key, row.valid_until))
            continue
        names = _names(db, request, [completion])
        events += _take_back(db, request, row, completion, revision, names, taken)
    count_detected(db, events)
    return ExpiryOutcome(tuple(events), frozenset(taken))


def _take_back(
    db: Database,
    request: ExpiryRequest,
    row: ExpiryRow,
    completion: Completion,
    revision: int,
    names: Names,
    taken: set[str],
    valid: Validity | None = None,
) -> list[Event]:
    """Withdraw an announcement: delete its waiting deliveries, and write a `renewed` event that shows `completion`."""
    taken.update(expiries.withdraw(db, request.source, row.key, row.valid_until))
    expiries.store_announcement(db, request.source, row._replace(renewed=1))
    change = Change(EventType.RENEWED, completion, revision, DetectedBy.CALENDAR, NewsReason.RENEWED)
    return _write(db, request, change, row.key, row.valid_until, row.turn, names, valid)


def _validity_of(
    db: Database,
    request: ExpiryRequest,
    completion: Completion,
    rule: TrainingFacts | None,
    rows: Sequence[ExpiryRow],
) -> Validity:
    """Return until when a completion is valid: by the account's list if the source uses it, else by the record.

    If the list has no end for the completion, the record decides. If the list was not read, an end date in `rows` that
    was announced from the list stays. Otherwise, a failure to read the list would withdraw announcements, and the next
    success would make them again.
    """
    own = validity(completion.completed_on, completion.expires_on, rule)
    if request.settings.expiry_dates is not ExpiryDates.EMPLOYEE_STATUS:
        return own
    if request.listed is not None:
        end = request.listed.get((completion.user_id, completion.training_id))
        return listed_validity(completion.completed_on, end) or own
    for row in rows:
        if not row.renewed:
            said = expiries.validity_source(db, request.source, row.key, row.valid_until)
            # If the event is no longer stored, it is unknown where its date came from; it is safer to change nothing.
            if said in (None, ValiditySource.EMPLOYEE_STATUS):
                return Validity(row.valid_until, ValiditySource.EMPLOYEE_STATUS)
    return own


def _write(
    db: Database,
    request: ExpiryRequest,
    change: Change,
    key: str,
    valid_until: str,
    turn: int,
    names: Names,
    valid: Validity | None = None,
) -> list[Event]:
    """Write an event and its deliveries.

    Returns the event in a list, which is empty if the event already exists. `valid` is until when the completion is
    valid; if it is None, the record and the training's rule decide.
    """
    completion, kind = change.completion, change.type
    shown = request.settings.shown_person_fields()
    visible = names.with_person_fields(shown)
    occasion = records_by_person.occasions(db, request.source, [change]).get(completion.key)
    data = orjson.loads(event_data(change, visible, occasion))
    if valid is not None:
        data["completion"] |= {"valid_until": valid.until, "valid_until_source": valid.source}
    if kind is EventType.RENEWED:
        data["previous"] = {"key": key, "valid_until": valid_until}
    made = Event(
        0,
        expiry_event_id(request.settings.namespace(request.source), key, kind, valid_until, turn),
        kind,
        request.source,
        key,
        request.now_ms,
        orjson.dumps(_with_record(data, completion)),
    )
    if was_announced(db, made.id):
        return []
    event = events.insert(db, made, revision=change.revision, detected_by=change.detected_by, reason=change.reason)
    if event is None:
        return []
    known = KnownFacts(names.trainings.get(completion.training_id), visible.person_facts.get(completion.user_id))
    destinations = [
        it.destination
        for it in request.subscriptions
        if it.admits(kind, request.source, completion.training_id, completion.user_id, known)
    ]
    events.insert_deliveries(db, event, destinations)
    return [event]


def _with_record(data: dict[str, Any], completion: Completion) -> dict[str, Any]:
    """Return an event's data with the record's JSON added as it is, so that numbers keep their form."""
    return {**data, "record": orjson.Fragment(completion.raw)}


def _names(db: Database, request: ExpiryRequest, completions: Sequence[Completion]) -> Names:
    ids = wanted_ids(completions)
    fields = request.settings.stored_person_fields()
    return name_table.find_names(db, request.source, ids.people, ids.trainings, fields)


def _announced(row: ExpiryRow) -> LastAnnouncement:
    return LastAnnouncement(
        row.key,
        row.valid_until,
        row.user_id,
        row.training_id,
        ExpiryStage(row.stage),
        row.turn,
        bool(row.renewed),
    )
