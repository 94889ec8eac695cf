"""What people must be told of a source."""

from collections.abc import Collection
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.conditions import Condition, ConditionName, Key
from notifier.config import SourceSettings
from notifier.kpa.failures import ApiFailure, Reason
from notifier.ledger.sources import SourceError, SourceMemory
from notifier.watch.troubles import FAILING_FOR, Polls, conditions, fails_for_long, gap

DAY = 86_400.0
DAY_MS = 86_400_000
NOW = 1_795_280_400_123  # 2026-11-21T17:00:00.123Z
WHOLE = SourceMemory(met_at_ms=NOW - 30 * DAY_MS, swept_at_ms=NOW - 1000, records=1200)

SETTINGS = SourceSettings.model_validate({"token": "t", "sweep_interval": "24h", "poll_interval": "60s"})
WELL = Polls(30.0, any_succeeded=True)
FAILING = (ConditionName.SOURCE_FAILING.value, "sources/acme")

moments = st.integers(1, 2**42)
spans = st.floats(0, 1e6)


def told(memory: SourceMemory, polls: Polls = WELL, firing: Collection[Key] = ()) -> list[Condition]:
    return list(conditions("acme", memory, SETTINGS, polls, firing, NOW))


@given(without=spans, interval=spans, any_succeeded=st.booleans())
def test_a_source_fails_for_long_after_fifteen_minutes_or_three_intervals(
    without: float, interval: float, *, any_succeeded: bool
) -> None:
    fails = fails_for_long(Polls(without, any_succeeded=any_succeeded), interval, stands=False)
    assert fails is (without >= 900 and without >= 3 * interval)


@given(spans, spans)
def test_a_restart_ends_nothing_before_a_poll_has_succeeded(without: float, interval: float) -> None:
    assert fails_for_long(Polls(without, any_succeeded=False), interval, stands=True)
    polls = Polls(without, any_succeeded=True)
    assert fails_for_long(polls, interval, stands=True) is fails_for_long(polls, interval, stands=False)


def test_a_stop_however_long_is_no_failure() -> None:
    error = SourceError("server_error", "the API had an internal error", NOW - 30 * DAY_MS)
    memory = replace(WHOLE, last_success_ms=NOW - 30 * DAY_MS, error=error)
    assert told(memory, Polls(5.0, any_succeeded=False)) == []


def test_a_source_that_fails_says_since_when_why_and_what_to_do() -> None:
    failure = ApiFailure(Reason.TOKEN_INVALID)
    memory = replace(WHOLE, last_success_ms=NOW - 1_000_000, error=SourceError("token_invalid", failure.message, NOW))
    (condition,) = told(memory, Polls(FAILING_FOR, any_succeeded=True))
    assert condition == Condition(
        ConditionName.SOURCE_FAILING,
        "sources/acme",
        "acme: no poll has succeeded since 2026-11-21T16:43:20.123Z: the API does not know the token; put a valid one"
        " into the source's `token`",
    )


def test_a_source_that_is_rate_limited_says_whose_the_limit_is() -> None:
    memory = replace(WHOLE, error=SourceError("rate_limit_exceeded", "the limit is exceeded", NOW))
    (condition,) = told(memory, Polls(5.0, any_succeeded=False), {FAILING})
    assert condition.name is ConditionName.SOURCE_FAILING
    assert "no poll has succeeded yet: the API's limit of about 80 requests a minute, which all of" in condition.summary
    assert "lower `requests_per_minute` here" in condition.summary


@pytest.mark.parametrize("error", [None, SourceError("timeout", "the API did not answer in time", NOW - 2_000_000)])
def test_an_error_that_is_over_is_not_blamed(error: SourceError | None) -> None:
    memory = replace(WHOLE, last_success_ms=NOW - 1_000_000, error=error)
    (condition,) = told(memory, Polls(FAILING_FOR, any_succeeded=True))
    assert condition.summary == "acme: no poll has succeeded since 2026-11-21T16:43:20.123Z; the log may tell why"


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
    assert told(WHOLE) == []


def test_a_gap_is_a_condition_of_its_source() -> None:
    memory = replace(WHOLE, gap_since_ms=NOW)
    (condition,) = told(memory)
    assert condition == Condition(ConditionName.GAP, "sources/acme", f"acme: {gap(memory, DAY, NOW)}")


def test_removals_that_are_held_back_are_a_condition_of_their_source() -> None:
    (condition,) = told(replace(WHOLE, records=123_456, held=7000))
    assert (condition.name, condition.subject) == (ConditionName.REMOVALS_HELD, "sources/acme")
    assert condition.summary.startswith("acme: 7,000 of 123,456 known records are gone")
    assert "`notifier sweep acme`" in condition.summary


def test_both_can_be_wrong_at_once() -> None:
    both = told(replace(WHOLE, held=21, gap_since_ms=NOW))
    assert [condition.name for condition in both] == [ConditionName.GAP, ConditionName.REMOVALS_HELD]
