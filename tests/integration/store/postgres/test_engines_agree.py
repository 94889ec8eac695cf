"""Random calls in random order: both engines give the same answers, and hold the same rows afterwards."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from msgspec.structs import replace

from notifier.events import Change, Completion, DetectedBy, EventType, Names
from notifier.store import pruning
from notifier.store.database import Database
from notifier.store.queries import dashboard, event_log, feed, history, record_history, search
from notifier.store.queries.event_log import EventLogFilter
from notifier.store.queries.feed import EventFilter
from notifier.store.queries.history import DeliveryCursor, DeliveryFilter
from notifier.store.queries.orphans import move_waiting, orphans
from notifier.store.subscriptions import Subscription
from notifier.store.tables import (
    alert_events,
    announced_events,
    conditions,
    destinations,
    erasure,
    holds,
    left_out,
    names,
    outbox,
    record_lookups,
    records,
    records_by_date,
    replays,
    requeue,
    retention,
    second_looks,
    sources,
    starts,
    sweeps,
    view,
)
from notifier.store.tables.conditions import ConditionChange, ConditionState, StoredCondition
from notifier.store.tables.destinations import Health, HealthState, LastError, LearnedLimits
from notifier.store.tables.erasure import KnownPerson
from notifier.store.tables.holds import HeldChange
from notifier.store.tables.left_out import UnreadableRecord
from notifier.store.tables.names import NameList, PersonName
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.records import Findings, SilentRecord
from notifier.store.tables.requeue import DropSelection, ReplayPlan, ReplayRange, RetrySelection
from notifier.store.tables.second_looks import LookKind, SecondLook
from notifier.store.tables.settlements import Settlement, store_settlements
from notifier.store.tables.silent_updates import Adoption
from notifier.store.tables.sources import SourceError
from notifier.store.tables.sweeps import SweptPage
from tests.support.postgres_server import PostgresServer
from tests.support.postgres_tables import EmptyTables
from tests.support.table_rows import STORE_TABLES, table_rows
from tests.support.tables_in_memory import tables_in_memory

Lend = Callable[[], AbstractContextManager[Database]]

ALL = frozenset(map(str, EventType))
SUBSCRIPTIONS = (
    Subscription("hr", ALL),
    Subscription("gate", frozenset({"completion.created"}), training_ids=frozenset({"10"})),
    Subscription("ana", ALL, user_ids=frozenset({"ana"})),
)
DESTINATIONS = [it.destination for it in SUBSCRIPTIONS]
KEYS = ["1", "2", "10", "Z", "a", "ä", "v1-00ff", "v1-00ff-2", "v1-00ff-10", "-", "\U0001f9ef"]
DAYS = ["2020-02-27", "2019-12-31", "2020-02-27", None]
NOTES = ["", 'Ladder\'s "rung" 100%', "\x00\\u0000", "Zoë \U0001f9ef \\ud800", "x" * 5000]
HIGHEST = 2**63 - 1
RENUMBERED = {"records": {"id"}, "sweeps": {"first_new_id"}}
"""Columns of numbers in which PostgreSQL leaves gaps."""

keys = st.sampled_from(KEYS)
some_keys = st.lists(keys, max_size=6, unique=True)
people = st.sampled_from(["ana", "ben", "Ben"])
trainings = st.sampled_from(["10", "9"])


class EnginesAgree(RuleBasedStateMachine):
    """Makes each call on both engines; the tables must be equal after it."""

    lend: Lend

    def __init__(self) -> None:
        super().__init__()
        self.held = ExitStack()
        self.one: Database = self.held.enter_context(closing(tables_in_memory()))
        self.other: Database = self.held.enter_context(type(self).lend())
        self.now_ms = 1_795_280_400_123
        self.both(sources.read_or_create, "acme")
        for name in DESTINATIONS:
            self.both(destinations.read_or_create, name)

    def teardown(self) -> None:
        self.held.close()

    def both(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        answers = []
        for db in (self.one, self.other):
            with db.atomic():
                answers.append(_plain(work(db, *args, **kwargs)))
        assert answers[0] == answers[1], work
        return answers[0]

    def completion(self, key: str, user: str, training: str, day: str | None, notes: str) -> Completion:
        return Completion(
            key=key,
            training_id=training,
            user_id=user,
            completed_on=day,
            expires_on=None,
            recorded_at=None if day is None else 1_582_830_441_803,
            instructor_id="ana",
            group_training_id=None,
            notes=notes,
            has_attachments=bool(notes),
            raw=_json({"id": key, "notes": notes, "files": [notes] * len(notes[:2])}),
        )

    @rule(
        page=st.lists(
            st.tuples(keys, people, trainings, st.sampled_from(DAYS), st.sampled_from(NOTES), st.integers(0, 3)),
            max_size=6,
            unique_by=lambda row: row[0],
        )
    )
    def see_a_page(self, page: list[tuple[str, str, str, str | None, str, int]]) -> None:
        known = self.both(record_lookups.known_records, "acme", [key for key, *_ in page])
        learned: list[SilentRecord] = []
        held: list[SilentRecord] = []
        changes: list[Change] = []
        removed: list[str] = []
        for key, user, training, day, notes, how in page:
            now = self.completion(key, user, training, day, notes)
            before = known.get(key)
            if before is None and how < 2:
                (held if how else learned).append(SilentRecord(now, DetectedBy.SWEEP, "history"))
            elif before is None or before.removed:
                revision = 1 if before is None else before.revision + 1
                changes.append(Change(EventType.CREATED, now, revision, DetectedBy.HEAD, "news"))
            elif how == 0:
                removed.append(key)
            elif how == 1:
                changes.append(Change(EventType.REMOVED, now, before.revision + 1, DetectedBy.SWEEP, "gone"))
            elif before.fingerprint != now.fingerprint():
                changes.append(
                    Change(EventType.UPDATED, now, before.revision + 1, DetectedBy.COUNT, "edited", _other(now))
                )
        known_names = Names({"ana": "Ana Cruz"}, {"10": "Ladders"})
        findings = Findings("acme", "acme", learned, changes, known_names, held=held, removed=removed)
        self.both(records.write, findings, SUBSCRIPTIONS, self.now_ms)

    @rule(new=keys, old=keys)
    def renumber(self, new: str, old: str) -> None:
        there = self.both(record_lookups.known_records, "acme", [old, new])
        if old in there and new not in there:
            adopted = Adoption(old, self.completion(new, "ana", "10", "2020-02-27", ""))
            self.both(records.write, Findings("acme", "acme", adopted=[adopted]), (), self.now_ms)

    @rule(name=st.sampled_from(DESTINATIONS), data=st.data())
    def deliver(self, name: str, data: st.DataObject) -> None:
        horizon = self.now_ms + 10_000
        due = self.both(outbox.read_due, name, now_ms=self.now_ms, horizon_ms=horizon, limit=5, in_flight=[1, 2, 4])
        self.both(outbox.read_spread_due, name, _spread, now_ms=self.now_ms, horizon_ms=horizon, busy=[3])
        numbers = [delivery.event.sequence for delivery in due.deliveries]
        if not numbers:
            return
        state, detail = data.draw(st.sampled_from(DeliveryState)), data.draw(st.sampled_from(NOTES)).replace("\x00", "")
        chosen = data.draw(st.lists(st.sampled_from(numbers), unique=True, min_size=1))
        wait = self.now_ms + data.draw(st.integers(0, 3)) * 1000 if state is DeliveryState.PENDING else 0
        settled = Settlement(
            tuple(chosen),
            name,
            state,
            "decided",
            "http_status",
            503,
            detail,
            self.now_ms,
            2719,
            wait,
            suspicious=len(chosen) == 1,
            proven=len(chosen) == 2,
            trying_ms=5,
            taken_by=frozenset({"a", "b"}) if len(chosen) == 3 else frozenset(),
            detected_ms=(self.now_ms - 5000,) * len(chosen),
        )
        self.both(store_settlements, [settled])

    @rule(state=st.sampled_from(DeliveryState), name=st.sampled_from(DESTINATIONS))
    def request_again(self, state: DeliveryState, name: str) -> None:
        ids = tuple(f"{event.id}" for event in self.both(history.events_after, 0, 3))
        self.both(requeue.unknown_event_ids, [*ids, "evt_x", "\udcff"])
        if state is not DeliveryState.DELIVERED or ids:
            self.both(requeue.retry, RetrySelection(state, ids, name), DESTINATIONS, self.now_ms)

    @rule(unmatched=st.booleans(), state=st.sampled_from([DeliveryState.PENDING, DeliveryState.DEAD]))
    def drop(self, state: DeliveryState, *, unmatched: bool) -> None:
        self.both(requeue.drop, DropSelection((), None, state, unmatched=unmatched), ["gate"], SUBSCRIPTIONS)

    @rule(subscription=st.sampled_from(SUBSCRIPTIONS), type_=st.sampled_from([None, *EventType]))
    def replay(self, subscription: Subscription, type_: str | None) -> None:
        past = ReplayRange(
            0, HIGHEST, self.both(requeue.newest_event_number), None, type_, self.both(requeue.newest_attempt_number)
        )
        plan = self.both(requeue.extend_plan, past, [subscription], ReplayPlan())
        if self.both(replays.running):
            self.both(replays.stop, self.now_ms)
        number = self.both(replays.start, past, plan, self.now_ms)
        self.both(replays.advance, number, subscription, self.now_ms, 3)

    @rule(pages=st.integers(1, 3), whole=st.booleans())
    def sweep(self, pages: int, *, whole: bool) -> None:
        sweep = self.both(sweeps.resume_or_start, "acme", self.now_ms)
        for number in range(1, pages + 1):
            page = SweptPage(sweep.id, number, pages, number * 10, 1, marks=True)
            self.both(sweeps.advance, page, changes=1, ids=bytes(range(256)))
        self.both(sweeps.store_count, sweep.id, 30, pages)
        self.both(sweeps.step_back, sweep.id, 1)
        self.both(sweeps.read_page_ids, sweep.id, 0, 2)
        self.both(sweeps.count_unreadable, sweep.id)
        self.both(
            left_out.count_unreadable,
            "acme",
            [UnreadableRecord("?x", None, "no key"), UnreadableRecord("Z", "user", "is 5")],
            ["Z"],
            swept=True,
        )
        if whole:
            self.both(left_out.correct_after_sweep, sweep, 1)
            self.both(sweeps.finish, sweep, self.now_ms)
            self.both(sweeps.store_proof, self.both(sweeps.latest, "acme"))
        else:
            self.both(sweeps.mark_incomplete, sweep.id)
            self.both(left_out.delete_readable, "acme", ["Z"])

    @rule(found=some_keys, kind=st.sampled_from(LookKind))
    def look_twice(self, found: list[str], kind: LookKind) -> None:
        looks = [SecondLook(key, kind, self.now_ms, 5, "head", -(2**63), "ana", "10") for key in found]
        self.both(second_looks.put, "acme", looks)
        self.both(second_looks.count_waiting, "acme")
        self.both(records_by_date.random_day_boundary, "acme", 0.5)
        self.both(holds.write_changes, "acme", [HeldChange(key, "notes") for key in found], found[:1])
        self.both(holds.examples, "acme")
        self.both(second_looks.delete, "acme", found[1:])
        self.both(second_looks.delete_old_forms, self.now_ms - 1)

    @rule(text=st.sampled_from(["Ana", "ana", "b", "%", "_", "\\", "Zoë", "\udcff", "D1", "x y"]))
    def search(self, text: str) -> None:
        known = [PersonName("ana", "Ana Cruz", None), PersonName("ben", text[:1], "D1")]
        self.both(names.store_people, "acme", known if text.isprintable() else [])
        self.both(names.store_trainings, "acme", [("10", "Ladders"), ("9", text if text.isprintable() else "")])
        self.both(names.store_fetch, "acme", NameList.PEOPLE, self.now_ms, "ok")
        self.both(names.find_names, "acme", ["ana", "x"], ["9"])
        self.both(search.find, text)
        self.both(event_log.read_page, EventLogFilter(person=text), None, 5)
        self.both(event_log.read_page, EventLogFilter(training=text, state=DeliveryState.PENDING), None, 5)
        self.both(erasure.find_people, text if text.isprintable() else "ana")
        self.both(record_history.record_histories, text)

    @rule(state=st.sampled_from(ConditionState), forgotten=st.booleans())
    def notice(self, state: ConditionState, *, forgotten: bool) -> None:
        life = StoredCondition("gap", "source/acme", "there may be a gap", self.now_ms)
        notice = ConditionChange(state, life, "began", "hr", is_forgotten=forgotten)
        self.both(alert_events.write, [notice], self.now_ms)
        self.both(conditions.read_all)
        self.both(alert_events.oldest_undelivered_ms, "hr")
        self.both(alert_events.latest_refusal, "hr", ["http_status"])

    @rule(state=st.sampled_from(HealthState), rate=st.sampled_from([None, 0.25, 3.0]))
    def change_health(self, state: HealthState, rate: float | None) -> None:
        health = Health(state, "why", self.now_ms, 2, self.now_ms + 1, asked=rate is None)
        self.both(destinations.store_health, "hr", health, LastError("x", "said so", 5), LearnedLimits(rate, 3))
        self.both(sources.record_failure, "acme", SourceError("timeout", "slow", self.now_ms), None)
        self.both(sources.record_success, "acme", self.now_ms, longest_outage_ms=1000)
        self.both(outbox.shift_attempts, -1500)
        self.both(destinations.due_events, "hr", now_ms=self.now_ms, horizon_ms=self.now_ms + 10_000, late_ms=0)

    @rule(user=people, attachments=st.sampled_from([None, True, False]))
    def change_the_view(self, user: str, *, attachments: bool | None) -> None:
        self.both(view.mark_out_of_view, "acme", training_id="10", user_id=user, has_attachments=attachments)
        self.both(view.mark_out_of_view, "acme", training_id=None, user_id=None, has_attachments=None)

    @rule(person=people)
    def forget_a_person(self, person: str) -> None:
        known = KnownPerson("acme", person, None)
        self.both(erasure.erase_events, known)
        self.both(erasure.erase_records, known, self.now_ms)
        self.both(erasure.delete_names, "acme", [person])
        self.both(erasure.erase_removed, self.now_ms)

    @rule()
    def tidy(self) -> None:
        self.both(retention.delete_old_events, self.now_ms - 3000)
        self.both(pruning.prune, self.now_ms)
        self.both(announced_events.delete_old, self.now_ms)
        self.both(starts.record_start, self.now_ms)
        self.both(starts.record_start, self.now_ms)
        self.both(starts.count_unclean, 0, 1)
        self.both(move_waiting, "ana", "hr", self.now_ms)

    @rule(seconds=st.integers(1, 4))
    def wait(self, seconds: int) -> None:
        self.now_ms += seconds * 1000

    @invariant()
    def both_answer_the_same(self) -> None:
        self.both(feed.highest_sequence)
        self.both(feed.page_after, 0, EventFilter(frozenset({"acme"}), frozenset({"completion.created"})), 3, 10_000)
        self.both(destinations.read_all)
        self.both(destinations.undelivered)
        self.both(sources.read_all)
        self.both(orphans, ["hr"])
        self.both(history.deliveries_after, DeliveryCursor(), DeliveryFilter(DeliveryState.DEAD), 10)
        self.both(history.attempted_after, 0, DeliveryFilter(), 10)
        self.both(dashboard.read_counts, self.now_ms)
        self.both(dashboard.latest_events, 5)
        self.both(record_lookups.known_with_suffixes, "acme", ["v1-00ff"])
        self.both(record_lookups.stored_json, "acme", KEYS)
        self.both(records_by_date.count_by_day, "acme")

    @invariant()
    def both_hold_the_same(self) -> None:
        for table in STORE_TABLES:
            held = [_without(table_rows(db, table), RENUMBERED.get(table, set())) for db in (self.one, self.other)]
            assert held[0] == held[1], table


def _spread(first: int, last: int) -> list[int]:
    return [first, (first + last) // 2, last]


def _other(now: Completion) -> Completion:
    return replace(now, notes=f"{now.notes}?")


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _plain(answer: Any) -> Any:
    """Return an answer without what is not compared: the numbers of records."""
    if isinstance(answer, record_lookups.StoredRecord):
        return record_lookups.StoredRecord(answer.revision, answer.fingerprint, answer.removed, 0, answer.held)
    if isinstance(answer, sweeps.Sweep):
        return replace(answer, first_new_id=None)
    if isinstance(answer, dict):
        return {name: _plain(value) for name, value in answer.items()}
    return answer


def _without(rows: list[dict[str, Any]], left_out_columns: set[str]) -> list[dict[str, Any]]:
    kept = [{name: value for name, value in row.items() if name not in left_out_columns} for row in rows]
    return sorted(kept, key=lambda row: [(value is not None, value) for value in row.values()])


@pytest.fixture(scope="module")
def lend(postgres_server: PostgresServer) -> Iterator[Lend]:
    tables = EmptyTables(postgres_server)
    yield tables.lend
    tables.close()


def test_both_engines_agree_after_random_calls(lend: Lend) -> None:
    machine = type("EnginesAgree", (EnginesAgree,), {"lend": staticmethod(lend)})
    run_state_machine_as_test(machine, settings=settings(max_examples=5, stateful_step_count=20, deadline=None))
