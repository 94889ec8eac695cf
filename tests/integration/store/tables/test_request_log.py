"""The log of requests: what is kept, how much, and what is erased."""

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.store.database import Database
from notifier.store.tables import erasure, request_log, retention
from notifier.store.tables.erasure import KnownPerson
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.request_log import LoggedRequest, SentRequest
from notifier.store.tables.settlements import Settlement, store_settlements

if TYPE_CHECKING:
    from tests.integration.store.conftest import MakeChange, NewDatabase, WriteEvents

ANSWERED = SentRequest(
    (("content-type", "application/json"),), 9, "d", (("Date", "x"), ("X", "a")), "no badge for David"
)


def entry(*sequences: int, at_ms: int = 5, request: SentRequest = ANSWERED) -> LoggedRequest:
    return LoggedRequest(at_ms, sequences, request)


def count(db: Database, destination: str | None = None) -> int:
    where = "" if destination is None else f" WHERE destination = '{destination}'"
    (found,) = db.execute(f"SELECT count(*) FROM request_log{where}").fetchone()
    return int(found)


def test_of_delivery_returns_requests_as_written(db: Database) -> None:
    without = SentRequest((), 0, "e", None, "")
    request_log.write(db, "hr", [entry(1), entry(2, 3, 4, 9), entry(3, at_ms=7, request=without)])
    request_log.write(db, "gate", [entry(3)])
    request_log.write(db, "gate", [])
    assert request_log.of_delivery(db, 3, "hr") == [entry(2, 3, 4, 9), entry(3, at_ms=7, request=without)]
    assert request_log.of_delivery(db, 5, "hr") == []
    assert request_log.of_delivery(db, 1, "gate") == []


@given(st.sets(st.integers(1, 2000), min_size=1))
def test_logged_request_keeps_all_event_numbers_of_its_batch(new_database: "NewDatabase", numbers: set[int]) -> None:
    with new_database() as db:
        request_log.write(db, "hr", [entry(*numbers)])
        for number in (min(numbers), max(numbers)):
            (logged,) = request_log.of_delivery(db, number, "hr")
            assert logged.sequences == tuple(sorted(numbers))
        absent = next(number for number in range(1, 2003) if number not in numbers)
        assert request_log.of_delivery(db, absent, "hr") == []


def test_request_log_keeps_the_latest_of_each_destination(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "KEPT_PER_DESTINATION", 30)
    request_log.write(db, "gate", [entry(1)])
    for number in range(1, 500):
        request_log.write(db, "hr", [entry(number)])
    assert 30 <= count(db, "hr") <= 130
    assert count(db, "gate") == 1
    assert request_log.of_delivery(db, 499, "hr")


def test_request_log_limits_each_of_two_alternating_destinations(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "KEPT_PER_DESTINATION", 30)
    for number in range(1, 500):
        request_log.write(db, ("hr", "gate")[number % 2], [entry(number)])
    assert 30 <= count(db, "hr") <= 130
    assert 30 <= count(db, "gate") <= 130


def test_request_log_limits_all_destinations_together(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "KEPT", 50)
    for number in range(1, 400):
        request_log.write(db, f"d{number % 60}", [entry(number)])
    assert 50 <= count(db) <= 150


def test_store_settlements_writes_the_logged_request(db: Database, write_events: "WriteEvents") -> None:
    one, two = write_events(db, "1", "2")
    logged = entry(one, two, at_ms=77)
    parts = (DeliveryState.DELIVERED, (one,), logged), (DeliveryState.DEAD, (two,), None)
    store_settlements(
        db,
        [Settlement(numbers, "hr", state, "d", "r", 200, "", 77, 5, 0, logged=it) for state, numbers, it in parts],
    )
    assert request_log.of_delivery(db, two, "hr") == [logged]
    assert count(db) == 1


def test_erase_events_erases_logged_requests_about_the_person(
    db: Database, write_events: "WriteEvents", change: "MakeChange"
) -> None:
    one, two, three = write_events(db, "1", "2", "3")
    person = change("1").completion.user_id
    db.execute("UPDATE events SET data = replace(data, ?, '\"eve\"') WHERE sequence <> ?", [f'"{person}"', one])
    taught = ['"instructor_id":null', '"instructor_id":"x"', three]
    db.execute("UPDATE events SET data = replace(data, ?, ?) WHERE sequence = ?", taught)
    request_log.write(db, "hr", [entry(one, two), entry(three)])
    erasure.erase_events(db, KnownPerson("acme", person, None))
    assert request_log.of_delivery(db, two, "hr") == []
    assert request_log.of_delivery(db, three, "hr") == [entry(three)]
    erasure.erase_events(db, KnownPerson("acme", "x", None))
    assert count(db) == 0


def test_request_log_is_deleted_with_its_events_and_by_age(db: Database, write_events: "WriteEvents") -> None:
    one, two = write_events(db, "1", "2", now_ms=10)
    db.execute("UPDATE deliveries SET state = 'delivered' WHERE sequence = ?", [one])
    request_log.write(db, "hr", [entry(one, at_ms=50), entry(two, at_ms=50)])
    retention.delete_old_events(db, 11)
    assert (request_log.of_delivery(db, one, "hr"), count(db)) == ([], 1)
    request_log.delete_old(db, 50)
    assert count(db) == 1
    request_log.delete_old(db, 51)
    assert count(db) == 0
