"""How the outcome of each attempt is stored."""

from sqlite3 import IntegrityError
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from notifier.store.database import Database
from notifier.store.file.connection import FileDatabase
from notifier.store.tables import destinations, outbox
from notifier.store.tables.outbox import DeliveryState, DueDeliveries
from notifier.store.tables.settlements import LONGEST_RUN, Settlement, store_settlements
from tests.support.settlements import NOW, settlement
from tests.support.table_rows import table_rows

if TYPE_CHECKING:
    from tests.integration.store.conftest import NewDatabase, WriteEvents


def due(db: Database) -> DueDeliveries:
    return outbox.read_due(db, "hr", now_ms=NOW, horizon_ms=NOW + 3600_000, limit=100, in_flight=())


def numbers(found: DueDeliveries) -> list[int]:
    return [delivery.event.sequence for delivery in found.deliveries]


def rows(db: Database, table: str) -> list[dict[str, Any]]:
    return table_rows(db, table)


def test_store_settlements_updates_the_delivery_and_stores_each_attempt(
    db: Database, write_events: "WriteEvents"
) -> None:
    (sequence,) = write_events(db, "1", to=("hr", "slack"))
    store_settlements(
        db, [Settlement((sequence,), "hr", DeliveryState.PENDING, "retry", "timeout", None, "", 1000, 900, 5000, True)]
    )
    store_settlements(
        db, [Settlement((sequence,), "hr", DeliveryState.DELIVERED, "done", "ok", 200, "fine", 6000, 20, 0)]
    )
    common = {"sequence": sequence, "destination": "hr"}
    assert rows(db, "deliveries") == [
        common
        | {
            "state": "delivered",
            "attempts": 2,
            "suspicions": 1,
            "again": 0,
            "next_attempt_at": 0,
            "first_attempt_at": 1000,
            "tried_from": 0,
            "proven": 0,
            "taken_by": None,
            "queued_at": None,
            "slot_at": None,
            "at_once": 0,
        }
        | {"last_attempt_at": 6000, "decision": "done", "reason": "ok", "status": 200, "detail": "fine"},
        common
        | {
            "destination": "slack",
            "state": "pending",
            "attempts": 0,
            "suspicions": 0,
            "again": 0,
            "next_attempt_at": 0,
            "first_attempt_at": None,
            "tried_from": None,
            "proven": 0,
            "taken_by": None,
            "queued_at": None,
            "slot_at": None,
            "at_once": 0,
        }
        | {"last_attempt_at": None, "decision": None, "reason": None, "status": None, "detail": None},
    ]
    assert rows(db, "attempts") == [
        common
        | {"id": 1, "attempted_at": 1000, "milliseconds": 900, "decision": "retry", "reason": "timeout"}
        | {"status": None, "detail": None},
        common
        | {"id": 2, "attempted_at": 6000, "milliseconds": 20, "decision": "done", "reason": "ok"}
        | {"status": 200, "detail": "fine"},
    ]


def test_due_delivery_has_the_number_and_the_start_of_its_attempts(db: Database, write_events: "WriteEvents") -> None:
    (sequence,) = write_events(db, "1")
    for attempted_ms in (1000, 2000, 3000):
        store_settlements(db, [settlement(sequence, DeliveryState.PENDING, attempted_ms=NOW, trying_ms=attempted_ms)])
    (delivery,) = due(db).deliveries
    assert (delivery.attempts, delivery.tried_from_ms) == (3, 1000)


def test_store_settlements_stores_a_different_outcome_for_each_event(db: Database, write_events: "WriteEvents") -> None:
    destinations.read_or_create(db, "hr")
    destinations.read_or_create(db, "slack")
    sequences = write_events(db, *"1234", to=("hr", "slack"))
    store_settlements(
        db,
        [
            settlement(sequences[0]),
            settlement(sequences[1], DeliveryState.DEAD),
            settlement(sequences[2], DeliveryState.PENDING, next_attempt_ms=NOW + 1),
            settlement(sequences[0], destination="slack"),
        ],
    )
    assert numbers(due(db)) == sequences[3:]
    assert {name: memory.delivered for name, memory in destinations.read_all(db).items()} == {"hr": 1, "slack": 1}
    assert len(rows(db, "attempts")) == 4


def test_settlement_of_several_events_settles_exactly_those(db: Database, write_events: "WriteEvents") -> None:
    destinations.read_or_create(db, "hr")
    sequences = write_events(db, *map(str, range(1, 8)), to=("hr", "slack"))
    shared = (*sequences[:3], *sequences[5:])
    store_settlements(db, [replace(settlement(0), sequences=shared)])
    assert numbers(due(db)) == sequences[3:5]
    assert [(row["sequence"], row["destination"]) for row in rows(db, "attempts")] == [(it, "hr") for it in shared]
    assert [(row["first_sequence"], row["last_sequence"]) for row in rows(db, "attempt_runs")] == [
        (sequences[0], sequences[2]),
        (sequences[5], sequences[6]),
    ]
    assert destinations.read_all(db)["hr"].delivered == len(shared)
    assert {row["attempts"] for row in rows(db, "deliveries") if row["destination"] == "slack"} == {0}


def test_attempts_view_lists_every_event_of_a_very_long_run(db: Database, write_events: "WriteEvents") -> None:
    sequences = write_events(db, *map(str, range(LONGEST_RUN + 1)))
    store_settlements(db, [replace(settlement(0), sequences=tuple(sequences))])
    assert [row["sequence"] for row in rows(db, "attempts")] == sequences


def test_attempts_view_reads_each_run_once(file_db: FileDatabase) -> None:
    plan = [step for *_, step in file_db.execute("EXPLAIN QUERY PLAN SELECT * FROM attempts").fetchall()]
    assert plan == ["SCAN r", "SEARCH d USING PRIMARY KEY (sequence>? AND sequence<?)"]


@pytest.mark.parametrize("count", [1, 3, 4, 63, 64, 65, 85, 200])
def test_store_settlements_stores_each_of_many_outcomes_once(
    db: Database, write_events: "WriteEvents", count: int
) -> None:
    sequences = write_events(db, *map(str, range(count)))
    settlements = [replace(settlement(0, attempted_ms=NOW + number), sequences=(number,)) for number in sequences]
    store_settlements(db, settlements)
    assert [(row["attempts"], row["last_attempt_at"]) for row in rows(db, "deliveries")] == [
        (1, NOW + number) for number in sequences
    ]
    assert [row["sequence"] for row in rows(db, "attempts")] == sequences


def test_failed_batch_of_settlements_is_not_stored_with_the_next_one(db: Database, write_events: "WriteEvents") -> None:
    first, second = write_events(db, "1", "2")
    destinations.read_or_create(db, "hr")
    refused: Any = None
    with pytest.raises((IntegrityError, psycopg.errors.IntegrityError)), db.atomic():
        store_settlements(db, [settlement(first), replace(settlement(first), attempted_ms=refused)])
    with db.atomic():
        store_settlements(db, [settlement(second)])
    assert [(row["sequence"], row["attempts"]) for row in rows(db, "deliveries")] == [(first, 0), (second, 1)]
    assert [row["sequence"] for row in rows(db, "attempts")] == [second]
    assert destinations.read_all(db)["hr"].delivered == 1


def test_store_settlements_with_an_empty_list_changes_nothing(db: Database, write_events: "WriteEvents") -> None:
    write_events(db, "1")
    before = rows(db, "deliveries")
    store_settlements(db, [])
    assert rows(db, "deliveries") == before


@settings(max_examples=40)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_settlement_keeps_any_text_of_the_answer(
    new_database: "NewDatabase", write_events: "WriteEvents", detail: str
) -> None:
    with new_database() as db:
        (sequence,) = write_events(db, "1")
        store_settlements(db, [Settlement((sequence,), "hr", DeliveryState.DEAD, "no", "no", 400, detail, NOW, 1, 0)])
        assert rows(db, "deliveries")[0]["detail"] == (detail or None)
