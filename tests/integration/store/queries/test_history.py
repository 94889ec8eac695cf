"""Past events and deliveries, read a page at a time."""

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.store.database import Database
from notifier.store.file.connection import FileDatabase
from notifier.store.queries import history
from notifier.store.queries.history import DeliveryCursor, DeliveryFilter, PastDelivery
from notifier.store.tables import destinations, settlements
from notifier.store.tables.destinations import Health, HealthState
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.settlements import Settlement

if TYPE_CHECKING:
    from tests.integration.store.conftest import NewDatabase, WriteEvents

NOW = 1_795_280_400_123
ALL = DeliveryFilter()


def settle(db: Database, sequence: int, state: DeliveryState, *, to: str = "hr", next_attempt_ms: int = 0) -> None:
    settlements.store_settlements(
        db,
        [Settlement((sequence,), to, state, "retry_later", "server_error", 503, "busy", NOW, 12, next_attempt_ms)],
    )


def read_events(db: Database, *, page: int) -> list[int]:
    found: list[int] = []
    while events := history.events_after(db, found[-1] if found else 0, page):
        assert len(events) <= page
        assert not found or events[0].sequence > found[-1], "a page repeats what was read"
        found += [event.sequence for event in events]
    return found


def read_deliveries(db: Database, chosen: DeliveryFilter = ALL, *, page: int = 100) -> list[PastDelivery]:
    found: list[PastDelivery] = []
    while deliveries := history.deliveries_after(db, found[-1].cursor if found else DeliveryCursor(), chosen, page):
        assert len(deliveries) <= page
        assert not found or deliveries[0].cursor > found[-1].cursor, "a page repeats what was read"
        found += deliveries
    return found


def test_events_after_returns_whole_events_in_order(db: Database, write_events: "WriteEvents") -> None:
    first, second = write_events(db, "1238", "1239", now_ms=NOW)
    events = history.events_after(db, 0, 10)
    assert [(event.sequence, event.subject) for event in events] == [(first, "1238"), (second, "1239")]
    assert events[0].time_ms == NOW
    assert b'"key":"1238"' in events[0].data
    assert history.events_after(db, first, 10) == events[1:]
    assert history.events_after(db, second, 10) == []


@settings(deadline=None)
@given(count=st.integers(0, 12), page=st.integers(1, 5))
def test_history_pages_return_every_event_and_delivery_once(
    new_database: "NewDatabase", write_events: "WriteEvents", count: int, page: int
) -> None:
    with new_database() as db:
        told = write_events(db, *map(str, range(count)), to=("hr", "slack"))
        assert read_events(db, page=page) == told
        expected = [(sequence, destination) for sequence in told for destination in ("hr", "slack")]
        assert [delivery.cursor for delivery in read_deliveries(db, page=page)] == expected


@settings(deadline=None)
@given(count=st.integers(0, 8), wanted=st.integers(1, 8))
def test_latest_are_the_last_of_all_pages(
    new_database: "NewDatabase", write_events: "WriteEvents", count: int, wanted: int
) -> None:
    with new_database() as db:
        told = write_events(db, *map(str, range(count)))
        after = history.sequence_before_latest(db, wanted)
        assert [event.sequence for event in history.events_after(db, after, 100)] == told[-wanted:]
        latest = history.latest_deliveries(db, ALL, wanted)
        assert latest == read_deliveries(db)[-wanted:]


def test_past_delivery_has_its_event_and_the_last_outcome(db: Database, write_events: "WriteEvents") -> None:
    (sequence,) = write_events(db, "1238")
    settle(db, sequence, DeliveryState.PENDING, next_attempt_ms=NOW + 5_000)
    (delivery,) = read_deliveries(db)
    event = history.events_after(db, 0, 1)[0].id
    about = (event, "completion.created", "acme", "1238")
    outcome = ("retry_later", "server_error", 503, "busy")
    assert delivery == PastDelivery(
        DeliveryState.PENDING, sequence, "hr", *about, 1, *outcome, last_attempt_ms=NOW, next_attempt_ms=NOW + 5_000
    )


def test_past_delivery_without_attempt_is_due_at_once(db: Database, write_events: "WriteEvents") -> None:
    write_events(db, "1238")
    (delivery,) = read_deliveries(db)
    assert (delivery.attempts, delivery.last_attempt_ms, delivery.next_attempt_ms) == (0, None, 0)


@pytest.mark.parametrize("state", [DeliveryState.DELIVERED, DeliveryState.DEAD])
def test_finished_delivery_has_no_next_attempt(db: Database, write_events: "WriteEvents", state: DeliveryState) -> None:
    (sequence,) = write_events(db, "1238")
    settle(db, sequence, state, next_attempt_ms=NOW)
    (delivery,) = read_deliveries(db)
    assert (delivery.state, delivery.next_attempt_ms) == (state, None)


def test_next_attempt_of_a_delivery_follows_the_health_of_its_destination(
    db: Database, write_events: "WriteEvents"
) -> None:
    write_events(db, "1238", to=("hr", "slack"))
    for name, health in (
        ("hr", Health(HealthState.RETRYING, "timeout", NOW, 1, retry_at_ms=NOW + 9_000)),
        ("slack", Health(HealthState.DISABLED, "gone", NOW)),
    ):
        destinations.read_or_create(db, name)
        destinations.store_health(db, name, health)
    assert [delivery.next_attempt_ms for delivery in read_deliveries(db)] == [NOW + 9_000, None]


def test_delivery_filter_selects_by_state_and_destination(db: Database, write_events: "WriteEvents") -> None:
    one, two, three = write_events(db, "1", "2", "3", to=("hr", "slack"))
    settle(db, one, DeliveryState.DELIVERED)
    settle(db, two, DeliveryState.DEAD)
    settle(db, two, DeliveryState.DEAD, to="slack")

    def chosen(state: DeliveryState | None = None, destination: str | None = None) -> list[DeliveryCursor]:
        wanted = DeliveryFilter(state, destination)
        found = [delivery.cursor for delivery in read_deliveries(db, wanted)]
        assert [delivery.cursor for delivery in history.latest_deliveries(db, wanted, 100)] == found
        return found

    assert chosen(DeliveryState.DEAD) == [(two, "hr"), (two, "slack")]
    assert chosen(DeliveryState.DELIVERED) == [(one, "hr")]
    assert chosen(destination="hr") == [(one, "hr"), (two, "hr"), (three, "hr")]
    assert chosen(DeliveryState.PENDING, "slack") == [(one, "slack"), (three, "slack")]
    assert chosen(DeliveryState.PENDING, "nobody") == []


def test_latest_dead_deliveries_use_the_index_of_unfinished_ones(
    file_db: FileDatabase, write_events: "WriteEvents"
) -> None:
    write_events(file_db, "1")
    steps: list[str] = []
    file_db.execute("PRAGMA optimize")
    with file_db.tracer(lambda sql, _: steps.append(sql)):
        history.latest_deliveries(file_db, DeliveryFilter(DeliveryState.DEAD, "hr"), 10)
    plan = file_db.execute(f"EXPLAIN QUERY PLAN {steps[-1]}", ["dead", "hr", 10]).fetchall()
    assert any("deliveries_unfinished" in row[-1] for row in plan)


def test_known_destination_names_lists_every_stored_destination(db: Database) -> None:
    assert history.known_destination_names(db) == set()
    destinations.read_or_create(db, "former")
    assert history.known_destination_names(db) == {"former"}
