"""A condition's turn and its notice are written together, for one destination alone."""

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from sqlite_utils import Database

from notifier.ledger import conditions, destinations, history, outbox, retention
from notifier.ledger.conditions import ConditionState, Notice, Standing
from notifier.ledger.ledger import Ledger
from notifier.ledger.outbox import DeliveryState, Settlement

if TYPE_CHECKING:
    from tests.ledger.conftest import Tell

NOW = 1_795_280_400_123
GAP = Standing("gap", "sources/acme", "something may have been missed", NOW - 1000, NOW)
HELD = Standing("removals_held", "sources/acme", "40 records seem gone", NOW - 2000)


def firing(standing: Standing, destination: str | None = "safety") -> Notice:
    return Notice(ConditionState.FIRING, standing, "began", destination)


def resolved(standing: Standing, destination: str | None = "safety") -> Notice:
    return Notice(ConditionState.RESOLVED, standing, "ended", destination)


def deliveries(db: Database) -> list[tuple[int, str]]:
    return list(db.execute("SELECT sequence, destination FROM deliveries ORDER BY sequence"))


def test_what_fires_is_remembered_the_longest_first(db: Database) -> None:
    conditions.write(db, [firing(GAP), firing(HELD)], NOW)
    assert conditions.everything(db) == (HELD, GAP)
    later = Standing(GAP.name, GAP.subject, "worse", GAP.since_ms, NOW + 5)
    conditions.write(db, [firing(later, None), resolved(HELD)], NOW)
    assert conditions.everything(db) == (later,)


def test_a_notice_is_an_event_for_one_destination(db: Database) -> None:
    (event,) = conditions.write(db, [firing(GAP)], NOW)
    assert (event.type, event.source, event.subject, event.time_ms) == ("notifier.alert", "", "sources/acme", NOW)
    assert orjson.loads(event.data) == {
        "condition": "gap",
        "state": "firing",
        "subject": "sources/acme",
        "summary": "something may have been missed",
        "since": "2026-11-21T16:59:59.123Z",
    }
    assert history.events_after(db, 0, 10) == [event]
    assert deliveries(db) == [(event.sequence, "safety")]
    (delivery,) = outbox.due(db, "safety", now_ms=NOW, horizon_ms=NOW + 1, limit=10, in_flight=()).deliveries
    assert delivery.event == event


def test_whom_nobody_is_told_of_has_no_event(db: Database) -> None:
    assert conditions.write(db, [firing(GAP, None)], NOW) == []
    assert conditions.write(db, [resolved(GAP, None)], NOW) == []
    assert history.events_after(db, 0, 10) == []
    assert deliveries(db) == []


def test_each_notice_has_an_id_of_its_own_and_the_same_one_is_not_written_twice(db: Database) -> None:
    every = [firing(GAP), firing(HELD), resolved(GAP)]
    events = conditions.write(db, every, NOW)
    events += conditions.write(db, [firing(GAP)], NOW + 1)
    assert len({event.id for event in events}) == 4
    assert conditions.write(db, every, NOW) == []
    assert len(deliveries(db)) == 4


async def test_a_turn_and_its_notice_are_written_both_or_neither(ledger: Ledger) -> None:
    def cut_off(db: Database) -> None:
        conditions.write(db, [firing(GAP)], NOW)
        raise RuntimeError

    def remembered(db: Database) -> tuple[Any, ...]:
        return conditions.everything(db), history.events_after(db, 0, 10), deliveries(db)

    with pytest.raises(RuntimeError):
        await ledger.run(cut_off)
    assert await ledger.run(remembered) == ((), [], [])


def test_notices_count_among_what_is_pending_and_delivered(db: Database, tell: "Tell") -> None:
    destinations.recall(db, "safety")
    tell(db, "1238", to=("safety",))
    (event,) = conditions.write(db, [firing(GAP)], NOW)
    assert destinations.everything(db)["safety"].pending == 2
    done = Settlement((event.sequence,), "safety", DeliveryState.DELIVERED, "done", "ok", 200, "", NOW, 1, 0)
    outbox.settle(db, [done])
    memory = destinations.everything(db)["safety"]
    assert (memory.pending, memory.delivered) == (1, 1)


def test_a_condition_goes_on_when_its_notice_is_forgotten(db: Database) -> None:
    (event,) = conditions.write(db, [firing(GAP)], NOW)
    destinations.recall(db, "safety")
    done = Settlement((event.sequence,), "safety", DeliveryState.DELIVERED, "done", "ok", 200, "", NOW, 1, 0)
    outbox.settle(db, [done])
    assert retention.forget(db, NOW + 1).events == 1
    assert conditions.everything(db) == (GAP,)
    conditions.write(db, [resolved(GAP)], NOW + 2)
    assert [later.sequence for later in history.events_after(db, 0, 10)] == [event.sequence + 1]
