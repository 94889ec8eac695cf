"""Announces that completions run out, by a daily round over the store; it makes no request to the API.

Of the completions of one training by one person, only the newest counts. An announcement, its deliveries and the note
that it was made are written in one transaction, so that it is made exactly once, even if the process is killed. After
an event about a person and a training with an announced end, this pair is examined again at once. The first round after
a start examines all pairs.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import orjson

from notifier.clock import Clock
from notifier.config import Settings, SourceSettings
from notifier.events import Change, Completion, DetectedBy, Event, EventType, Names, event_data, expiry_event_id
from notifier.facts import PersonField, validity
from notifier.kpa.versions import API_VERSIONS, RecordFormat
from notifier.store.database import Database
from notifier.store.errors import StoreError
from notifier.store.store import Store
from notifier.store.subscriptions import KnownFacts, Subscription
from notifier.store.tables import expiries, known_ids
from notifier.store.tables import names as name_table
from notifier.store.tables.expiries import ExpiryRow, PresentRecord
from notifier.store.tables.names import NameList
from notifier.store.tables.rollups import count_detected
from notifier.watch.detection.expiry import (
    Announced,
    ExpiryStage,
    has_left,
    next_announcement,
    stage_of,
    within_days,
)
from notifier.watch.detection.news import NewsReason
from notifier.watch.ingest_transaction import read_stored
from notifier.watch.name_cache import facts_wanted, wanted

_log = logging.getLogger(__name__)

EVERY_SECONDS: Final = 30.0
"""Seconds between two checks whether a round is due, or a pair has to be examined again."""

_AT_ONCE: Final = 500
"""The most records judged in one transaction."""

_ENDS: Final = (EventType.EXPIRING, EventType.EXPIRED, EventType.RENEWED)
_REASONS: Final = {ExpiryStage.EXPIRING: NewsReason.RUNS_OUT, ExpiryStage.EXPIRED: NewsReason.RAN_OUT}
_TYPES: Final = {ExpiryStage.EXPIRING: EventType.EXPIRING, ExpiryStage.EXPIRED: EventType.EXPIRED}

Pair = tuple[str, str]
"""A person's and a training's id."""


@dataclass(frozen=True, slots=True)
class ExpiryRequest:
    """Everything that the store's thread needs to judge completions of one source."""

    source: str
    settings: SourceSettings
    subscriptions: Sequence[Subscription]
    today: date
    since: date
    now_ms: int

    @property
    def version(self) -> RecordFormat:
        """The format of the stored records."""
        return API_VERSIONS[self.settings.api]


@dataclass(frozen=True, slots=True)
class ExpiryOutcome:
    """The events written, and the destinations whose waiting deliveries were taken back."""

    events: tuple[Event, ...] = ()
    taken_from: frozenset[str] = frozenset()


def local_day(ms: int) -> date:
    """Return the day of a moment (Unix ms) in the machine's time zone."""
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone().date()


class ExpiryRounds:
    """Does the daily rounds of all sources for which the setting `expiry` is on."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: Callable[[], Settings],
        subscriptions: Callable[[], Sequence[Subscription]],
        on_events: Callable[[Sequence[Event]], None],
        on_taken_back: Callable[[Collection[str]], None],
    ) -> None:
        """Initialize with functions that return the present settings and subscriptions.

        `on_events` gets new events. `on_taken_back` gets the names of destinations whose waiting deliveries were
        deleted.
        """
        self._store = store
        self._clock = clock
        self._settings = settings
        self._subscriptions = subscriptions
        self._on_events = on_events
        self._on_taken_back = on_taken_back
        self._done: dict[str, date] = {}
        self._touched: dict[str, set[Pair]] = {}
        self._waits: set[str] = set()

    def note(self, events: Iterable[Event]) -> None:
        """Remember the pairs of a person and a training that these events are about."""
        sources = self._settings().sources
        for event in events:
            if event.type in _ENDS or event.source not in sources or not sources[event.source].expiry:
                continue
            data = orjson.loads(event.data)
            completion, old = data["completion"], data["previous"] or {}
            pairs = self._touched.setdefault(event.source, set())
            pairs.add((completion["user_id"], completion["training_id"]))
            pairs.add((old.get("user_id", completion["user_id"]), old.get("training_id", completion["training_id"])))

    async def look(self) -> None:
        """Do the rounds that are due; after a failed write, the next call continues."""
        sources = {name: source for name, source in self._settings().sources.items() if source.expiry}
        self._done = {name: day for name, day in self._done.items() if name in sources}
        try:
            await self._store.run(expiries.keep_only, list(sources))
            for name, source in sources.items():
                await self._look_at(name, source)
        except StoreError as error:
            # The parts that use the store all the time report the same error.
            _log.debug(error.message, extra={"reason": error.reason})

    async def _look_at(self, name: str, source: SourceSettings) -> None:
        now_ms = self._clock.now_ms()
        today = local_day(now_ms)
        since, last = await self._store.run(expiries.begin, name, today.isoformat())
        request = ExpiryRequest(name, source, self._subscriptions(), today, date.fromisoformat(since), now_ms)
        if self._done.get(name) != today:
            if last is None and not await self._store.run(_is_ready, name, source):
                if name not in self._waits:
                    self._waits.add(name)
                    _log.info(
                        "the first round of expiry waits for the first sweep and the lists of names",
                        extra={"source": name},
                    )
                return
            self._touched.pop(name, None)
            newest = await self._newest(name)
            await self._judge_all(request, newest)
            await self._store.run(expiries.finish, name, today.isoformat())
            self._done[name] = today
        elif pairs := self._touched.pop(name, None):
            try:
                await self._judge_pairs(request, pairs)
            except StoreError:
                self._touched.setdefault(name, set()).update(pairs)
                raise

    async def _newest(self, name: str) -> dict[Pair, PresentRecord]:
        """Return the newest present completion of every person and training."""
        found: dict[Pair, PresentRecord] = {}
        after = 0
        while records := await self._store.run(expiries.present, name, after):
            _keep_newest(found, records)
            after = records[-1].id
            if len(records) < expiries.LOOK:
                break
            await asyncio.sleep(0)
        return found

    async def _judge_all(self, request: ExpiryRequest, newest: Mapping[Pair, PresentRecord]) -> None:
        ids = sorted(record.id for record in newest.values())
        for first in range(0, len(ids), _AT_ONCE):
            self._tell(await self._store.run(judge, request, ids[first : first + _AT_ONCE]))
        rows = await self._store.run(expiries.standing, request.source)
        await self._retract(request, rows, newest)

    async def _judge_pairs(self, request: ExpiryRequest, pairs: set[Pair]) -> None:
        rows = await self._store.run(expiries.standing, request.source)
        # Only these can have to be taken back. What newly runs out is found by the next round.
        concerned = [row for row in rows if (row.user_id, row.training_id) in pairs]
        if not concerned:
            return
        there = {(row.user_id, row.training_id) for row in concerned}
        newest: dict[Pair, PresentRecord] = {}
        _keep_newest(newest, await self._store.run(expiries.present_of, request.source, there))
        self._tell(await self._store.run(judge, request, sorted(record.id for record in newest.values())))
        await self._retract(request, concerned, newest)

    async def _retract(
        self, request: ExpiryRequest, rows: Sequence[ExpiryRow], newest: Mapping[Pair, PresentRecord]
    ) -> None:
        ids = {pair: record.id for pair, record in newest.items()}
        for first in range(0, len(rows), _AT_ONCE):
            chunk = [(row, ids.get((row.user_id, row.training_id))) for row in rows[first : first + _AT_ONCE]]
            self._tell(await self._store.run(retract, request, chunk))

    def _tell(self, outcome: ExpiryOutcome) -> None:
        if outcome.taken_from:
            self._on_taken_back(outcome.taken_from)
        if outcome.events:
            self._on_events(outcome.events)


def _keep_newest(found: dict[Pair, PresentRecord], records: Iterable[PresentRecord]) -> None:
    for record in records:
        pair = record.user_id, record.training_id
        if pair not in found or record.order > found[pair].order:
            found[pair] = record


def _is_ready(db: Database, source: str, settings: SourceSettings) -> bool:
    """Return whether all completions have been read, and the lists of people (who has left) and trainings as well."""
    row = db.execute("SELECT swept_at FROM sources WHERE name = ?", [source]).fetchone()
    if row is None or row[0] is None:
        return False
    fetched = name_table.fetched(db, source)
    facts = facts_wanted(settings)
    return all(
        fetched.get(names, (0, None))[1] == facts[names] and known_ids.names_are_fetched(db, [source], names)
        for names in (NameList.PEOPLE, NameList.TRAININGS)
    )


def judge(db: Database, request: ExpiryRequest, ids: Sequence[int]) -> ExpiryOutcome:
    """Announce what is due about these newest completions (row numbers), in the caller's transaction."""
    found: dict[str, tuple[int, Completion]] = {}
    for key, revision, raw in expiries.contents(db, ids):
        completion = read_stored(request.version, key, raw)
        if completion is not None:
            found[key] = revision, completion
    names = _names(db, request, [completion for _, completion in found.values()])
    before: dict[str, list[ExpiryRow]] = {}
    for row in expiries.of_keys(db, request.source, list(found)):
        before.setdefault(row.key, []).append(row)
    events: list[Event] = []
    taken: set[str] = set()
    for key, (revision, completion) in found.items():
        rule = names.training_facts.get(completion.training_id)
        until = validity(completion.completed_on, completion.expires_on, rule).until
        same = None
        for row in before.get(key, ()):
            if row.valid_until == until:
                same = _announced(row)
            # Without the training's rule nothing is known about the end, so nothing is taken back.
            elif not row.renewed and (until is not None or rule is not None):
                events += _renew(db, request, row, completion, revision, names, taken)
        person = names.person_facts.get(completion.user_id)
        if until is None or person is None or has_left(person.get(PersonField.TERMINATED_ON), request.today):
            continue
        days = within_days(request.settings.expiring_within, None if rule is None else rule.expiring_days)
        told = next_announcement(same, stage_of(until, request.today, days, request.since))
        if told is None:
            continue
        expiries.remember(
            db,
            request.source,
            ExpiryRow(key, until, completion.user_id, completion.training_id, told.stage, told.turn, 0),
        )
        change = Change(_TYPES[told.stage], completion, revision, DetectedBy.CALENDAR, _REASONS[told.stage])
        events += _write(db, request, change, key, until, told.turn, names)
    count_detected(db, events)
    return ExpiryOutcome(tuple(events), frozenset(taken))


def retract(db: Database, request: ExpiryRequest, rows: Sequence[tuple[ExpiryRow, int | None]]) -> ExpiryOutcome:
    """Take back the announcements about records that are not the newest ones any more.

    With each row comes the number of the newest completion of its person and training; None if there is none.
    """
    events: list[Event] = []
    taken: set[str] = set()
    current = {(row.key, row.valid_until) for row in expiries.standing(db, request.source)}
    for row, newest in rows:
        if (row.key, row.valid_until) not in current:
            continue
        others = [] if newest is None else expiries.contents(db, [newest])
        if any(key == row.key for key, _, _ in others):
            continue
        known = expiries.last_known(db, request.source, row.key)
        key, revision, raw = others[0] if others else (row.key, *(known or (0, b"{}")))
        completion = read_stored(request.version, key, raw)
        if completion is None:
            # Its content was erased, so there is nothing to tell.
            expiries.remember(db, request.source, row._replace(renewed=1))
            taken.update(expiries.take_back(db, request.source, row.key, row.valid_until))
            continue
        names = _names(db, request, [completion])
        events += _renew(db, request, row, completion, revision, names, taken)
    count_detected(db, events)
    return ExpiryOutcome(tuple(events), frozenset(taken))


def _renew(
    db: Database,
    request: ExpiryRequest,
    row: ExpiryRow,
    completion: Completion,
    revision: int,
    names: Names,
    taken: set[str],
) -> list[Event]:
    """Take back an announcement: delete its waiting deliveries, and write an event that shows `completion` instead."""
    taken.update(expiries.take_back(db, request.source, row.key, row.valid_until))
    expiries.remember(db, request.source, row._replace(renewed=1))
    change = Change(EventType.RENEWED, completion, revision, DetectedBy.CALENDAR, NewsReason.RENEWED)
    return _write(db, request, change, row.key, row.valid_until, row.turn, names)


def _write(
    db: Database, request: ExpiryRequest, change: Change, key: str, valid_until: str, turn: int, names: Names
) -> list[Event]:
    """Write an event and its deliveries; return it, or nothing if it was told before."""
    completion, kind = change.completion, change.type
    shown = request.settings.shown_person_fields()
    visible = names.showing(shown)
    data = orjson.loads(event_data(change, visible))
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
    event = expiries.insert_event(db, made, change.revision, change.reason, change.net)
    if event is None:
        return []
    known = KnownFacts(names.trainings.get(completion.training_id), visible.person_facts.get(completion.user_id))
    wanting = [
        it.destination
        for it in request.subscriptions
        if it.admits(kind, request.source, completion.training_id, completion.user_id, known)
    ]
    expiries.deliver(db, event, wanting)
    return [event]


def _with_record(data: dict[str, Any], completion: Completion) -> dict[str, Any]:
    """Return an event's data with the record's JSON, which is not parsed, so that its numbers stay as they are."""
    return {**data, "record": orjson.Fragment(completion.raw)}


def _names(db: Database, request: ExpiryRequest, completions: Sequence[Completion]) -> Names:
    ids = wanted(completions)
    fields = request.settings.stored_person_fields()
    return name_table.find(db, request.source, ids.people, ids.trainings, fields)


def _announced(row: ExpiryRow) -> Announced:
    return Announced(
        row.key,
        row.valid_until,
        row.user_id,
        row.training_id,
        ExpiryStage(row.stage),
        row.turn,
        bool(row.renewed),
    )
