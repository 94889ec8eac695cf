"""What is stored about each destination, and how much waits for it."""

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from notifier.store.database import Database
from notifier.store.tables import destinations
from notifier.store.tables.destinations import DestinationMemory, Health, HealthState, LastError, UndeliveredGroup
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.settlements import Settlement, store_settlements

if TYPE_CHECKING:
    from tests.integration.store.conftest import WriteEvents

RETRYING = Health(HealthState.RETRYING, "timeout", 1000, failures=3, retry_at_ms=9000)


def settled(sequence: int, state: DeliveryState, destination: str = "hr") -> Settlement:
    return Settlement((sequence,), destination, state, "decision", "reason", 200, "", 1000, 20, 0)


def test_new_destination_is_healthy(db: Database) -> None:
    assert destinations.read_or_create(db, "hr") == Health()
    assert destinations.read_all(db) == {"hr": DestinationMemory(Health())}


@pytest.mark.parametrize("health", [RETRYING, Health(HealthState.DISABLED, "gone", 1000), Health()])
def test_destination_health_is_read_as_it_was_stored(db: Database, health: Health) -> None:
    destinations.read_or_create(db, "hr")
    destinations.store_health(db, "hr", RETRYING)
    destinations.store_health(db, "hr", health)
    assert destinations.read_or_create(db, "hr") == health


def test_last_error_is_kept_until_the_next_error(db: Database) -> None:
    destinations.read_or_create(db, "hr")
    destinations.store_health(db, "hr", RETRYING, LastError("timeout", "no answer", 1000))
    destinations.store_health(db, "hr", Health())
    assert destinations.read_all(db)["hr"].last_error == LastError("timeout", "no answer", 1000)
    destinations.store_health(db, "hr", Health(), LastError("http_status", "HTTP 500", 2000))
    assert destinations.read_all(db)["hr"].last_error == LastError("http_status", "HTTP 500", 2000)


def test_destinations_count_pending_delivered_and_dead_deliveries(db: Database, write_events: "WriteEvents") -> None:
    for name in ("hr", "slack"):
        destinations.read_or_create(db, name)
    first = write_events(db, "1", "2", to=("hr",), now_ms=1000)
    later = write_events(db, "3", "4", "5", to=("hr", "slack"), now_ms=2000)
    store_settlements(db, [settled(first[0], DeliveryState.DELIVERED), settled(first[1], DeliveryState.DEAD)])
    store_settlements(db, [settled(later[0], DeliveryState.PENDING), settled(later[2], DeliveryState.DELIVERED)])
    everything = destinations.read_all(db)
    assert everything["hr"] == DestinationMemory(
        Health(), delivered=2, pending=2, dead=1, oldest_pending_ms=2000, next_attempt_ms=0, oldest_due_ms=2000
    )
    assert everything["slack"] == DestinationMemory(
        Health(), pending=3, oldest_pending_ms=2000, next_attempt_ms=0, oldest_due_ms=2000
    )


def test_undelivered_groups_deliveries_by_state_and_last_failure_reason(
    db: Database, write_events: "WriteEvents"
) -> None:
    first, second, third, *_ = write_events(db, "1", "2", "3", "4", to=("hr",), now_ms=1000)
    refused = replace(settled(first, DeliveryState.PENDING), attempted_ms=2000, trying_ms=200)
    store_settlements(db, [refused])
    store_settlements(db, [replace(refused, reason="timeout", attempted_ms=3000, trying_ms=300)])
    store_settlements(db, [replace(refused, sequences=(second,), reason="timeout", attempted_ms=2500, trying_ms=250)])
    store_settlements(
        db, [replace(refused, sequences=(third,), state=DeliveryState.DEAD, attempted_ms=4000, trying_ms=400)]
    )
    found = destinations.undelivered(db)["hr"]
    assert sorted(found, key=lambda it: (it.state, it.reason or "")) == [
        UndeliveredGroup(DeliveryState.DEAD, "reason", 1, 400, 4000),
        UndeliveredGroup(DeliveryState.PENDING, None, 1),
        UndeliveredGroup(DeliveryState.PENDING, "timeout", 2, 200, 3000),
    ]


def test_pending_deliveries_of_a_destination_that_never_ran_are_counted(
    db: Database, write_events: "WriteEvents"
) -> None:
    write_events(db, "1", to=("hr",), now_ms=1000)
    assert destinations.read_all(db) == {
        "hr": DestinationMemory(Health(), pending=1, oldest_pending_ms=1000, next_attempt_ms=0, oldest_due_ms=1000)
    }
