"""Whatever happens in whatever order: the state file says of every record and event what a plain model says."""

import asyncio
import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from notifier.events import Change, Completion, DetectedBy, EventType
from notifier.store.database import Database
from notifier.store.errors import StoreError, StoreReason
from notifier.store.file.connection import FileDatabase, open_file_read_only
from notifier.store.file.store import FileStore
from notifier.store.subscriptions import Subscription
from notifier.store.tables import destinations, outbox, record_lookups, records, sources
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.records import Findings, SilentRecord
from notifier.store.tables.settlements import Settlement, store_settlements
from tests.support.completions import completion
from tests.support.new_state_file import new_state_file

SUBSCRIPTIONS = (
    Subscription("everything", frozenset(EventType)),
    Subscription("created", frozenset({EventType.CREATED})),
    Subscription("only-ana", frozenset(EventType), user_ids=frozenset({"ana"})),
)
HORIZON = 10_000
KEYS = [str(number) for number in range(12)]

keys = st.sampled_from(KEYS)
pages = st.lists(
    st.tuples(keys, st.sampled_from(["ana", "ben"]), st.booleans()), max_size=6, unique_by=lambda row: row[0]
)
destination_names = st.sampled_from([subscription.destination for subscription in SUBSCRIPTIONS])


class ChangedMyMindError(Exception):
    """What a transaction in the middle of its work fails with."""


@dataclass
class ModelRecord:
    """A record as it should be known."""

    user: str
    edits: int = 0
    revision: int = 1
    removed: bool = False


@dataclass
class ModelDelivery:
    """A delivery as it should be waiting."""

    state: DeliveryState = DeliveryState.PENDING
    next_attempt_ms: int = 0
    attempts: int = 0


@dataclass
class Model:
    """What the state file should say."""

    records: dict[str, ModelRecord] = field(default_factory=dict)
    events: list[tuple[str, EventType, int]] = field(default_factory=list)
    deliveries: dict[tuple[int, str], ModelDelivery] = field(default_factory=dict)
    attempts: int = 0


def completion_of(key: str, record: ModelRecord) -> Completion:
    raw = json.dumps({"id": key, "notes": record.edits}).encode()
    return completion(key, raw, user_id=record.user, recorded_at=None, notes=str(record.edits))


class StoreAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.model = Model()
        self.now_ms = 1000
        self.in_flight: set[tuple[int, str]] = set()

    @initialize()
    def start(self) -> None:
        self.store = FileStore(new_state_file(self.folder / "notifier.db"))
        self.runner.run(self.store.open())
        self.run(sources.read_or_create, "acme")
        for subscription in SUBSCRIPTIONS:
            self.run(destinations.read_or_create, subscription.destination)

    def teardown(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    def run(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        return self.runner.run(self.store.run(work, *args, **kwargs))

    def findings(self, page: list[tuple[str, str, bool]]) -> Findings:
        """Make of unknown records history or news, and of those that were removed news again."""
        learned, changes = [], []
        for key, user, is_news in page:
            known = self.model.records.get(key)
            if known is None and not is_news:
                learned.append(SilentRecord(completion_of(key, ModelRecord(user)), DetectedBy.SWEEP, "history"))
            elif known is None:
                changes.append(
                    Change(EventType.CREATED, completion_of(key, ModelRecord(user)), 1, DetectedBy.HEAD, "news")
                )
            elif known.removed:
                back = completion_of(key, ModelRecord(user, known.edits))
                changes.append(Change(EventType.CREATED, back, known.revision + 1, DetectedBy.HEAD, "came back"))
        return Findings("acme", "acme", learned, changes)

    def expect(self, findings: Findings) -> None:
        for learned in findings.learned:
            self.model.records[learned.completion.key] = ModelRecord(learned.completion.user_id)
        for change in findings.changes:
            self.expect_change(change)

    def expect_change(self, change: Change) -> None:
        key = change.completion.key
        self.model.events.append((key, change.type, change.revision))
        sequence = len(self.model.events)
        for subscription in SUBSCRIPTIONS:
            if subscription.admits(change.type, "acme", "1046", change.completion.user_id):
                self.model.deliveries[sequence, subscription.destination] = ModelDelivery()
        self.model.records[key] = ModelRecord(
            change.completion.user_id,
            int(change.completion.notes or 0),
            change.revision,
            removed=change.type is EventType.REMOVED,
        )

    def sequence_of(self, number: int) -> int:
        """Translate the model's count of events into the file's numbers, which may have gaps."""
        row = self.run(lambda db: db.execute("SELECT sequence FROM events ORDER BY 1 LIMIT 1 OFFSET ?", [number - 1]))
        sequence: int = row.fetchone()[0]
        return sequence

    @rule(page=pages)
    def read_a_page(self, page: list[tuple[str, str, bool]]) -> None:
        findings = self.findings(page)
        events = self.run(records.write, findings, SUBSCRIPTIONS, self.now_ms)
        assert [event.subject for event in events] == [change.completion.key for change in findings.changes]
        self.expect(findings)

    @rule(page=pages, statements=st.integers(0, 12))
    def fail_in_the_middle_of_a_page(self, page: list[tuple[str, str, bool]], statements: int) -> None:
        def write_partly(db: FileDatabase) -> None:
            left = statements

            def count(*_: Any) -> None:
                nonlocal left
                left -= 1
                if left < 0:
                    raise ChangedMyMindError

            with db.tracer(count):
                records.write(db, self.findings(page), SUBSCRIPTIONS, self.now_ms)
            raise ChangedMyMindError

        with pytest.raises(ChangedMyMindError):
            self.run(write_partly)

    @rule(page=pages, steps=st.integers(1, 60))
    def be_interrupted_within_a_statement(self, page: list[tuple[str, str, bool]], steps: int) -> None:
        def write_partly(db: FileDatabase) -> None:
            db.conn.set_progress_handler(lambda: True, steps)
            try:
                records.write(db, self.findings(page), SUBSCRIPTIONS, self.now_ms)
            finally:
                db.conn.set_progress_handler(None, 0)
            raise ChangedMyMindError

        with pytest.raises((ChangedMyMindError, sqlite3.OperationalError)):
            self.run(write_partly)

    @rule(page=pages)
    def meet_a_full_disk(self, page: list[tuple[str, str, bool]]) -> None:
        def fill(db: Database) -> None:
            db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")

        def write_much(db: Database) -> None:
            records.write(db, self.findings(page), SUBSCRIPTIONS, self.now_ms)
            db.execute("INSERT INTO people (source, id, name) VALUES ('acme', 'x', zeroblob(100000))")

        self.run(fill)
        with pytest.raises(StoreError) as caught:
            self.run(write_much)
        assert caught.value.reason is StoreReason.DISK_FULL
        self.run(lambda db: db.execute("PRAGMA max_page_count = 1000000"))

    @rule(key=keys, removes=st.booleans())
    def edit_or_remove(self, key: str, removes: bool) -> None:
        known = self.model.records.get(key)
        if known is None or known.removed:
            return
        before = completion_of(key, known)
        after = before if removes else completion_of(key, ModelRecord(known.user, known.edits + 1))
        type_ = EventType.REMOVED if removes else EventType.UPDATED
        change = Change(type_, after, known.revision + 1, DetectedBy.SWEEP, "found", None if removes else before)
        (event,) = self.run(records.write, Findings("acme", "acme", changes=[change]), SUBSCRIPTIONS, self.now_ms)
        assert event.type == type_
        self.expect_change(change)

    @rule(destination=destination_names, limit=st.integers(1, 5))
    def fetch(self, destination: str, limit: int) -> None:
        in_flight = [self.sequence_of(number) for number, name in self.in_flight if name == destination]
        found = self.due(destination, limit=limit, in_flight=in_flight)
        expected = [
            (number, destination) for number in self.waiting(destination) if (number, destination) not in self.in_flight
        ]
        assert [delivery.event.sequence for delivery in found.deliveries] == [
            self.sequence_of(number) for number, _ in expected[:limit]
        ]
        for delivery, place in zip(found.deliveries, expected, strict=False):
            assert delivery.attempts == self.model.deliveries[place].attempts
        self.in_flight.update(expected[:limit])

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        if not self.in_flight:
            return
        places = data.draw(st.lists(st.sampled_from(sorted(self.in_flight)), unique=True, min_size=1))
        batch = []
        for number, destination in places:
            state = data.draw(st.sampled_from(DeliveryState))
            wait = data.draw(st.integers(0, 3)) * 1000
            next_ms = self.now_ms + wait if state is DeliveryState.PENDING and wait else 0
            sequence = self.sequence_of(number)
            batch.append(Settlement((sequence,), destination, state, "decided", "so", 200, "", self.now_ms, 5, next_ms))
            model = self.model.deliveries[number, destination]
            self.model.deliveries[number, destination] = ModelDelivery(state, next_ms, model.attempts + 1)
        self.run(store_settlements, batch)
        self.model.attempts += len(batch)
        self.in_flight.difference_update(places)

    @rule(seconds=st.integers(1, 3))
    def wait(self, seconds: int) -> None:
        self.now_ms += seconds * 1000

    @rule()
    def restart(self) -> None:
        self.runner.run(self.store.close())
        self.in_flight.clear()
        self.start()

    def waiting(self, destination: str) -> list[int]:
        return [
            number
            for (number, name), delivery in sorted(self.model.deliveries.items())
            if name == destination
            and delivery.state is DeliveryState.PENDING
            and delivery.next_attempt_ms <= self.now_ms
        ]

    def due(self, destination: str, *, limit: int, in_flight: list[int]) -> outbox.DueDeliveries:
        found: outbox.DueDeliveries = self.run(
            outbox.read_due,
            destination,
            now_ms=self.now_ms,
            horizon_ms=self.now_ms + HORIZON,
            limit=limit,
            in_flight=in_flight,
        )
        return found

    @invariant()
    def every_event_is_there_once_and_in_order(self) -> None:
        rows = self.run(lambda db: db.execute("SELECT subject, type, revision, id FROM events ORDER BY sequence"))
        told = rows.fetchall()
        assert [(subject, type_, revision) for subject, type_, revision, _ in told] == self.model.events
        assert len({id_ for *_, id_ in told}) == len(told)

    @invariant()
    def every_event_has_one_delivery_for_each_who_wants_it(self) -> None:
        sql = (
            "SELECT (SELECT count(*) FROM events e WHERE e.sequence <= d.sequence), destination, state, attempts"
            " FROM deliveries d"
        )
        rows = self.run(lambda db: db.execute(sql)).fetchall()
        assert Counter((number, name, state, attempts) for number, name, state, attempts in rows) == Counter(
            (number, name, delivery.state, delivery.attempts)
            for (number, name), delivery in self.model.deliveries.items()
        )
        assert self.run(lambda db: db["attempts"].count) == self.model.attempts

    @invariant()
    def every_record_is_known_as_it_is(self) -> None:
        known = self.run(record_lookups.known_records, "acme", KEYS)
        assert {key: (memory.revision, memory.removed) for key, memory in known.items()} == {
            key: (record.revision, record.removed) for key, record in self.model.records.items()
        }
        existing = sum(not record.removed for record in self.model.records.values())
        assert self.run(sources.read_or_create, "acme").records == existing

    @invariant()
    def everything_due_is_found(self) -> None:
        for subscription in SUBSCRIPTIONS:
            found = self.due(subscription.destination, limit=1000, in_flight=[])
            assert len(found.deliveries) == len(self.waiting(subscription.destination))

    @invariant()
    def what_waits_was_delivered_and_died_is_counted(self) -> None:
        counted = self.run(destinations.read_all)
        for name in counted:
            states = Counter(delivery.state for (_, to), delivery in self.model.deliveries.items() if to == name)
            memory = counted[name]
            assert (memory.pending, memory.delivered, memory.dead) == tuple(
                states[state] for state in (DeliveryState.PENDING, DeliveryState.DELIVERED, DeliveryState.DEAD)
            )

    @rule()
    def look_from_outside(self) -> None:
        with closing(open_file_read_only(self.store.path)) as reader:
            answers = {view: list(reader[view].rows) for view in reader.view_names()}
            assert len(answers["known_completions"]) == len(self.model.records)
            assert len(answers["latest_events"]) == len(self.model.events)
            states = Counter(delivery.state for delivery in self.model.deliveries.values())
            assert len(answers["waiting_deliveries"]) == states[DeliveryState.PENDING]
            assert len(answers["dead_deliveries"]) == states[DeliveryState.DEAD]
            assert reader.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


StoreAgainstModel.TestCase.settings = settings(max_examples=12, stateful_step_count=30, deadline=None)
TestStoreAgainstModel = StoreAgainstModel.TestCase
