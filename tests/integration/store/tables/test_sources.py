"""What is stored about a source between two runs."""

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import fields, replace

from notifier.store.database import Database
from notifier.store.tables import sources
from notifier.store.tables.sources import SourceError, SourceMemory

if TYPE_CHECKING:
    from tests.integration.store.conftest import WriteEvents

ERROR = SourceError("rate_limit_exceeded", "too many requests", 5000)


def test_new_source_has_an_empty_memory(db: Database) -> None:
    assert sources.read_or_create(db, "globex") == SourceMemory()
    assert sources.read_all(db) == {"acme": SourceMemory(), "globex": SourceMemory()}


@pytest.mark.parametrize("name", [field.name for field in fields(SourceMemory) if field.name != "error"])
def test_update_writes_each_value_by_its_name(db: Database, name: str) -> None:
    sources.read_or_create(db, "globex")
    memory = sources.update(db, "acme", **{name: 1})
    assert memory == sources.read_or_create(db, "acme")
    assert getattr(memory, name) in (1, "1")
    assert replace(memory, **{name: getattr(SourceMemory(), name)}) == SourceMemory()
    assert sources.read_or_create(db, "globex") == SourceMemory()


def test_record_failure_stores_the_error_and_the_silence(db: Database) -> None:
    memory = sources.record_failure(db, "acme", ERROR, 65_000)
    assert memory == sources.read_or_create(db, "acme")
    assert (memory.error, memory.silent_until_ms, memory.silent_reason) == (ERROR, 65_000, "rate_limit_exceeded")


def test_record_failure_without_a_silence_keeps_the_present_one(db: Database) -> None:
    sources.record_failure(db, "acme", ERROR, 65_000)
    timeout = SourceError("timeout", "no answer", 6000)
    memory = sources.record_failure(db, "acme", timeout, None)
    assert (memory.error, memory.silent_until_ms, memory.silent_reason) == (timeout, 65_000, "rate_limit_exceeded")


def test_record_success_ends_the_silence_and_keeps_the_error(db: Database) -> None:
    sources.record_failure(db, "acme", ERROR, 65_000)
    memory = sources.record_success(db, "acme", 70_000)
    assert memory == SourceMemory(last_success_ms=70_000, error=ERROR)


def test_head_poll_position_is_kept_until_a_success(db: Database) -> None:
    sources.update(db, "acme", head_key="1238", head_day="2020-02-27")
    memory = sources.record_failure(db, "acme", ERROR, None)
    assert (memory.head_key, memory.head_day) == ("1238", "2020-02-27")
    memory = sources.record_success(db, "acme", 1000)
    assert (memory.head_key, memory.head_day) == (None, None)


def test_updates_of_one_source_leave_another_unchanged(db: Database) -> None:
    sources.read_or_create(db, "globex")
    sources.update(db, "globex", first_contact_ms=1000)
    sources.record_failure(db, "globex", ERROR, 65_000)
    sources.update(db, "globex", head_key="1238", head_day="2020-02-27")
    assert sources.read_or_create(db, "acme") == SourceMemory()


@pytest.mark.parametrize(("outage_ms", "gap_since_ms"), [(5000, None), (5001, 6001), (90_000, 91_000)])
def test_outage_longer_than_the_limit_stores_a_gap(db: Database, outage_ms: int, gap_since_ms: int | None) -> None:
    sources.record_success(db, "acme", 1000, longest_outage_ms=5000)
    memory = sources.record_success(db, "acme", 1000 + outage_ms, longest_outage_ms=5000)
    assert (memory.gap_since_ms, memory.last_success_ms) == (gap_since_ms, 1000 + outage_ms)


def test_first_success_stores_no_gap(db: Database) -> None:
    assert sources.record_success(db, "acme", 10**12, longest_outage_ms=5000).gap_since_ms is None


def test_gap_keeps_the_time_of_the_first_outage_after_later_successes(db: Database) -> None:
    for now_ms in (1000, 10_000, 11_000, 90_000):
        memory = sources.record_success(db, "acme", now_ms, longest_outage_ms=5000)
    assert memory.gap_since_ms == 10_000


def test_clock_set_back_stores_no_gap(db: Database) -> None:
    sources.record_success(db, "acme", 90_000, longest_outage_ms=5000)
    assert sources.record_success(db, "acme", 1000, longest_outage_ms=5000).gap_since_ms is None


def test_outage_without_a_limit_stores_no_gap(db: Database) -> None:
    sources.record_success(db, "acme", 1000)
    assert sources.record_success(db, "acme", 10**12).gap_since_ms is None


def test_expected_adds_the_unreadable_records_and_the_count_offset(db: Database, write_events: "WriteEvents") -> None:
    write_events(db, "1", "2", "3")
    assert sources.read_or_create(db, "acme").expected == 3
    assert sources.update(db, "acme", unreadable=2, count_offset=4, unexplained=7).expected == 9
    assert sources.update(db, "acme", count_offset=-1).expected == 4


def test_counts_and_gap_of_one_source_leave_another_unchanged(db: Database) -> None:
    sources.read_or_create(db, "globex")
    sources.record_success(db, "acme", 1000)
    sources.update(db, "globex", count_offset=2, left_over=4, held=21)
    for now_ms in (1000, 10_000):
        sources.record_success(db, "globex", now_ms, longest_outage_ms=5000)
    assert sources.read_or_create(db, "acme") == SourceMemory(last_success_ms=1000)
