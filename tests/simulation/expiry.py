"""Simulates the expiry of completions: the real expiry rounds and a real state file, in virtual time.

Each seed makes a story. People enter, edit and delete completions, and leave; trainings change their renewal rule; the
machine sleeps; the process is killed before any of its transactions. Properties are checked after each day.
"""

import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

import orjson
from msgspec.structs import replace

from notifier.config import Settings
from notifier.delivery.subscriptions import subscriptions_of
from notifier.events import Change, Completion, DetectedBy, Event, EventType, Names
from notifier.facts import ListedEnd, PersonField, TrainingFacts, months_later
from notifier.kpa.employee_status import StatusPage
from notifier.kpa.errors import ApiError, ApiErrorReason
from notifier.kpa.versions import API_VERSIONS
from notifier.sandbox.records import Dialect, Record, Version, date_number, format_record
from notifier.store.database import Database
from notifier.store.tables import names, records, sources
from notifier.store.tables.names import NameList, PersonName
from notifier.store.tables.records import Findings
from notifier.watch.detection.news import NewsReason
from notifier.watch.expiry_rounds import ExpiryRounds, local_day
from notifier.watch.name_cache import wanted_facts
from tests.simulation.account import day_text, training, user_id
from tests.support.clocks import FakeClock
from tests.support.virtual_time import ThreadlessStore, VirtualTimeLoop

P = ParamSpec("P")
T = TypeVar("T")

Pair = tuple[str, str]
Announcement = tuple[str, str]
"""A record's key, and the expiry date that was announced."""

_SOURCE: Final = "acme"
_PEOPLE: Final = 4
_RULES: Final = (TrainingFacts("rolling", 12, 30), TrainingFacts("rolling", 1, 7), TrainingFacts("once", 0, None))
_DEFAULT_DAYS: Final = 30
_DAY_SECONDS: Final = 86_400.0
_ENDS: Final = (EventType.EXPIRING, EventType.EXPIRED)


class KilledError(Exception):
    """The process was killed before a transaction."""


class KillableStore(ThreadlessStore):
    """A store whose process is killed after `transactions_left` more transactions (None: never)."""

    transactions_left: int | None = None

    async def run(self, work: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self.transactions_left is not None:
            self.transactions_left -= 1
            if self.transactions_left < 0:
                raise KilledError
        return await super().run(work, *args, **kwargs)


@dataclass
class ExpiryWorld:
    """A simulated account, the expiry rounds that watch it, and the events that they have written."""

    store: KillableStore
    chance: random.Random
    clock: FakeClock = field(default_factory=FakeClock)
    present: dict[int, Record] = field(default_factory=dict)
    rules: dict[int, TrainingFacts] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    events: list[Event] = field(default_factory=list)
    announced: dict[Announcement, str] = field(default_factory=dict)
    """The type of the latest event for each announcement that no `renewed` event has revoked."""
    revisions: dict[int, int] = field(default_factory=dict)
    follows_list: bool = False
    """Whether the dates of the employee status list take precedence over the records."""
    list_ends: dict[Pair, ListedEnd] = field(default_factory=dict)
    list_fails: bool = False
    kills: int = 0

    def __post_init__(self) -> None:
        dates = {"expiry_dates": "employee_status"} if self.follows_list else {}
        self.settings = Settings.model_validate(
            {
                "sources": {_SOURCE: {"token": "t", "expiry": True} | dates},
                "destinations": {
                    "hr": {
                        "type": "http",
                        "url": "http://127.0.0.1:9/",
                        "events": ["completion.expiring", "completion.expired", "completion.renewed"],
                    }
                },
            }
        )
        self.since = self.today
        self.rules = {training(number).v2: rule for number, rule in enumerate(_RULES)}
        self._next_id = 1
        self.start()

    @property
    def today(self) -> date:
        return local_day(self.clock.now_ms())

    def start(self) -> None:
        """Start the expiry rounds, as a new process does."""
        wanted = subscriptions_of(self.settings.destinations)
        self.rounds = ExpiryRounds(
            self.store,
            self.clock,
            lambda: self.settings,
            lambda: wanted,
            lambda _events: None,
            lambda _names: None,
            lambda _source: self._list_page,
        )

    async def _list_page(self, number: int, _most: int) -> StatusPage:
        """Return a page of the employee status list, with one person. If the list fails, only the first page works."""
        await asyncio.sleep(0.01)
        if self.list_fails and number > 1:
            raise ApiError(ApiErrorReason.TIMEOUT, "no answer")
        user = user_id(number - 1)
        ends = {training: end for (person, training), end in self.list_ends.items() if person == user}
        return StatusPage({user: ends}, is_last=number == _PEOPLE)

    async def begin(self) -> None:
        """Prepare the state file as after the first sweep and the first reading of names."""
        await self.store.run(sources.read_or_create, _SOURCE)
        await self.store.run(_mark_swept, self.settings)
        await self._learn_names()
        # Expiry dates from today on are announced.
        await self._run_rounds()

    # What happens in the account

    async def perform_random_action(self) -> None:
        """Make a random change in the account, and write it into the state file.

        If the process is killed before the change is written, the change is undone.
        """
        before = {**self.present}, {*self.left}, {**self.revisions}
        actions = [self._enter, self._enter, self._enter, self._edit, self._delete, self._toggle_leaving]
        action = self.chance.choice(
            [*actions, self._change_status_list, self._change_status_list] if self.follows_list else actions
        )
        try:
            changes = action()
            await self._learn_names()
            written = await self.store.run(_write, self.settings, changes, self.clock.now_ms())
        except KilledError:
            self.present, self.left, self.revisions = before
            raise
        if self.chance.random() < 0.05:
            raise KilledError
        self.rounds.note_events(written)

    def _enter(self) -> list[Change]:
        record = Record(
            id=self._next_id,
            user=user_id(self.chance.randrange(_PEOPLE)),
            training=training(self.chance.randrange(len(_RULES))),
            created=self.clock.now_ms(),
            date_number=date_number(self.today - timedelta(days=self.chance.choice((0, 0, 3, 20, 350)))),
            expiry=self._random_expiry_date(),
        )
        self._next_id += 1
        self.present[record.id] = record
        return [self._change(EventType.CREATED, record, NewsReason.ENTERED_SINCE)]

    def _random_expiry_date(self) -> int | None:
        if self.chance.random() < 0.5:
            return None
        return date_number(self.today + timedelta(days=self.chance.choice((-5, 0, 1, 7, 30, 31, 60))))

    def _edit(self) -> list[Change]:
        if not self.present:
            return []
        before = self.present[self.chance.choice(sorted(self.present))]
        after = self.chance.choice(
            (
                replace(before, expiry=self._random_expiry_date()),
                replace(before, user=user_id(self.chance.randrange(_PEOPLE))),
                replace(before, date_number=date_number(self.today - timedelta(days=self.chance.randrange(40)))),
            )
        )
        if after == before:
            return []
        self.present[before.id] = after
        change = self._change(EventType.UPDATED, after, NewsReason.CONTENT_CHANGED)
        return [replace(change, previous=_completion(before))]

    def _delete(self) -> list[Change]:
        if not self.present:
            return []
        record = self.present.pop(self.chance.choice(sorted(self.present)))
        return [self._change(EventType.REMOVED, record, NewsReason.GONE)]

    def _toggle_leaving(self) -> list[Change]:
        """Let a random person leave, or come back."""
        self.left ^= {user_id(self.chance.randrange(_PEOPLE))}
        return []

    def _change_status_list(self) -> list[Change]:
        """Change random entries of the employee status list: set or remove their expiry dates."""
        for pair, record in self.newest().items():
            if self.chance.random() < 0.3:
                self.list_ends.pop(pair, None)
            elif (end := self._random_expiry_date()) is not None:
                self.list_ends[pair] = ListedEnd(day_text(record.date_number), day_text(end))
        return []

    def _change(self, kind: EventType, record: Record, reason: NewsReason) -> Change:
        revision = self.revisions[record.id] = self.revisions.get(record.id, 0) + 1
        return Change(kind, _completion(record), revision, DetectedBy.HEAD, reason)

    async def _learn_names(self) -> None:
        people = [
            PersonName(
                user_id(number),
                f"Person {number}",
                None,
                {str(PersonField.TERMINATED_ON): "2026-01-01" if user_id(number) in self.left else None},
            )
            for number in range(_PEOPLE)
        ]
        await self.store.run(names.store_people, _SOURCE, people)
        titles = [(str(number), f"Training {number}") for number in self.rules]
        facts = {str(number): rule for number, rule in self.rules.items()}
        await self.store.run(names.store_trainings, _SOURCE, titles, facts)

    # What the program does

    async def pass_day(self) -> None:
        """Let one or more days pass, with random changes, expiry rounds and kills; then check the properties."""
        self.clock.advance(_DAY_SECONDS * self.chance.choice((1, 1, 1, 1, 1, 2, 20)))
        self.list_fails = self.chance.random() < 0.2
        await self._run_killable(self._run_rounds)
        await self._run_rounds()
        await self._read_new_events()
        self._check_announcements_are_true()
        self._check_announcements_are_complete()
        told = len(self.events)
        self.start()
        await self._run_rounds()
        await self._read_new_events()
        assert len(self.events) == told, "a second round of the same day tells more"
        for _ in range(self.chance.choice((0, 0, 1, 2, 4))):
            await self._run_killable(self.perform_random_action)
            await self._run_killable(self._run_rounds)
        await self._run_rounds()
        await self._read_new_events()
        self._check_announcements_are_true()

    async def _run_rounds(self) -> None:
        """Run the due expiry rounds, and wait until they have finished."""
        await self.rounds.run_due_rounds()
        await self.rounds.wait_for_readings()
        await self.rounds.run_due_rounds()

    async def _run_killable(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work`, in which the process may be killed. After a kill, start it again."""
        self.store.transactions_left = self.chance.randrange(12) if self.chance.random() < 0.2 else None
        try:
            await work()
        except KilledError:
            self.kills += 1
            self.store.transactions_left = None
            await self.rounds.stop()
            self.start()
            await self._learn_names()
        finally:
            self.store.transactions_left = None

    async def _read_new_events(self) -> None:
        """Read the new events, and update `announced` from them."""
        last = self.events[-1].sequence if self.events else 0
        for event in await self.store.run(_events_after, last):
            self.events.append(event)
            data = orjson.loads(event.data)
            if event.type == EventType.RENEWED:
                told = (event.subject, data["previous"]["valid_until"])
                assert self.announced.pop(told, None), f"{told} was withdrawn and does not stand"
            elif event.type in _ENDS:
                told = (event.subject, data["completion"]["valid_until"])
                before = self.announced.get(told)
                assert (before, event.type) in {
                    (None, EventType.EXPIRING),
                    (None, EventType.EXPIRED),
                    (EventType.EXPIRING, EventType.EXPIRED),
                }, f"{told} was told as {event.type} after {before}"
                self.announced[told] = event.type

    # What must hold

    def newest(self) -> dict[Pair, Record]:
        """Return the newest completion of each person and training."""
        found: dict[Pair, Record] = {}
        for record in sorted(self.present.values(), key=lambda it: (it.date_number, it.created, it.id)):
            found[record.user, str(record.training.v2)] = record
        return found

    def _check_announcements_are_true(self) -> None:
        """Check that only expiry dates of the newest completions are announced, and only one for each.

        With an employee status list, a date may be outdated, because it holds until the list shows another date.
        """
        keys = {str(record.id) for record in self.newest().values()}
        assert not {key for key, _ in self.announced} - keys, "ends are announced of what is not the newest any more"
        counts = Counter(key for key, _ in self.announced)
        assert not [key for key, count in counts.items() if count > 1], "two ends of one completion are announced"
        if not self.follows_list:
            true = {(str(record.id), self._record_end_date(record)) for record in self.newest().values()}
            assert not self.announced.keys() - true, "ends are announced that are none any more"

    def _check_announcements_are_complete(self) -> None:
        """Check, after a round, that each expiry date is announced correctly, except those of people who have left."""
        for pair, record in self.newest().items():
            until = self._end_date(pair, record)
            if record.user in self.left or until is None or self._is_unread(pair):
                continue
            stage = self._expected_announcement(date.fromisoformat(until), self.rules[record.training.v2])
            said = self.announced.get((str(record.id), until))
            assert said == stage, f"{record.id} until {until} is {stage}, and told as {said}"

    def _is_unread(self, pair: Pair) -> bool:
        return self.follows_list and self.list_fails and pair[0] != user_id(0)

    def _end_date(self, pair: Pair, record: Record) -> str | None:
        listed = self.list_ends.get(pair)
        if self.follows_list and listed is not None and listed.completed_on == day_text(record.date_number):
            return listed.until
        return self._record_end_date(record)

    def _record_end_date(self, record: Record) -> str | None:
        if record.expiry is not None:
            return day_text(record.expiry)
        rule = self.rules[record.training.v2]
        if rule.schedule_type != "rolling" or not rule.renewal_months:
            return None
        return months_later(day_text(record.date_number), rule.renewal_months)

    def _expected_announcement(self, until: date, rule: TrainingFacts) -> str | None:
        if until < self.since:
            return None
        if until < self.today:
            return EventType.EXPIRED
        days = _DEFAULT_DAYS if rule.expiring_days is None else rule.expiring_days
        return EventType.EXPIRING if (until - self.today).days <= days else None


def _completion(record: Record) -> Completion:
    (found,), _ = API_VERSIONS["v2"].parse([format_record(record, Version.V2, Dialect())])
    return found


def _mark_swept(db: Database, settings: Settings) -> None:
    db.execute("UPDATE sources SET swept_at = 1 WHERE name = ?", [_SOURCE])
    for name, facts in wanted_facts(settings.sources[_SOURCE]).items():
        names.store_fetch(db, _SOURCE, NameList(name), 1, "ok", facts)


def _write(db: Database, settings: Settings, changes: Sequence[Change], now_ms: int) -> list[Event]:
    findings = Findings(_SOURCE, settings.sources[_SOURCE].namespace(_SOURCE), changes=changes, names=Names())
    return records.write(db, findings, subscriptions_of(settings.destinations), now_ms)


def _events_after(db: Database, sequence: int) -> list[Event]:
    rows = db.execute(
        "SELECT sequence, id, type, source, subject, detected_at, data FROM events WHERE sequence > ? ORDER BY 1",
        [sequence],
    )
    return [
        Event(sequence, id_, kind, source, subject, time_ms, data.encode())
        for sequence, id_, kind, source, subject, time_ms, data in rows
    ]


def _deliveries(db: Database) -> list[int]:
    return [row[0] for row in db.execute("SELECT sequence FROM deliveries")]


def run_story(seed: int, days: int = 120, *, follows_list: bool = False) -> ExpiryWorld:
    """Run the story of a seed, and check its properties after each day."""

    async def perform() -> ExpiryWorld:
        with tempfile.TemporaryDirectory() as folder:
            store = KillableStore(Path(folder) / "notifier.db")
            await store.open()
            world = ExpiryWorld(store, random.Random(seed), follows_list=follows_list)
            await world.begin()
            for _ in range(days):
                await world.pass_day()
            rows = await store.run(_deliveries)
            ids = {event.sequence for event in world.events if event.type in {*_ENDS, EventType.RENEWED}}
            assert set(rows) <= ids
            assert len(rows) == len(set(rows))
            await store.close()
            return world

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(perform())
