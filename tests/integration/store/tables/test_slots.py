"""Slots of a schedule: which deliveries wait for one, which share one, and what operators change about it."""

from typing import TYPE_CHECKING

from msgspec.structs import replace

from notifier.daemon.api.status import destination_status
from notifier.events import EventType
from notifier.store.queries import history
from notifier.store.queries.orphans import move_waiting
from notifier.store.subscriptions import Subscription
from notifier.store.tables import destinations, outbox, requeue, slots
from notifier.store.tables.destinations import Health, HealthState
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.requeue import ReplayRange, RetrySelection
from notifier.store.tables.settlements import Settlement, store_settlements
from notifier.store.tables.slots import Gate, WaitingCount

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifier.store.database import Database
    from notifier.store.file.connection import FileDatabase

    WriteEvents = Callable[..., list[int]]

NOW = 1_795_280_400_000
HOUR = 3_600_000
CLOSED = Gate(closed_until_ms=NOW + HOUR)
SLOT = Gate(slot_ms=NOW + HOUR, closed_until_ms=NOW + 25 * HOUR)


def store_daily_schedule(db: "Database", name: str = "hr") -> None:
    destinations.read_or_create(db, name)
    slots.store_schedule(db, name, "daily", NOW)


def due(db: "Database", gate: Gate, now_ms: int = NOW) -> list[tuple[int, int | None]]:
    found = outbox.read_due(db, "hr", now_ms=now_ms, horizon_ms=now_ms, limit=100, in_flight=(), gate=gate)
    return [(it.event.sequence, it.slot_ms) for it in found.deliveries]


def stored_gate(db: "Database", gate: Gate, now_ms: int = NOW, seen: list[int] | None = None) -> Gate:
    def gate_at(from_ms: int) -> Gate:
        if seen is not None:
            seen.append(from_ms)
        return gate

    return slots.assign_slot(db, "hr", gate_at, now_ms)


def test_assign_slot_gives_waiting_deliveries_the_slot_that_has_come_once(
    db: "Database", write_events: "WriteEvents"
) -> None:
    store_daily_schedule(db)
    first = write_events(db, "1", "2", to=("hr",))
    seen: list[int] = []
    assert due(db, stored_gate(db, CLOSED, seen=seen)) == []
    assert slots.count_waiting(db) == {"hr": WaitingCount(2, NOW + HOUR)}
    assert due(db, stored_gate(db, SLOT, NOW + HOUR, seen)) == [(it, NOW + HOUR) for it in first]
    (late,) = write_events(db, "3", to=("hr",))
    after = replace(SLOT, slot_ms=None)
    assert late not in dict(due(db, stored_gate(db, after, NOW + HOUR + 1, seen)))
    assert seen == [NOW, NOW, NOW + HOUR]
    assert slots.count_waiting(db) == {"hr": WaitingCount(1, NOW + 25 * HOUR)}


def test_quiet_time_delays_deliveries_that_have_a_slot(db: "Database", write_events: "WriteEvents") -> None:
    store_daily_schedule(db)
    write_events(db, "1", to=("hr",))
    stored_gate(db, SLOT)
    held = Gate(closed_until_ms=NOW + 9 * HOUR, held_until_ms=NOW + 5 * HOUR)
    assert due(db, stored_gate(db, held)) == []
    assert slots.count_waiting(db) == {"hr": WaitingCount(1, NOW + 5 * HOUR)}
    memory = destinations.read_all(db)["hr"]
    assert (memory.scheduled, memory.oldest_due_ms, memory.next_attempt_ms) == (1, None, NOW + 5 * HOUR)


def test_delivery_to_a_disabled_destination_has_no_scheduled_time(db: "Database", write_events: "WriteEvents") -> None:
    store_daily_schedule(db)
    (sequence,) = write_events(db, "1", to=("hr",))
    stored_gate(db, CLOSED)
    assert history.deliveries_of(db, [sequence])[0].scheduled_ms == NOW + HOUR
    destinations.store_health(db, "hr", Health(HealthState.DISABLED, "operator"))
    (delivery,) = history.deliveries_of(db, [sequence])
    assert (delivery.scheduled_ms, delivery.next_attempt_ms) == (None, None)
    told = destination_status(destinations.read_all(db)["hr"], None)
    assert (told["pending"], told["scheduled"], told["scheduled_for"], told["next_attempt"]) == (1, 0, None, None)


def test_store_schedule_moves_the_start_only_if_the_schedule_has_changed(db: "Database") -> None:
    store_daily_schedule(db)
    slots.store_schedule(db, "hr", "daily", NOW + 5)
    seen: list[int] = []
    stored_gate(db, CLOSED, NOW + 9, seen)
    slots.store_schedule(db, "hr", "weekly", NOW + 7)
    stored_gate(db, CLOSED, NOW + 9, seen)
    assert seen == [NOW, NOW + 7]


def test_assign_slot_ignores_a_stored_start_far_in_the_future(db: "Database") -> None:
    store_daily_schedule(db)
    year = 365 * 24 * HOUR
    seen: list[int] = []
    stored_gate(db, CLOSED, NOW - year, seen)
    stored_gate(db, CLOSED, NOW - year + 5, seen)
    assert seen == [NOW - year, NOW - year]


def test_digest_of_old_events_is_due_since_its_slot(db: "Database", write_events: "WriteEvents") -> None:
    store_daily_schedule(db)
    write_events(db, "1", to=("hr",), now_ms=NOW - 23 * HOUR)
    stored_gate(db, SLOT, NOW + HOUR)
    assert destinations.read_all(db)["hr"].oldest_due_ms == NOW + HOUR
    owed = destinations.due_events(db, "hr", now_ms=NOW + HOUR, horizon_ms=NOW + 2 * HOUR, late_ms=HOUR)
    assert owed is not None
    assert owed.since_ms == NOW + HOUR


def test_replay_deliveries_wait_for_the_next_slot_and_are_not_limited(
    db: "Database", write_events: "WriteEvents"
) -> None:
    store_daily_schedule(db)
    told = write_events(db, *map(str, range(20)), to=("hr",), now_ms=NOW - HOUR)
    stored_gate(db, SLOT)
    store_settlements(db, [Settlement(tuple(told), "hr", DeliveryState.DELIVERED, "d", "d", 200, "", NOW, 1, 0)])
    stored_gate(db, CLOSED)
    wants = Subscription("hr", frozenset(EventType))
    past = ReplayRange(0, NOW, told[-1])
    step = requeue.queue_replay_step(db, past, wants, 0, NOW, max_waiting=5)
    assert step.queued == 5
    assert requeue.count_due(db, "hr", NOW, 100) == 0
    assert requeue.queue_replay_step(db, past, wants, step.sequence, NOW, max_waiting=5).queued == 5
    assert due(db, stored_gate(db, CLOSED)) == []


def test_retry_of_a_dead_digest_keeps_its_slot(db: "Database", write_events: "WriteEvents") -> None:
    store_daily_schedule(db)
    (first, second) = write_events(db, "1", "2", to=("hr",))
    stored_gate(db, SLOT)
    store_settlements(db, [Settlement((first, second), "hr", DeliveryState.DEAD, "d", "d", 500, "", NOW, 1, 0)])
    requeue.retry(db, RetrySelection(), ["hr"], NOW)
    assert due(db, stored_gate(db, CLOSED)) == [(first, NOW + HOUR), (second, NOW + HOUR)]


def test_move_waiting_clears_the_slot(db: "Database", write_events: "WriteEvents") -> None:
    store_daily_schedule(db)
    write_events(db, "1", to=("hr",))
    stored_gate(db, SLOT)
    store_daily_schedule(db, "new")
    move_waiting(db, "hr", "new", NOW)
    assert db.execute("SELECT destination, slot_at FROM deliveries").fetchall() == [("new", None)]


def test_count_waiting_reads_no_events_of_destinations_without_a_schedule(
    file_db: "FileDatabase", write_events: "WriteEvents"
) -> None:
    write_events(file_db, "1", to=("hr",))
    queries: list[str] = []
    with file_db.tracer(lambda sql, _: queries.append(sql)):
        slots.count_waiting(file_db)
    (query,) = queries
    plan = [step for *_, step in file_db.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()]
    assert plan[0] == "SCAN t"
    assert not [step for step in plan if step.startswith(("SCAN d", "SCAN e"))]


def test_read_all_examines_waiting_events_once_and_parses_no_json_for_each(
    file_db: "FileDatabase", write_events: "WriteEvents"
) -> None:
    store_daily_schedule(file_db)
    write_events(file_db, "1", "2", to=("hr",))
    stored_gate(file_db, replace(CLOSED, urgent=frozenset({"completion.removed"})))
    queries: list[str] = []
    with file_db.tracer(lambda sql, _: queries.append(sql)):
        assert destinations.read_all(file_db)["hr"].scheduled == 2
    (query,) = [sql for sql in queries if "closed_until" in sql]
    plan = [step for *_, step in file_db.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()]
    assert not [step for step in plan if "json_each" in step]
