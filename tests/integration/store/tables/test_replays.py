"""A replay in the store: whatever else happens, it puts each event back into the queue once and omits none."""

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from notifier.events import EventType
from notifier.store.database import Database
from notifier.store.file.store import FileStore
from notifier.store.subscriptions import Subscription
from notifier.store.tables import replays, requeue, retention, sources
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.replays import ReplayRunningError, ReplayState, ReplayTarget, StepResult
from notifier.store.tables.requeue import ReplayPlan, ReplayRange
from notifier.store.tables.settlements import Settlement, store_settlements
from tests.integration.store.conftest import WriteEvents
from tests.support.tables_in_memory import tables_in_memory

ALL = frozenset(str(type_) for type_ in EventType)
HR, IT = Subscription("hr", ALL), Subscription("it", ALL, sources=frozenset({"acme"}))
BOTH = {it.destination: it for it in (HR, IT)}
NOW = 1000
REPOSITORY = Path(__file__).parents[4]

LOGGED = """
CREATE TABLE put_back (sequence, destination);
CREATE TRIGGER again AFTER UPDATE ON deliveries WHEN old.state <> 'pending' AND new.state = 'pending'
    BEGIN INSERT INTO put_back VALUES (new.sequence, new.destination); END;
CREATE TRIGGER second AFTER INSERT ON deliveries
    BEGIN INSERT INTO put_back VALUES (new.sequence, new.destination); END;
"""
"""Logs in the same transaction what goes into the queue."""


def add_event(db: Database, number: int, detected_ms: int = NOW, source: str = "acme") -> None:
    db.execute(
        "INSERT INTO events (sequence, id, type, source, subject, revision, net, reason, detected_at, data)"
        " VALUES (?, ?, 'completion.created', ?, '1', 1, 'head', '', ?, '{\"completion\": {}}')",
        [number, f"evt_{number}", source, detected_ms],
    )


def counted(db: Database, past: ReplayRange, *subscriptions: Subscription) -> ReplayPlan:
    plan = ReplayPlan()
    while plan.sequence < past.last:
        plan = requeue.extend_plan(db, past, subscriptions, plan)
    return plan


def begin(db: Database, *subscriptions: Subscription, **past: Any) -> int:
    meant = ReplayRange(
        **{
            "since_ms": 0,
            "until_ms": NOW + 1,
            "last": requeue.newest_event_number(db),
            "attempt": requeue.newest_attempt_number(db),
            **past,
        }
    )
    return replays.start(db, meant, counted(db, meant, *subscriptions), NOW)


# One step after the other


def test_start_stores_the_range_and_the_plan_of_a_replay(db: Database, write_events: WriteEvents) -> None:
    write_events(db, "1", "2", "3", to=("hr", "it"))
    db.execute("UPDATE deliveries SET state = 'delivered' WHERE destination = 'hr' OR sequence = 1")
    number = begin(db, HR, IT, source="acme", type="completion.created")
    (memory,) = replays.latest(db)
    assert [memory] == replays.running(db)
    assert (memory.id, memory.state, memory.events, memory.begun_ms, memory.ended_ms) == (
        number,
        "running",
        3,
        NOW,
        None,
    )
    assert memory.past == ReplayRange(0, NOW + 1, 3, "acme", "completion.created", 0)
    assert memory.parts == (
        ReplayTarget("hr", ReplayState.RUNNING, 3, 0, 0),
        ReplayTarget("it", ReplayState.RUNNING, 1, 0, 0),
    )
    with pytest.raises(ReplayRunningError, match="`hr`"):
        begin(db, HR)


def test_replay_advances_with_each_step_and_ends_with_its_last_part(db: Database, write_events: WriteEvents) -> None:
    write_events(db, "1", "2", "3", to=("hr", "it"))
    db.execute("UPDATE deliveries SET state = 'delivered'")
    number = begin(db, HR, IT)
    assert replays.advance(db, number, HR, NOW, 2) == StepResult(2, has_advanced=True, is_over=False)
    assert replays.advance(db, number, HR, NOW, 2) == StepResult(0, has_advanced=False, is_over=False)
    assert replays.advance(db, number, HR, NOW, 3) == StepResult(1, has_advanced=True, is_over=True)
    assert replays.advance(db, number, HR, NOW) == StepResult(0, has_advanced=False, is_over=True)
    assert replays.advance(db, number, Subscription("new", ALL), NOW) == StepResult(0, has_advanced=False, is_over=True)
    replays.end_removed_part(db, number, "it", NOW + 5)
    (memory,) = replays.latest(db)
    assert (memory.state, memory.ended_ms, memory.queued, memory.planned) == (ReplayState.DONE, NOW + 5, 3, 6)
    assert [part.state for part in memory.parts] == [ReplayState.DONE, ReplayState.REMOVED]
    assert memory.unfinished == ()


def test_replays_to_different_destinations_run_side_by_side(db: Database, write_events: WriteEvents) -> None:
    write_events(db, "1", "2", to=("hr", "it"))
    db.execute("UPDATE deliveries SET state = 'delivered'")
    first, second = begin(db, HR), begin(db, IT)
    assert [memory.id for memory in replays.running(db)] == [first, second]
    with pytest.raises(ReplayRunningError, match="`it`"):
        begin(db, IT)
    assert replays.advance(db, second, IT, NOW).is_over
    db.execute("UPDATE deliveries SET state = 'delivered'")
    third = begin(db, IT)
    # The latest one, the one before it, and the one that is still running.
    assert [memory.id for memory in replays.latest(db)] == [third, second, first]
    assert replays.stop(db, NOW) == [first, third]


def test_stopped_replay_does_not_advance_and_the_latest_two_are_kept(db: Database, write_events: WriteEvents) -> None:
    write_events(db, "1", "2")
    db.execute("UPDATE deliveries SET state = 'delivered'")
    for expected in range(1, 4):
        number = begin(db, HR)
        assert replays.stop(db, NOW, number + 1) == []
        assert replays.stop(db, NOW + 7, number if expected % 2 else None) == [number]
        assert replays.advance(db, number, HR, NOW) == StepResult(0, has_advanced=False, is_over=True)
        assert replays.stop(db, NOW) == []
    newest, before = replays.latest(db)
    assert (newest.id, before.id) == (3, 2)
    assert (newest.state, newest.ended_ms, newest.queued) == (ReplayState.STOPPED, NOW + 7, 0)
    assert [part.state for part in newest.unfinished] == [ReplayState.STOPPED]
    assert db.execute("SELECT count(*) FROM replay_parts").fetchone() == (2,)


def test_retention_keeps_the_events_that_a_replay_has_not_reached(db: Database) -> None:
    for number in range(1, 9):
        add_event(db, number, detected_ms=number)
    number = begin(db, HR, since_ms=3, until_ms=7)
    assert retention.delete_old_events(db, NOW).events == 4
    replays.advance(db, number, HR, NOW, 2)
    assert retention.delete_old_events(db, NOW).events == 0
    db.execute("UPDATE deliveries SET state = 'delivered'")
    assert retention.delete_old_events(db, NOW).events == 2
    replays.stop(db, NOW)
    assert retention.delete_old_events(db, NOW).events == 2


# Anything in any order

names = st.sampled_from(sorted(BOTH))


class CutOffError(Exception):
    """Raised to interrupt a transaction in the middle of its work."""


class ReplaysAgainstModel(RuleBasedStateMachine):
    """Tracks for each step of the running replay what it put back, and what it may omit."""

    @initialize(events=st.integers(1, 20))
    def start(self, events: int) -> None:
        self.look = pytest.MonkeyPatch()
        self.look.setattr(requeue, "EXAMINED_AT_ONCE", 3)
        self.db = tables_in_memory()
        # As in the store: each transaction begins and ends with an explicit statement.
        self.db.conn.isolation_level = None
        self.db.conn.executescript(LOGGED)
        sources.read_or_create(self.db, "acme")
        self.newest = 0
        self.number = 0
        self.planned: dict[str, int] = {}
        self.put_back: Counter[tuple[int, str]] = Counter()
        self.excused: set[tuple[int, str]] = set()
        self.told: set[tuple[int, str]] = set()
        self.meant: set[tuple[int, str]] = set()
        self.detect(events, "acme", wanted=False)

    def teardown(self) -> None:
        self.db.close()
        self.look.undo()

    @property
    def runs(self) -> bool:
        return bool(replays.running(self.db))

    def events(self) -> dict[int, tuple[int, str]]:
        rows = self.db.execute("SELECT sequence, detected_at, source FROM events").fetchall()
        return {sequence: (detected_ms, source) for sequence, detected_ms, source in rows}

    def pending(self) -> set[tuple[int, str]]:
        return set(self.db.execute("SELECT sequence, destination FROM deliveries WHERE state = 'pending'").fetchall())

    def logged(self) -> list[tuple[int, str]]:
        rows = self.db.execute("SELECT sequence, destination FROM put_back").fetchall()
        self.db.execute("DELETE FROM put_back")
        return rows

    @rule(count=st.integers(1, 8), source=st.sampled_from(["acme", "other"]), wanted=st.booleans())
    def detect(self, count: int, source: str, *, wanted: bool) -> None:
        for _ in range(count):
            self.newest += 1
            add_event(self.db, self.newest, self.newest, source)
            if wanted:
                self.db.execute("INSERT INTO deliveries (sequence, destination) VALUES (?, 'hr')", [self.newest])
        self.logged()

    @rule(data=st.data(), state=st.sampled_from([DeliveryState.DELIVERED, DeliveryState.DEAD]))
    def settle(self, data: st.DataObject, state: DeliveryState) -> None:
        if places := sorted(self.pending()):
            some = data.draw(st.just(places) | st.lists(st.sampled_from(places), unique=True))
            settled = [Settlement((number,), to, state, "decided", "so", 200, "", NOW, 5, 0) for number, to in some]
            store_settlements(self.db, settled)
            if state is DeliveryState.DELIVERED:
                self.told.update(some)

    @rule()
    def forget(self) -> None:
        retention.delete_old_events(self.db, self.newest)

    @rule()
    def retry(self) -> None:
        requeue.retry(self.db, requeue.RetrySelection(), list(BOTH), NOW)
        self.logged()

    @precondition(lambda self: not self.runs)
    @rule(since=st.integers(0, 10), length=st.integers(1, 60), to=st.sets(names, min_size=1))
    def begin(self, since: int, length: int, to: set[str]) -> None:
        past = ReplayRange(
            since, since + length, requeue.newest_event_number(self.db), attempt=requeue.newest_attempt_number(self.db)
        )
        plan = counted(self.db, past, *(BOTH[name] for name in to))
        self.number = replays.start(self.db, past, plan, NOW)
        self.planned = {name: count for name, count in plan.deliveries.items() if count}
        self.put_back.clear()
        self.excused = set()
        self.told = set()
        self.meant = {
            (sequence, name)
            for sequence, (detected_ms, source) in self.events().items()
            for name in self.planned
            if since <= detected_ms < since + length and BOTH[name].admits("completion.created", source, "", "")
        }

    def step(self, name: str, max_waiting: int | None) -> None:
        waited = self.pending()
        replays.advance(self.db, self.number, BOTH[name], NOW, max_waiting)
        done = self.logged()
        reached = next((part.reached for part in self.parts if part.destination == name), 0)
        assert {to for _, to in done} <= {name}
        assert not waited & set(done)
        assert not self.told & set(done), "delivered since the replay was requested, and still queued again"
        self.put_back.update(done)
        self.excused |= {(sequence, to) for sequence, to in waited | self.told if to == name and sequence <= reached}

    @property
    def parts(self) -> tuple[ReplayTarget, ...]:
        return next((memory.parts for memory in replays.latest(self.db) if memory.id == self.number), ())

    @precondition(lambda self: self.runs)
    @rule(name=names, max_waiting=st.none() | st.integers(1, 12))
    def advance(self, name: str, max_waiting: int | None) -> None:
        self.step(name, max_waiting)

    @rule(name=names, steps=st.integers(1, 400))
    def interrupt_step(self, name: str, steps: int) -> None:
        """Interrupt a step in the middle of a statement: the step changes nothing."""
        before = list(self.db.conn.iterdump())
        with pytest.raises((CutOffError, sqlite3.OperationalError)):
            self.advance_partly(name, steps)
        assert list(self.db.conn.iterdump()) == before

    def advance_partly(self, name: str, steps: int) -> None:
        with self.db.atomic():
            self.db.conn.set_progress_handler(lambda: True, steps)
            try:
                replays.advance(self.db, self.number, BOTH[name], NOW)
            finally:
                self.db.conn.set_progress_handler(None, 0)
            raise CutOffError

    @rule(name=names, chance=st.integers(0, 3))
    def remove(self, name: str, chance: int) -> None:
        if chance:
            return
        replays.end_removed_part(self.db, self.number, name, NOW)
        self.meant = {(sequence, to) for sequence, to in self.meant if to != name}

    @precondition(lambda self: self.runs)
    @rule(chance=st.integers(0, 3))
    def stop(self, chance: int) -> None:
        if chance:
            return
        stopped = replays.stop(self.db, NOW)
        assert stopped == [self.number]
        if stopped:
            self.meant = set()

    @invariant()
    def no_event_is_queued_twice(self) -> None:
        assert all(times == 1 for times in self.put_back.values())

    @invariant()
    def reported_counts_match_the_queued_events(self) -> None:
        assert {part.destination: part.planned for part in self.parts} == self.planned
        done = Counter(to for _, to in self.put_back)
        assert all(part.queued == done[part.destination] for part in self.parts)

    @invariant()
    def no_event_is_omitted(self) -> None:
        over = {part.destination for part in self.parts if part.state is ReplayState.DONE}
        left_out = {place for place in self.meant if place[1] in over} - self.put_back.keys() - self.excused
        assert not left_out

    @invariant()
    def only_running_replays_have_running_parts(self) -> None:
        for memory in replays.latest(self.db):
            goes_on = any(part.state is ReplayState.RUNNING for part in memory.parts)
            assert (memory.state is ReplayState.RUNNING) == goes_on == (memory.ended_ms is None)


ReplaysAgainstModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestReplaysAgainstModel = ReplaysAgainstModel.TestCase


# A process that is killed

FEEDER = """
import asyncio, pathlib, sys
from notifier.store.tables import replays, requeue
from notifier.store.file.store import FileStore
from notifier.store.subscriptions import Subscription
requeue.EXAMINED_AT_ONCE = 3
async def feed():
    store = FileStore(pathlib.Path(sys.argv[1]))
    await store.open()
    (memory, *_) = await store.run(replays.running) or [None]
    print("open", flush=True)
    while memory is not None:
        for part in memory.unfinished:
            subscription = Subscription(part.destination, frozenset({"completion.created"}))
            await store.run(replays.advance, memory.id, subscription, 0, 5)
        await store.run(lambda db: db.execute("UPDATE deliveries SET state = 'delivered'"))
        (memory, *_) = await store.run(replays.running) or [None]
    await store.close()
asyncio.run(feed())
"""


async def prepared(path: Path, events: int) -> None:
    """Make a state file with a running replay of so many events, which logs what is put back."""

    def fill(db: Database) -> None:
        for number in range(1, events + 1):
            add_event(db, number)
        begin(db, HR, IT)

    store = FileStore(path)
    await store.open()
    await store.run(fill)
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(LOGGED)


def feeding(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", FEEDER, str(path)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )


def test_replay_killed_at_any_moment_queues_each_event_once(path: Path) -> None:
    asyncio.run(prepared(path, events=600))
    moments = random.Random(20261121)
    for _ in range(5):
        with feeding(path) as feeder:
            assert feeder.stdout is not None
            assert feeder.stdout.readline() == "open\n"
            time.sleep(moments.random() * 0.06)
            feeder.send_signal(signal.SIGKILL)
    with closing(sqlite3.connect(path)) as connection:
        (left,) = connection.execute("SELECT count(*) FROM replay_parts WHERE state = 'running'").fetchone()
        assert left == 2, "it was never killed in the middle"
    with feeding(path) as feeder:
        assert feeder.wait(timeout=60) == 0
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT sequence, destination, count(*) FROM put_back GROUP BY 1, 2").fetchall()
        assert sorted(rows) == [(number, name, 1) for number in range(1, 601) for name in ("hr", "it")]
        assert connection.execute("SELECT state, queued FROM replay_parts").fetchall() == [("done", 600)] * 2
