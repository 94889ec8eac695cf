"""What people must be told of a source."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.conditions import Condition, ConditionName
from notifier.ledger.sources import SourceMemory
from notifier.watch.gaps import conditions, gap

DAY = 86_400.0
DAY_MS = 86_400_000
NOW = 1_795_280_400_123  # 2026-11-21T17:00:00.123Z
WHOLE = SourceMemory(met_at_ms=NOW - 30 * DAY_MS, swept_at_ms=NOW - 1000, records=1200)

moments = st.integers(1, 2**42)


@given(moments, st.none() | moments, st.booleans())
def test_before_the_first_meeting_there_is_nothing_to_miss(now_ms: int, gap_since_ms: int | None, swept: bool) -> None:
    memory = SourceMemory(swept_at_ms=1 if swept else None, gap_since_ms=gap_since_ms)
    assert gap(memory, DAY, now_ms) is None


@pytest.mark.parametrize(("age_ms", "proven"), [(0, True), (2 * DAY_MS, True), (2 * DAY_MS + 1, False)])
def test_a_sweep_proves_everything_for_two_intervals(age_ms: int, proven: bool) -> None:
    assert (gap(replace(WHOLE, swept_at_ms=NOW - age_ms), DAY, NOW) is None) is proven


@pytest.mark.parametrize(("age_ms", "proven"), [(0, True), (2 * DAY_MS, True), (2 * DAY_MS + 1, False)])
def test_the_first_sweep_has_two_intervals_from_the_first_meeting(age_ms: int, proven: bool) -> None:
    assert (gap(SourceMemory(met_at_ms=NOW - age_ms), DAY, NOW) is None) is proven


@given(moments, moments, st.floats(1, 1e7), moments)
def test_the_longer_the_interval_the_later_the_alarm(met: int, swept: int, interval: float, now_ms: int) -> None:
    memory = SourceMemory(met_at_ms=met, swept_at_ms=swept)
    if gap(memory, interval, now_ms) is None:
        assert gap(memory, interval * 2, now_ms) is None
    else:
        assert now_ms - swept > 2000 * interval


def test_it_says_since_when_nothing_is_proven() -> None:
    reason = gap(replace(WHOLE, swept_at_ms=NOW - 3 * DAY_MS), DAY, NOW)
    assert reason is not None
    assert "no sweep has read the whole list since 2026-11-18T17:00:00.123Z" in reason
    never_swept = gap(SourceMemory(met_at_ms=NOW - 4 * DAY_MS), DAY, NOW)
    assert never_swept is not None
    assert "2026-11-17T17:00:00.123Z" in never_swept


def test_after_an_outage_longer_than_the_retention_there_is_a_gap() -> None:
    reason = gap(replace(WHOLE, gap_since_ms=NOW - 1000), DAY, NOW)
    assert reason is not None
    assert "before 2026-11-21T16:59:59.123Z it was not read for longer than the retention" in reason


def test_nothing_is_wrong_with_a_source_that_was_swept() -> None:
    assert list(conditions("acme", WHOLE, DAY, NOW)) == []


def test_a_gap_is_a_condition_of_its_source() -> None:
    memory = replace(WHOLE, gap_since_ms=NOW)
    (condition,) = conditions("acme", memory, DAY, NOW)
    assert condition == Condition(ConditionName.GAP, "sources/acme", f"acme: {gap(memory, DAY, NOW)}")


def test_removals_that_are_held_back_are_a_condition_of_their_source() -> None:
    (condition,) = conditions("acme", replace(WHOLE, records=123_456, held=7000), DAY, NOW)
    assert (condition.name, condition.subject) == (ConditionName.REMOVALS_HELD, "sources/acme")
    assert condition.summary.startswith("acme: 7,000 of 123,456 known records are gone")
    assert "`notifier sweep acme`" in condition.summary


def test_both_can_be_wrong_at_once() -> None:
    both = conditions("acme", replace(WHOLE, held=21, gap_since_ms=NOW), DAY, NOW)
    assert [condition.name for condition in both] == [ConditionName.GAP, ConditionName.REMOVALS_HELD]
