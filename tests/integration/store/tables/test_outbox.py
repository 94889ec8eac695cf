"""The waiting deliveries: which of them are due, and in which order."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from notifier.store.database import Database
from notifier.store.file.connection import FileDatabase
from notifier.store.tables import outbox
from notifier.store.tables.outbox import DeliveryState, DueDeliveries
from notifier.store.tables.settlements import Settlement, store_settlements
from tests.support.settlements import NOW, settlement
from tests.support.table_rows import table_rows

if TYPE_CHECKING:
    from tests.integration.store.conftest import NewDatabase, WriteEvents

HORIZON = NOW + 3600_000


def due(db: Database, *, now_ms: int = NOW, limit: int = 100, in_flight: Sequence[int] = ()) -> DueDeliveries:
    return outbox.read_due(db, "hr", now_ms=now_ms, horizon_ms=now_ms + 3600_000, limit=limit, in_flight=in_flight)


def numbers(found: DueDeliveries) -> list[int]:
    return [delivery.event.sequence for delivery in found.deliveries]


def retry_at(sequence: int, next_attempt_ms: int, destination: str = "hr") -> Settlement:
    return settlement(sequence, DeliveryState.PENDING, next_attempt_ms=next_attempt_ms, destination=destination)


def rows(db: Database, table: str) -> list[dict[str, Any]]:
    return table_rows(db, table)


def test_new_events_are_due_at_once_and_in_order_for_each_destination(
    db: Database, write_events: "WriteEvents"
) -> None:
    both = write_events(db, "1", "2", to=("hr", "slack"))
    slack = write_events(db, "3", to=("slack",))
    ours = write_events(db, "4")
    assert numbers(due(db)) == [*both, *ours]
    assert not {*slack} & {*numbers(due(db))}


def test_due_delivery_contains_its_whole_event(db: Database, write_events: "WriteEvents") -> None:
    (sequence,) = write_events(db, "1238", now_ms=NOW)
    (delivery,) = due(db).deliveries
    stored = rows(db, "events")[0]
    event = delivery.event
    assert (event.sequence, event.id, event.type) == (sequence, stored["id"], "completion.created")
    assert (event.source, event.subject, event.time_ms) == ("acme", "1238", NOW)
    assert event.data.decode() == stored["data"]
    assert (delivery.destination, delivery.attempts, delivery.tried_from_ms) == ("hr", 0, None)


def test_read_due_with_a_limit_returns_the_oldest(db: Database, write_events: "WriteEvents") -> None:
    sequences = write_events(db, *"123456")
    assert due(db, limit=4) == DueDeliveries(due(db).deliveries[:4], None)
    assert numbers(due(db, limit=6)) == sequences


def test_read_due_omits_deliveries_in_flight(db: Database, write_events: "WriteEvents") -> None:
    sequences = write_events(db, *"12345")
    assert numbers(due(db, in_flight=sequences[1:4])) == [sequences[0], sequences[4]]


def test_scheduled_attempt_is_due_at_its_time(db: Database, write_events: "WriteEvents") -> None:
    first, second = write_events(db, "1", "2")
    store_settlements(db, [retry_at(first, NOW + 5000), retry_at(second, NOW + 3000)])
    assert due(db, now_ms=NOW) == DueDeliveries((), NOW + 3000)
    assert due(db, now_ms=NOW + 2999) == DueDeliveries((), NOW + 3000)
    found = due(db, now_ms=NOW + 3000)
    assert (numbers(found), found.next_due_ms) == ([second], NOW + 5000)
    found = due(db, now_ms=NOW + 5000)
    assert (numbers(found), found.next_due_ms) == ([first, second], None)


def test_attempt_scheduled_before_the_clock_was_set_back_is_due(db: Database, write_events: "WriteEvents") -> None:
    sequences = write_events(db, "1", "2")
    store_settlements(db, [retry_at(sequences[0], HORIZON), retry_at(sequences[1], HORIZON + 1)])
    assert numbers(due(db, now_ms=NOW)) == [sequences[1]]


@pytest.mark.parametrize("state", [DeliveryState.DELIVERED, DeliveryState.DEAD])
def test_delivered_or_dead_delivery_is_never_due(
    db: Database, write_events: "WriteEvents", state: DeliveryState
) -> None:
    first, second = write_events(db, "1", "2")
    store_settlements(db, [settlement(first, state)])
    assert numbers(due(db)) == [second]
    assert numbers(due(db, now_ms=NOW * 1000)) == [second]


def test_shift_attempts_moves_only_pending_attempts(db: Database, write_events: "WriteEvents") -> None:
    soon, later, at_once, dead = write_events(db, *"1234")
    store_settlements(
        db,
        [
            retry_at(soon, 1000),
            retry_at(later, 50_000),
            settlement(dead, DeliveryState.DEAD, next_attempt_ms=50_000),
        ],
    )
    outbox.shift_attempts(db, -20_000)
    schedule = {row["sequence"]: row["next_attempt_at"] for row in rows(db, "deliveries")}
    assert schedule == {soon: 0, later: 30_000, at_once: 0, dead: 50_000}


def test_reset_retries_resets_the_failures_of_one_destination(db: Database, write_events: "WriteEvents") -> None:
    tried, other = write_events(db, "1", "2", to=("hr", "slack"))
    for name in ("hr", "slack"):
        store_settlements(db, [replace(retry_at(tried, 5000, name), suspicious=True, proven=True)])
    outbox.reset_retries(db, "hr")
    (again, fresh) = due(db).deliveries
    assert (again.failures, again.proven, again.tried_from_ms) == (0, False, None)
    assert fresh.event.sequence == other
    (kept,) = [row for row in rows(db, "deliveries") if (row["sequence"], row["destination"]) == (tried, "slack")]
    assert (kept["suspicions"], kept["proven"], kept["next_attempt_at"]) == (1, 1, 5000)


def test_event_is_not_due_while_an_earlier_one_of_its_record_waits(db: Database, write_events: "WriteEvents") -> None:
    first, second, third = write_events(db, "7", "8", "9")
    db.execute("UPDATE events SET subject = '7' WHERE subject = '9'")
    store_settlements(db, [retry_at(first, NOW + 1)])
    assert numbers(due(db, now_ms=NOW)) == [second]
    assert numbers(due(db, now_ms=NOW + 1)) == [first, second, third]
    store_settlements(db, [settlement(first, DeliveryState.DEAD)])
    assert numbers(due(db, now_ms=NOW)) == [second, third]


def test_read_spread_due_samples_the_queue_and_omits_blocked_events(db: Database, write_events: "WriteEvents") -> None:
    numbered = write_events(db, *map(str, range(100, 160)))
    db.execute("UPDATE events SET subject = (sequence - 1) % 40")
    found = outbox.read_spread_due(
        db, "hr", lambda first, last: [first, (first + last) // 2, last], now_ms=NOW, horizon_ms=HORIZON, busy=[3]
    )
    sequences = [it.event.sequence for it in found.deliveries]
    assert sequences == sorted({*numbered[:8], numbered[29]} - {3})


FROM_THE_QUEUE = "deliveries_unfinished (destination=? AND state=? AND sequence"
DELAYED = "deliveries_delayed (destination=?"


def test_read_due_uses_the_indexes_and_scans_no_table(file_db: FileDatabase, write_events: "WriteEvents") -> None:
    write_events(file_db, "1")
    asked: list[tuple[str, Any]] = []
    with file_db.tracer(lambda sql, parameters: asked.append((sql, parameters))):
        due(file_db)
    assert asked
    for sql, parameters in asked:
        plan = [step for *_, step in file_db.execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()]
        assert not [step for step in plan if step.startswith(("SCAN d", "SCAN e"))]
        assert [step for step in plan if FROM_THE_QUEUE in step or DELAYED in step]


moments = st.integers(NOW - 3, NOW + 3) | st.just(HORIZON) | st.just(HORIZON + 1)
schedules = st.lists(st.tuples(st.sampled_from(DeliveryState), moments, st.booleans()), max_size=12)


@settings(max_examples=40)
@given(schedules, st.integers(1, 14))
def test_read_due_returns_exactly_the_due_deliveries_in_order(
    new_database: "NewDatabase",
    write_events: "WriteEvents",
    schedule: list[tuple[DeliveryState, int, bool]],
    limit: int,
) -> None:
    with new_database() as db:
        sequences = write_events(db, *(str(number) for number in range(len(schedule))))
        store_settlements(
            db,
            [
                settlement(sequence, state, next_attempt_ms=next_ms)
                for sequence, (state, next_ms, _) in zip(sequences, schedule, strict=True)
            ],
        )
        pending = [
            (sequence, next_ms)
            for sequence, (state, next_ms, in_flight) in zip(sequences, schedule, strict=True)
            if state is DeliveryState.PENDING and not in_flight
        ]
        in_flight = [sequence for sequence, row in zip(sequences, schedule, strict=True) if row[2]]
        found = due(db, limit=limit, in_flight=in_flight)
        assert numbers(found) == [s for s, next_ms in pending if not NOW < next_ms <= HORIZON][:limit]
        # A time that is too early is harmless, one that is too late is not.
        waits = [next_ms for _, next_ms in pending if NOW < next_ms <= HORIZON]
        if waits and len(found.deliveries) < limit:
            assert NOW < (found.next_due_ms or math.inf) <= min(waits)
