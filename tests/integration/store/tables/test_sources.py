"""What is remembered of a source between two runs."""

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import fields, replace

from notifier.store.database import Database
from notifier.store.tables import sources
from notifier.store.tables.sources import SourceError, SourceMemory

if TYPE_CHECKING:
    from tests.integration.store.conftest import Tell

ERROR = SourceError("rate_limit_exceeded", "too many requests", 5000)


def test_a_source_never_heard_of_has_not_been_met(db: Database) -> None:
    assert sources.read_or_create(db, "globex") == SourceMemory()
    assert sources.read_all(db) == {"acme": SourceMemory(), "globex": SourceMemory()}


@pytest.mark.parametrize("name", [field.name for field in fields(SourceMemory) if field.name != "error"])
def test_each_value_is_written_by_the_name_that_it_has(db: Database, name: str) -> None:
    sources.read_or_create(db, "globex")
    memory = sources.update(db, "acme", **{name: 1})
    assert memory == sources.read_or_create(db, "acme")
    assert getattr(memory, name) in (1, "1")
    assert replace(memory, **{name: getattr(SourceMemory(), name)}) == SourceMemory()
    assert sources.read_or_create(db, "globex") == SourceMemory()


def test_a_failure_is_remembered_with_its_silence(db: Database) -> None:
    memory = sources.record_failure(db, "acme", ERROR, 65_000)
    assert memory == sources.read_or_create(db, "acme")
    assert (memory.error, memory.silent_until_ms, memory.silent_reason) == (ERROR, 65_000, "rate_limit_exceeded")


def test_a_failure_without_a_silence_does_not_end_the_one_that_is_on(db: Database) -> None:
    sources.record_failure(db, "acme", ERROR, 65_000)
    timeout = SourceError("timeout", "no answer", 6000)
    memory = sources.record_failure(db, "acme", timeout, None)
    assert (memory.error, memory.silent_until_ms, memory.silent_reason) == (timeout, 65_000, "rate_limit_exceeded")


def test_success_ends_the_silence_and_keeps_the_error_to_be_read(db: Database) -> None:
    sources.record_failure(db, "acme", ERROR, 65_000)
    memory = sources.record_success(db, "acme", 70_000)
    assert memory == SourceMemory(last_success_ms=70_000, error=ERROR)


def test_where_a_head_poll_broke_off_is_remembered_until_a_round_succeeds(db: Database) -> None:
    sources.update(db, "acme", head_key="1238", head_day="2020-02-27")
    memory = sources.record_failure(db, "acme", ERROR, None)
    assert (memory.head_key, memory.head_day) == ("1238", "2020-02-27")
    memory = sources.record_success(db, "acme", 1000)
    assert (memory.head_key, memory.head_day) == (None, None)


def test_sources_do_not_disturb_each_other(db: Database) -> None:
    sources.read_or_create(db, "globex")
    sources.update(db, "globex", first_contact_ms=1000)
    sources.record_failure(db, "globex", ERROR, 65_000)
    sources.update(db, "globex", head_key="1238", head_day="2020-02-27")
    assert sources.read_or_create(db, "acme") == SourceMemory()


@pytest.mark.parametrize(("outage_ms", "gap_since_ms"), [(5000, None), (5001, 6001), (90_000, 91_000)])
def test_after_an_outage_longer_than_allowed_there_is_a_gap(
    db: Database, outage_ms: int, gap_since_ms: int | None
) -> None:
    sources.record_success(db, "acme", 1000, longest_outage_ms=5000)
    memory = sources.record_success(db, "acme", 1000 + outage_ms, longest_outage_ms=5000)
    assert (memory.gap_since_ms, memory.last_success_ms) == (gap_since_ms, 1000 + outage_ms)


def test_before_the_first_success_there_was_no_outage(db: Database) -> None:
    assert sources.record_success(db, "acme", 10**12, longest_outage_ms=5000).gap_since_ms is None


def test_a_gap_began_with_the_first_outage_and_success_does_not_close_it(db: Database) -> None:
    for now_ms in (1000, 10_000, 11_000, 90_000):
        memory = sources.record_success(db, "acme", now_ms, longest_outage_ms=5000)
    assert memory.gap_since_ms == 10_000


def test_a_clock_that_was_set_back_is_no_outage(db: Database) -> None:
    sources.record_success(db, "acme", 90_000, longest_outage_ms=5000)
    assert sources.record_success(db, "acme", 1000, longest_outage_ms=5000).gap_since_ms is None


def test_without_a_longest_outage_none_makes_a_gap(db: Database) -> None:
    sources.record_success(db, "acme", 1000)
    assert sources.record_success(db, "acme", 10**12).gap_since_ms is None


def test_unreadable_records_and_the_apis_own_error_are_expected_beside_the_known_records(
    db: Database, tell: "Tell"
) -> None:
    tell(db, "1", "2", "3")
    assert sources.read_or_create(db, "acme").expected == 3
    assert sources.update(db, "acme", unreadable=2, count_offset=4, unexplained=7).expected == 9
    assert sources.update(db, "acme", count_offset=-1).expected == 4


def test_the_counts_of_sources_do_not_disturb_each_other(db: Database) -> None:
    sources.read_or_create(db, "globex")
    sources.record_success(db, "acme", 1000)
    sources.update(db, "globex", count_offset=2, left_over=4, held=21)
    for now_ms in (1000, 10_000):
        sources.record_success(db, "globex", now_ms, longest_outage_ms=5000)
    assert sources.read_or_create(db, "acme") == SourceMemory(last_success_ms=1000)
