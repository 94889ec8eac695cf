"""Retry and replay: what goes back into the queue, and what is left as it is."""

from typing import TYPE_CHECKING, Any

import pytest

from notifier.events import EventType
from notifier.store.subscriptions import Subscription
from notifier.store.tables import destinations, outbox, records, requeue, settlements, sources
from notifier.store.tables.destinations import Health, HealthState
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.records import Findings
from notifier.store.tables.requeue import ReplayPlan, ReplayRange, ReplayStep, RetryResult, RetrySelection
from notifier.store.tables.settlements import Settlement

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifier.store.database import Database
    from notifier.store.file.store import FileStore
    from tests.integration.store.conftest import MakeChange, MakeCompletion

ALL = frozenset(str(type_) for type_ in EventType)
HR = Subscription("hr", ALL)
DAY = 86_400_000
NOW = 1_795_280_400_123


@pytest.fixture
def write_events(change: "MakeChange", completion: "MakeCompletion") -> "Callable[..., list[int]]":
    """Write one event per record for these destinations, detected one day after the other."""

    def write(db: "Database", *keys: str, to: tuple[str, ...] = ("hr",), **fields: Any) -> list[int]:
        sources.read_or_create(db, "acme")
        for name in to:
            destinations.read_or_create(db, name)
        wants = [Subscription(name, ALL) for name in to]
        before = requeue.newest_event_number(db)
        return [
            event.sequence
            for day, key in enumerate(keys, before)
            for event in records.write(
                db, Findings("acme", "acme", changes=[change(completion(key, **fields))]), wants, NOW + day * DAY
            )
        ]

    return write


def settle(db: "Database", state: DeliveryState, *sequences: int, to: str = "hr", later_ms: int = 0) -> None:
    settlements.store_settlements(
        db,
        [
            Settlement((number,), to, state, "decided", "refused", 400, "no", NOW, 5, later_ms, True)
            for number in sequences
        ],
    )


def rows(db: "Database", columns: str = "sequence, state") -> list[tuple[Any, ...]]:
    return db.execute(f"SELECT {columns} FROM deliveries ORDER BY sequence, destination").fetchall()


def past(db: "Database", **more: Any) -> ReplayRange:
    return ReplayRange(**{"since_ms": 0, "until_ms": NOW + 1000 * DAY, "last": requeue.newest_event_number(db), **more})


def counted(db: "Database", wanted: ReplayRange, *subscriptions: Subscription) -> ReplayPlan:
    plan = ReplayPlan()
    while plan.sequence < wanted.last:
        plan = requeue.extend_plan(db, wanted, subscriptions, plan)
    return plan


def replayed(
    db: "Database", wanted: ReplayRange, subscription: Subscription = HR, *, max_waiting: int | None = None
) -> int:
    reached = queued = 0
    while reached < wanted.last:
        step = requeue.queue_replay_step(db, wanted, subscription, reached, NOW, max_waiting)
        reached, queued = step.sequence, queued + step.queued
    return queued


# Retry


async def test_retry_resets_a_dead_delivery_and_keeps_its_attempts(
    store: "FileStore", write_events: "Callable[..., list[int]]"
) -> None:
    (first, second) = await store.run(write_events, "1", "2")
    await store.run(settle, DeliveryState.DEAD, first)
    await store.run(settle, DeliveryState.DELIVERED, second)
    assert await store.run(requeue.retry, RetrySelection(), ["hr"], NOW) == RetryResult({"hr": 1})
    assert await store.run(rows, "state, attempts, suspicions, first_attempt_at, next_attempt_at, reason") == [
        ("pending", 0, 0, None, 0, "refused"),
        ("delivered", 1, 1, NOW, 0, "refused"),
    ]
    assert await store.run(lambda db: db.execute("SELECT count(*) FROM attempts").fetchone()) == (2,)
    due = await store.run(outbox.read_due, "hr", now_ms=NOW, horizon_ms=NOW + DAY, limit=10, in_flight=())
    assert [it.again for it in due.deliveries] == [True]
    assert [(it.event.sequence, it.attempts) for it in due.deliveries] == [(first, 0)]


def test_retry_makes_a_pending_delivery_due_and_keeps_its_first_attempt(
    db: "Database", write_events: "Callable[..., list[int]]"
) -> None:
    write_events(db, "1", "2")
    settle(db, DeliveryState.PENDING, 1, later_ms=NOW + DAY)
    settle(db, DeliveryState.DEAD, 2)
    assert requeue.retry(db, RetrySelection(DeliveryState.PENDING), ["hr"], NOW) == RetryResult({"hr": 1})
    assert rows(db, "state, attempts, suspicions, first_attempt_at, next_attempt_at") == [
        ("pending", 1, 1, NOW, 0),
        ("dead", 1, 1, NOW, 0),
    ]


def test_retry_without_dead_deliveries_names_the_pending_ones(
    db: "Database", write_events: "Callable[..., list[int]]"
) -> None:
    write_events(db, "1", "2")
    why = requeue.retry(db, RetrySelection(), ["hr"], NOW).why_none
    assert why == "no delivery is dead; pending: 2 (`--state pending` tries those at once)"


def test_retry_selects_by_event_and_destination(db: "Database", write_events: "Callable[..., list[int]]") -> None:
    write_events(db, "1", "2", to=("hr", "it"))
    for name in ("hr", "it"):
        settle(db, DeliveryState.DEAD, 1, 2, to=name)
    (identifier,) = db.execute("SELECT id FROM events WHERE sequence = 2").fetchone()
    assert requeue.retry(db, RetrySelection(event_ids=(identifier,)), ["it", "gone"], NOW) == RetryResult({"it": 1})
    assert [row for row in rows(db, "sequence, destination, state") if row[2] == "pending"] == [(2, "it", "pending")]
    assert requeue.retry(db, RetrySelection(), ["hr"], NOW) == RetryResult({"hr": 2})


def test_retry_makes_a_retrying_destination_due_and_keeps_a_disabled_one(
    db: "Database", write_events: "Callable[..., list[int]]"
) -> None:
    write_events(db, "1", to=("hr", "it", "off"))
    for name, state in (("hr", HealthState.RETRYING), ("it", HealthState.RETRYING), ("off", HealthState.DISABLED)):
        destinations.store_health(db, name, Health(state, "timeout", NOW, 3, NOW + DAY))
    assert requeue.retry(db, RetrySelection(DeliveryState.PENDING), ["hr", "off"], NOW) == RetryResult(
        {"hr": 1, "off": 1}, ("hr",)
    )
    assert destinations.read_or_create(db, "hr") == Health(HealthState.RETRYING, "timeout", NOW, 3, None)
    assert destinations.read_or_create(db, "it").retry_at_ms == NOW + DAY
    assert destinations.read_or_create(db, "off").state is HealthState.DISABLED


def test_unknown_event_ids_returns_the_ids_not_stored(db: "Database", write_events: "Callable[..., list[int]]") -> None:
    write_events(db, "1")
    (identifier,) = db.execute("SELECT id FROM events").fetchone()
    assert requeue.unknown_event_ids(db, ["evt_b", identifier, "evt_a"]) == ["evt_b", "evt_a"]


# Replay


def test_replay_requeues_past_events_with_their_ids_and_attempts(
    db: "Database", write_events: "Callable[..., list[int]]"
) -> None:
    write_events(db, "1", "2", "3")
    settle(db, DeliveryState.DELIVERED, 1)
    settle(db, DeliveryState.DEAD, 2)
    before = db.execute("SELECT id FROM events").fetchall()
    # A delivery that waits already is left as it is, and is not counted.
    assert counted(db, past(db), HR) == ReplayPlan(2, {"hr": 2}, 0, 3)
    assert replayed(db, past(db)) == 2
    assert rows(db, "state, suspicions, attempts, first_attempt_at, reason") == [
        ("pending", 0, 0, None, "refused"),
        ("pending", 0, 0, None, "refused"),
        ("pending", 0, 0, None, None),
    ]
    assert db.execute("SELECT id FROM events").fetchall() == before
    assert db.execute("SELECT count(*) FROM attempts").fetchone() == (2,)
    assert replayed(db, past(db)) == 0


def test_replay_skips_events_delivered_after_it_was_requested(
    db: "Database", write_events: "Callable[..., list[int]]"
) -> None:
    write_events(db, "1", "2", "3", "4", "5")
    settle(db, DeliveryState.DELIVERED, 1, 2)
    asked = past(db, attempt=requeue.newest_attempt_number(db))
    assert counted(db, asked, HR).deliveries == {"hr": 2}
    # Meanwhile 3 and 4, which waited, are delivered, and 5 is given up.
    settle(db, DeliveryState.PENDING, 3)
    settle(db, DeliveryState.DELIVERED, 3, 4)
    settle(db, DeliveryState.DEAD, 5)
    assert replayed(db, asked) == 3
    assert [number for number, state in rows(db) if state == "pending"] == [1, 2, 5]


def test_replay_to_a_new_destination_respects_its_filters(
    db: "Database", write_events: "Callable[..., list[int]]"
) -> None:
    write_events(db, "1", "2", "3", training_id="7")
    write_events(db, "4", "5", training_id="8")
    late = Subscription("late", ALL, training_ids=frozenset({"7"}))
    assert counted(db, past(db), late).deliveries == {"late": 3}
    assert replayed(db, past(db), late) == 3
    assert db.execute("SELECT sequence FROM deliveries WHERE destination = 'late'").fetchall() == [(1,), (2,), (3,)]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"since_ms": NOW + 2 * DAY}, 2),
        ({"until_ms": NOW + 2 * DAY}, 2),
        ({"since_ms": NOW + DAY, "until_ms": NOW + DAY + 1}, 1),
        ({"source": "acme"}, 4),
        ({"source": "other"}, 0),
        ({"type": "completion.created"}, 4),
        ({"type": "completion.removed"}, 0),
        ({"last": 3}, 3),
    ],
)
def test_replay_range_selects_by_time_source_type_and_number(
    db: "Database", write_events: "Callable[..., list[int]]", more: dict[str, Any], expected: int
) -> None:
    settle(db, DeliveryState.DELIVERED, *write_events(db, "1", "2", "3", "4"))
    assert counted(db, past(db, **more), HR).events == expected
    assert replayed(db, past(db, **more)) == expected


def test_replay_omits_alerts(db: "Database") -> None:
    db.execute(
        "INSERT INTO events (id, type, source, subject, revision, net, reason, detected_at, data)"
        " VALUES ('evt_x', 'notifier.alert', '', 's', 0, '', 'began', 5, '{}')"
    )
    assert counted(db, past(db), HR).events == replayed(db, past(db)) == 0


def test_replay_step_queues_up_to_max_waiting_and_continues_later(
    db: "Database", write_events: "Callable[..., list[int]]"
) -> None:
    settle(db, DeliveryState.DELIVERED, *write_events(db, *map(str, range(1, 8))))
    write_events(db, "new")
    assert requeue.queue_replay_step(db, past(db), HR, 0, NOW, 3) == ReplayStep(2, 2)
    assert requeue.queue_replay_step(db, past(db), HR, 2, NOW, 3) == ReplayStep(2, 0)
    settle(db, DeliveryState.DELIVERED, 1, 2)
    assert requeue.queue_replay_step(db, past(db), HR, 2, NOW, 3) == ReplayStep(4, 2)
    assert rows(db)[4:] == [(5, "delivered"), (6, "delivered"), (7, "delivered"), (8, "pending")]


def test_replay_step_queues_nothing_while_a_new_event_has_waited_too_long(
    db: "Database", write_events: "Callable[..., list[int]]"
) -> None:
    settle(db, DeliveryState.DELIVERED, *write_events(db, *map(str, range(1, 8))))
    everything, detected = past(db), NOW + 7 * DAY
    (new,) = write_events(db, "new")
    assert requeue.queue_replay_step(db, everything, HR, 0, NOW, 3, detected + 1) == ReplayStep(0, 0)
    assert requeue.queue_replay_step(db, everything, HR, 0, NOW, 3, detected) == ReplayStep(2, 2)
    # Events that the replay has queued are not new, and one that fails does not count: it may fail for days.
    settle(db, DeliveryState.PENDING, new)
    assert requeue.queue_replay_step(db, everything, HR, 2, NOW, 4, detected + 1) == ReplayStep(3, 1)


def test_replay_step_ignores_a_new_event_behind_one_of_the_same_record(
    db: "Database", write_events: "Callable[..., list[int]]"
) -> None:
    settle(db, DeliveryState.DELIVERED, *write_events(db, *map(str, range(1, 5))))
    everything = past(db)
    first, second = write_events(db, "5", "6")
    settle(db, DeliveryState.PENDING, first, later_ms=NOW + DAY)
    assert requeue.queue_replay_step(db, everything, HR, 0, NOW, 3, NOW + 9 * DAY) == ReplayStep(0, 0)
    db.execute("UPDATE events SET subject = '5' WHERE sequence = ?", [second])
    assert requeue.queue_replay_step(db, everything, HR, 0, NOW, 3, NOW + 9 * DAY) == ReplayStep(2, 2)


def test_replay_examines_a_long_range_in_several_steps(
    db: "Database", write_events: "Callable[..., list[int]]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requeue, "EXAMINED_AT_ONCE", 3)
    settle(db, DeliveryState.DELIVERED, *write_events(db, *map(str, range(1, 11))))
    late = past(db, since_ms=NOW + 7 * DAY)
    assert counted(db, late, HR) == ReplayPlan(3, {"hr": 3}, 6, 10)
    # Events that were deleted meanwhile do not stop the replay.
    db.execute("DELETE FROM attempt_runs")
    db.execute("DELETE FROM deliveries WHERE sequence >= 9")
    db.execute("DELETE FROM events WHERE sequence >= 9")
    assert replayed(db, late) == 1


def test_next_detected_ms_returns_the_time_of_the_next_event(
    db: "Database", write_events: "Callable[..., list[int]]"
) -> None:
    write_events(db, "1", "2")
    assert [requeue.next_detected_ms(db, number) for number in range(3)] == [NOW, NOW + DAY, None]
