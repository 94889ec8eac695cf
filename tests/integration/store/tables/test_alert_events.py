"""The change of a condition and its alert are written together, for only one destination."""

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from msgspec.structs import replace

from notifier.store.database import Database
from notifier.store.file.store import FileStore
from notifier.store.queries import history
from notifier.store.tables import alert_events, conditions, destinations, outbox, retention
from notifier.store.tables.alert_events import Handover
from notifier.store.tables.conditions import ConditionChange, ConditionState, Phase, StoredCondition
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.settlements import Settlement, store_settlements

if TYPE_CHECKING:
    from notifier.events import Event
    from tests.integration.store.conftest import WriteEvents

NOW = 1_795_280_400_123
GAP = StoredCondition("gap", "sources/acme", "something may have been missed", NOW - 1000, NOW)
HELD = StoredCondition("removals_held", "sources/acme", "40 records seem gone", NOW - 2000)


def firing(condition: StoredCondition, destination: str | None = "safety") -> ConditionChange:
    return ConditionChange(ConditionState.FIRING, condition, "began", destination)


def resolved(condition: StoredCondition, destination: str | None = "safety") -> ConditionChange:
    return ConditionChange(ConditionState.RESOLVED, condition, "ended", destination)


def deliveries(db: Database) -> list[tuple[int, str]]:
    return list(db.execute("SELECT sequence, destination FROM deliveries ORDER BY sequence"))


def test_firing_conditions_are_stored_oldest_first(db: Database) -> None:
    alert_events.write(db, [firing(GAP), firing(HELD)], NOW)
    assert conditions.read_firing(db) == (HELD, GAP)
    later = StoredCondition(GAP.name, GAP.subject, "worse", GAP.since_ms, NOW + 5)
    over = StoredCondition(HELD.name, HELD.subject, "over", HELD.since_ms, phase=Phase.OVER)
    alert_events.write(db, [firing(later, None), resolved(over)], NOW)
    assert conditions.read_firing(db) == (later,)


def test_alert_is_an_event_for_one_destination(db: Database) -> None:
    (event,) = alert_events.write(db, [firing(GAP)], NOW).events
    assert (event.type, event.source, event.subject, event.time_ms) == ("notifier.alert", "", "sources/acme", NOW)
    assert orjson.loads(event.data) == {
        "condition": "gap",
        "state": "firing",
        "subject": "sources/acme",
        "subjects": ["sources/acme"],
        "summary": "something may have been missed",
        "since": "2026-11-21T16:59:59.123Z",
        "cause": "",
        "net": "",
        "remedy": "",
        "ending": "",
    }
    assert history.events_after(db, 0, 10) == [event]
    assert deliveries(db) == [(event.sequence, "safety")]
    (delivery,) = outbox.read_due(db, "safety", now_ms=NOW, horizon_ms=NOW + 1, limit=10, in_flight=()).deliveries
    assert delivery.event == event


def test_condition_without_destination_writes_no_event(db: Database) -> None:
    assert alert_events.write(db, [firing(GAP, None)], NOW).events == ()
    assert alert_events.write(db, [resolved(GAP, None)], NOW).events == ()
    assert history.events_after(db, 0, 10) == []
    assert deliveries(db) == []


def test_each_alert_has_its_own_id_and_is_written_once(db: Database) -> None:
    every = [firing(GAP), firing(HELD), resolved(GAP)]
    events = [*alert_events.write(db, every, NOW).events, *alert_events.write(db, [firing(GAP)], NOW + 1).events]
    assert len({event.id for event in events}) == 4
    assert alert_events.write(db, every, NOW).events == ()


def test_resolved_alert_withdraws_the_undelivered_firing_alert(db: Database) -> None:
    (first,) = alert_events.write(db, [firing(GAP)], NOW).events
    (other,) = alert_events.write(db, [firing(HELD)], NOW).events
    later = alert_events.write(db, [resolved(GAP)], NOW + 60_000)
    assert later.withdrawn == {"safety"}
    assert deliveries(db) == [(other.sequence, "safety"), (later.events[0].sequence, "safety")]
    assert first.sequence not in dict(deliveries(db))
    assert alert_events.oldest_undelivered_ms(db, "safety") == NOW


def test_delivered_alert_is_not_withdrawn(db: Database) -> None:
    destinations.read_or_create(db, "safety")
    (event,) = alert_events.write(db, [firing(GAP)], NOW).events
    done = Settlement((event.sequence,), "safety", DeliveryState.DELIVERED, "done", "ok", 200, "", NOW, 1, 0)
    store_settlements(db, [done])
    assert alert_events.oldest_undelivered_ms(db, "safety") is None
    assert not alert_events.write(db, [resolved(GAP)], NOW + 1).withdrawn


def delivered(db: Database, event: "Event") -> None:
    destinations.read_or_create(db, "safety")
    done = Settlement((event.sequence,), "safety", DeliveryState.DELIVERED, "done", "ok", 200, "", NOW, 1, 0)
    store_settlements(db, [done])


def test_handover_alert_names_the_delivered_conditions_that_are_still_active(db: Database) -> None:
    told, waits = alert_events.write(db, [firing(GAP), firing(HELD)], NOW).events
    delivered(db, told)
    handover = Handover("safety", "ops", [GAP, HELD])
    later = alert_events.write(db, [], NOW + 60_000, [handover])
    (event,) = later.events
    said = orjson.loads(event.data)
    assert (said["condition"], said["state"], said["ending"]) == ("alerts_moved", "withdrawn", "alerts now go to ops")
    # The alert that was not delivered there is withdrawn and not named.
    assert said["conditions"] == [{"condition": "gap", "subject": GAP.subject}]
    assert said["summary"].endswith("these conditions are still active: acme: changes may have been missed")
    assert later.withdrawn == {"safety"}
    assert deliveries(db) == [(told.sequence, "safety"), (event.sequence, "safety")]
    assert waits.sequence not in dict(deliveries(db))


def test_handover_without_delivered_alerts_writes_no_event(db: Database) -> None:
    alert_events.write(db, [firing(GAP)], NOW)
    later = alert_events.write(db, [], NOW + 60_000, [Handover("safety", "", [GAP])])
    assert later.events == ()
    assert later.withdrawn == {"safety"}
    assert deliveries(db) == []


def test_handover_alert_about_130_conditions_names_100(db: Database) -> None:
    many = [replace(GAP, subject=f"sources/customer-{number}") for number in range(130)]
    for event in alert_events.write(db, [firing(it) for it in many], NOW).events:
        delivered(db, event)
    (event,) = alert_events.write(db, [], NOW + 1, [Handover("safety", "", many)]).events
    said = orjson.loads(event.data)
    assert said["summary"].count("customer-") == 100
    assert said["summary"].endswith("; and 30 more, which `notifier status` shows")
    assert "alerts now go to nobody" in said["summary"]


def test_conditions_with_the_same_name_and_cause_share_one_alert(db: Database) -> None:
    many = [
        firing(
            StoredCondition(
                "source_failing", f"sources/customer-{number}", f"customer-{number}: down", NOW, NOW, cause=cause
            )
        )
        for number, cause in enumerate(["http_status"] * 60 + ["token_invalid"])
    ]
    together, alone = alert_events.write(db, many, NOW).events
    said = orjson.loads(together.data)
    assert (said["subject"], len(said["subjects"]), said["cause"]) == ("sources", 60, "http_status")
    assert all(f"customer-{number}" in said["summary"] for number in range(60))
    assert alone.subject == "sources/customer-60"
    # When one of them ends, the alert about the others stays in the queue.
    alert_events.write(db, [resolved(many[3].condition)], NOW + 1)
    assert together.sequence in dict(deliveries(db))


async def test_condition_and_alert_are_rolled_back_together(store: FileStore) -> None:
    def cut_off(db: Database) -> None:
        alert_events.write(db, [firing(GAP)], NOW)
        raise RuntimeError

    def remembered(db: Database) -> tuple[Any, ...]:
        return conditions.read_firing(db), history.events_after(db, 0, 10), deliveries(db)

    with pytest.raises(RuntimeError):
        await store.run(cut_off)
    assert await store.run(remembered) == ((), [], [])


def test_destination_counts_include_alerts(db: Database, write_events: "WriteEvents") -> None:
    destinations.read_or_create(db, "safety")
    write_events(db, "1238", to=("safety",))
    (event,) = alert_events.write(db, [firing(GAP)], NOW).events
    assert destinations.read_all(db)["safety"].pending == 2
    done = Settlement((event.sequence,), "safety", DeliveryState.DELIVERED, "done", "ok", 200, "", NOW, 1, 0)
    store_settlements(db, [done])
    memory = destinations.read_all(db)["safety"]
    assert (memory.pending, memory.delivered) == (1, 1)


def test_condition_stays_firing_after_its_alert_is_deleted(db: Database) -> None:
    (event,) = alert_events.write(db, [firing(GAP)], NOW).events
    destinations.read_or_create(db, "safety")
    done = Settlement((event.sequence,), "safety", DeliveryState.DELIVERED, "done", "ok", 200, "", NOW, 1, 0)
    store_settlements(db, [done])
    assert retention.delete_old_events(db, NOW + 1).events == 1
    assert conditions.read_firing(db) == (GAP,)
    alert_events.write(db, [resolved(GAP)], NOW + 2)
    assert [later.sequence for later in history.events_after(db, 0, 10)] == [event.sequence + 1]
