"""Conditions that are reported of a source."""

from collections.abc import Collection
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from notifier.alerts.conditions import Condition, ConditionKey, ConditionName
from notifier.alerts.source_rules import (
    FAILING_FOR_SECONDS,
    conditions,
    gap_reason,
    is_source_failing,
    unknown_conditions,
)
from notifier.config import SourceSettings
from notifier.kpa.errors import ApiError, ApiErrorReason
from notifier.kpa.rate_limiter import Usage
from notifier.store.tables.second_looks import LookKind, SecondLook
from notifier.store.tables.sources import SourceError, SourceMemory
from notifier.watch.limits import DETECTION_LIMITS
from notifier.watch.observations import Observations, PollHistory, RequestCategory, RequestFailure, SourceReport

DAY = 86_400.0
DAY_MS = 86_400_000
MOMENT = 10_000.0
NOW = 1_795_280_400_123  # 2026-11-21T17:00:00.123Z
WHOLE = SourceMemory(first_contact_ms=NOW - 30 * DAY_MS, swept_at_ms=NOW - 1000, records=1200)

SETTINGS = SourceSettings.model_validate({"token": "t", "sweep_interval": "24h", "poll_interval": "60s"})
WELL = PollHistory(30.0, any_succeeded=True)
FAILING = (ConditionName.SOURCE_FAILING.value, "sources/acme")

moments = st.integers(1, 2**42)
spans = st.floats(0, 1e6)


def reported(
    memory: SourceMemory,
    polls: PollHistory = WELL,
    firing: Collection[ConditionKey] = (),
    seen: Observations | None = None,
) -> list[Condition]:
    report = SourceReport(memory, SETTINGS, DETECTION_LIMITS, polls, seen or Observations())
    found = conditions("acme", report, firing, NOW)
    return [
        it
        for it in found
        if it.seen_seconds >= it.begins_after_seconds or it.key in firing or it.name is ConditionName.GAP
    ]


@given(without=spans, interval=spans, is_failing=st.booleans())
def test_source_fails_with_its_last_poll_or_after_three_intervals_without_success(
    without: float, interval: float, *, is_failing: bool
) -> None:
    polls = PollHistory(without, any_succeeded=True, is_failing=is_failing)
    assert is_source_failing(polls, interval, is_firing=False) is (is_failing or without >= 3 * interval)


@given(spans, spans)
def test_source_failing_remains_after_a_restart_until_a_poll_succeeds(without: float, interval: float) -> None:
    assert is_source_failing(PollHistory(without, any_succeeded=False), interval, is_firing=True)
    polls = PollHistory(without, any_succeeded=True)
    assert is_source_failing(polls, interval, is_firing=True) is is_source_failing(polls, interval, is_firing=False)


def test_long_stop_of_the_notifier_is_not_reported_as_source_failing() -> None:
    error = SourceError("server_error", "the API had an internal error", NOW - 30 * DAY_MS)
    memory = replace(WHOLE, last_success_ms=NOW - 30 * DAY_MS, error=error)
    assert reported(memory, PollHistory(5.0, any_succeeded=False)) == []


def test_source_failing_names_start_cause_and_remedy() -> None:
    failure = ApiError(ApiErrorReason.TOKEN_INVALID)
    memory = replace(WHOLE, last_success_ms=NOW - 1_000_000, error=SourceError("token_invalid", failure.message, NOW))
    (condition,) = reported(memory, PollHistory(FAILING_FOR_SECONDS, any_succeeded=True))
    assert (condition.key, condition.cause, condition.summary) == (
        (ConditionName.SOURCE_FAILING, "sources/acme"),
        "token_invalid",
        (
            "acme: no poll has succeeded since 2026-11-21T16:43:20.123Z: the API does not know the token; enter a"
            " valid one as the source's `token`"
        ),
    )


def test_source_failing_by_rate_limit_names_the_limit_of_the_account() -> None:
    memory = replace(WHOLE, error=SourceError("rate_limit_exceeded", "the limit is exceeded", NOW))
    (condition,) = reported(memory, PollHistory(5.0, any_succeeded=False), {FAILING})
    assert condition.name is ConditionName.SOURCE_FAILING
    assert "no poll has succeeded yet: the API's limit of about 80 requests a minute, which all of" in condition.summary
    assert "lower `requests_per_minute` here" in condition.summary


@pytest.mark.parametrize("error", [None, SourceError("timeout", "the API did not answer in time", NOW - 2_000_000)])
def test_source_failing_does_not_name_an_error_older_than_the_last_success(error: SourceError | None) -> None:
    memory = replace(WHOLE, last_success_ms=NOW - 1_000_000, error=error)
    (condition,) = reported(memory, PollHistory(FAILING_FOR_SECONDS, any_succeeded=True))
    assert condition.summary == "acme: no poll has succeeded since 2026-11-21T16:43:20.123Z; the API does not answer"


@given(moments, st.none() | moments, st.booleans())
def test_gap_reason_before_the_first_contact_is_none(now_ms: int, gap_since_ms: int | None, swept: bool) -> None:
    memory = SourceMemory(swept_at_ms=1 if swept else None, gap_since_ms=gap_since_ms)
    assert gap_reason(memory, DAY, now_ms) is None


@pytest.mark.parametrize(("age_ms", "proven"), [(0, True), (2 * DAY_MS, True), (2 * DAY_MS + 1, False)])
def test_gap_reason_is_none_for_two_intervals_after_a_sweep(age_ms: int, proven: bool) -> None:
    assert (gap_reason(replace(WHOLE, swept_at_ms=NOW - age_ms), DAY, NOW) is None) is proven


@pytest.mark.parametrize(("age_ms", "proven"), [(0, True), (2 * DAY_MS, True), (2 * DAY_MS + 1, False)])
def test_gap_reason_is_none_for_two_intervals_after_the_first_contact(age_ms: int, proven: bool) -> None:
    assert (gap_reason(SourceMemory(first_contact_ms=NOW - age_ms), DAY, NOW) is None) is proven


@given(moments, moments, st.floats(1, 1e7), moments)
def test_gap_reason_begins_later_with_a_longer_interval(met: int, swept: int, interval: float, now_ms: int) -> None:
    memory = SourceMemory(first_contact_ms=met, swept_at_ms=swept)
    if gap_reason(memory, interval, now_ms) is None:
        assert gap_reason(memory, interval * 2, now_ms) is None
    else:
        assert now_ms - swept > 2000 * interval


def test_gap_reason_names_the_last_sweep_or_the_first_contact() -> None:
    reason = gap_reason(replace(WHOLE, swept_at_ms=NOW - 3 * DAY_MS), DAY, NOW)
    assert reason is not None
    assert "no sweep has read the whole list since 2026-11-18T17:00:00.123Z" in reason
    never_swept = gap_reason(SourceMemory(first_contact_ms=NOW - 4 * DAY_MS), DAY, NOW)
    assert never_swept is not None
    assert "2026-11-17T17:00:00.123Z" in never_swept


def test_gap_reason_names_an_outage_longer_than_the_retention() -> None:
    reason = gap_reason(replace(WHOLE, gap_since_ms=NOW - 1000), DAY, NOW)
    assert reason is not None
    assert "before 2026-11-21T16:59:59.123Z, no poll succeeded for longer than" in reason


def test_swept_source_has_no_condition() -> None:
    assert reported(WHOLE) == []


def test_gap_is_reported_at_once_for_its_source() -> None:
    memory = replace(WHOLE, gap_since_ms=NOW)
    (condition,) = reported(memory)
    assert (condition.key, condition.summary) == (("gap", "sources/acme"), f"acme: {gap_reason(memory, DAY, NOW)}")
    assert condition.begins_after_seconds == 0.0


def test_removals_held_names_the_counts_and_the_release_command() -> None:
    (condition,) = reported(replace(WHOLE, records=123_456, held=7000))
    assert (condition.name, condition.subject) == (ConditionName.REMOVALS_HELD, "sources/acme")
    assert condition.summary.startswith("acme: 7,000 of 123,456 known records are missing")
    assert "`notifier release acme removals`" in condition.summary


def test_gap_and_removals_held_are_reported_together() -> None:
    both = reported(replace(WHOLE, held=21, gap_since_ms=NOW))
    assert [condition.name for condition in both] == [ConditionName.GAP, ConditionName.REMOVALS_HELD]


def names(memory: SourceMemory, seen: Observations | None = None) -> list[ConditionName]:
    return [condition.name for condition in reported(memory, seen=seen)]


@pytest.mark.parametrize(
    ("fields", "name", "command"),
    [
        ({"held_arrivals": 300}, ConditionName.ARRIVALS_HELD, "`notifier release acme arrivals`"),
        ({"held_changes": 70, "held_field": "notes"}, ConditionName.CHANGES_HELD, "`notifier release acme changes`"),
    ],
)
def test_arrivals_held_and_changes_held_name_the_release_command(
    fields: dict[str, Any], name: ConditionName, command: str
) -> None:
    (condition,) = reported(replace(WHOLE, **fields))
    assert condition.name is name
    assert command in condition.summary


@pytest.mark.parametrize(("seconds", "shown"), [(599.999, False), (600.0, True)])
@pytest.mark.parametrize(("unexplained", "words"), [(3, "3 more"), (-2, "2 fewer")])
def test_count_unexplained_is_reported_after_ten_minutes(
    unexplained: int, words: str, seconds: float, shown: bool
) -> None:
    since_ms = NOW - round(seconds * 1000)
    found = reported(replace(WHOLE, unexplained=unexplained, unexplained_since_ms=since_ms, unreadable=4))
    *unexplained_for_long, left_out = found
    assert left_out.name is ConditionName.RECORDS_UNREADABLE
    assert [condition.name for condition in unexplained_for_long] == [ConditionName.COUNT_UNEXPLAINED] * shown
    summaries = [condition.summary for condition in unexplained_for_long]
    assert all(words in summary and "1,200 records are known and 4 more" in summary for summary in summaries)


def test_count_unexplained_is_reported_for_a_count_offset() -> None:
    assert names(replace(WHOLE, count_offset=-1)) == [ConditionName.COUNT_UNEXPLAINED]


@pytest.mark.parametrize(("seconds", "shown"), [(599.0, False), (601.0, True)])
def test_count_unexplained_is_reported_for_a_second_look_pending_ten_minutes(seconds: float, shown: bool) -> None:
    since_ms = NOW - round(seconds * 1000)
    waiting = SecondLook("1238", LookKind.REMOVAL, since_ms, since_ms, "count", 0, "u", "t")
    seen = Observations(waiting=[waiting])
    assert names(WHOLE, seen) == [ConditionName.COUNT_UNEXPLAINED] * shown


@pytest.mark.parametrize(("kind", "shown"), [(LookKind.REMOVAL, True), (LookKind.EARLIER_FORM, False)])
def test_count_unexplained_is_reported_for_a_removal_whose_second_look_restarts(kind: LookKind, shown: bool) -> None:
    waiting = SecondLook("1238", kind, NOW - 1000, NOW - 601_000, "count", 0, "u", "t")
    assert names(WHOLE, Observations(waiting=[waiting])) == [ConditionName.COUNT_UNEXPLAINED] * shown


def test_answers_disagree_names_an_example() -> None:
    look = SecondLook("1238", LookKind.EARLIER_FORM, None, NOW, "head", 7, "u", "t", flips=3, flipped_ms=NOW)
    (condition,) = reported(WHOLE, seen=Observations(contradicted=[look]))
    assert condition.name is ConditionName.ANSWERS_DISAGREE
    assert "1 record, such as 1238" in condition.summary


@pytest.mark.parametrize(("age_ms", "shown"), [(0, True), (DAY_MS - 1, True), (DAY_MS, False)])
def test_records_renumbered_is_reported_for_a_day(age_ms: int, shown: bool) -> None:
    memory = replace(WHOLE, renumbered=60, renumbered_ms=NOW - age_ms)
    assert names(memory) == [ConditionName.RECORDS_RENUMBERED] * shown


def test_list_unsearchable_is_reported_once_for_unsorted_and_incomplete_lists() -> None:
    for seen in (
        Observations(unsorted_since=1.0),
        Observations(has_incomplete_pages=True),
        Observations(unsorted_since=1.0, has_incomplete_pages=True),
    ):
        assert names(WHOLE, seen) == [ConditionName.LIST_UNSEARCHABLE]


def usage(waiting: int, longest_wait_seconds: float) -> Usage:
    return Usage(60, 60, 60, waiting, 999, {"head": 20, "sweep": 40, "names": 0}, longest_wait_seconds)


def watch_the_budget(
    seen: Observations, longest_wait_seconds: float, *, searching: bool, minutes: int, since: float
) -> None:
    """Note the use of the budget twice a minute, as the daemon does."""
    for look in range(2 * minutes + 1):
        now = since + look * 30
        seen.note_budget(
            usage(1, longest_wait_seconds=longest_wait_seconds), searching=searching, now=now, seconds=600.0
        )


def test_budget_exhausted_is_reported_after_ten_minutes_and_names_the_uses() -> None:
    seen = Observations()
    watch_the_budget(seen, 2.0, searching=False, minutes=7, since=MOMENT)
    assert names(WHOLE, seen) == []
    watch_the_budget(seen, 2.0, searching=False, minutes=3, since=MOMENT + 420)
    (condition,) = reported(WHOLE, seen=seen)
    assert condition.name is ConditionName.BUDGET_EXHAUSTED
    assert "20 for the newest records; 40 for sweeps)" in condition.summary


def test_budget_exhausted_by_a_search_is_reported_until_the_search_is_over() -> None:
    seen = Observations()
    watch_the_budget(seen, 0.0, searching=True, minutes=10, since=MOMENT)
    assert names(WHOLE, seen) == [ConditionName.BUDGET_EXHAUSTED]
    watch_the_budget(seen, 0.0, searching=False, minutes=6, since=MOMENT + 600)
    assert names(WHOLE, seen) == []


@pytest.mark.parametrize(
    ("question", "name", "begins_after_seconds", "command"),
    [
        (RequestCategory.COUNT, ConditionName.COUNT_FAILING, 900.0, "check --online"),
        # Not `check --online`, which requests no page of a sweep.
        (RequestCategory.SCAN, ConditionName.SWEEP_FAILING, 900.0, "sweep acme"),
        (RequestCategory.NAMES, ConditionName.NAMES_UNKNOWN, 3600.0, "check --online"),
    ],
)
def test_failing_count_sweep_or_names_have_a_condition_of_their_own(
    question: RequestCategory, name: ConditionName, begins_after_seconds: float, command: str
) -> None:
    trouble = RequestFailure("server_error", "the API had an internal error", 1.0)
    report = SourceReport(WHOLE, SETTINGS, DETECTION_LIMITS, WELL, Observations(), {question: trouble})
    (condition,) = conditions("acme", report, (), NOW)
    assert (condition.name, condition.category, condition.cause) == (name, question, "server_error")
    assert condition.begins_after_seconds == begins_after_seconds
    assert condition.remedy.startswith(f"`notifier {command}` ")


def test_firing_condition_remains_while_its_request_is_untried_since_the_start() -> None:
    report = SourceReport(WHOLE, SETTINGS, DETECTION_LIMITS, WELL, Observations(), untried=frozenset(RequestCategory))
    assert list(conditions("acme", report, (), NOW)) == []
    (condition,) = conditions("acme", report, {("sweep_failing", "sources/acme")}, NOW)
    assert condition.name is ConditionName.SWEEP_FAILING


def test_full_disk_is_not_reported_as_source_failing() -> None:
    memory = replace(WHOLE, error=SourceError("disk_full", "the disk is full", NOW))
    assert reported(memory, PollHistory(FAILING_FOR_SECONDS, any_succeeded=True, is_failing=True)) == []


def test_gap_after_a_long_stop_begins_after_three_hours() -> None:
    report = SourceReport(
        replace(WHOLE, swept_at_ms=NOW - 3 * DAY_MS), SETTINGS, DETECTION_LIMITS, WELL, Observations()
    )
    (condition,) = conditions("acme", report, (), NOW)
    assert (condition.name, condition.seen_seconds, condition.begins_after_seconds) == (
        ConditionName.GAP,
        0.0,
        3 * 3600.0,
    )


def test_unknown_conditions_after_a_start_are_those_that_need_observation() -> None:
    observations = Observations()
    unexplained = replace(WHOLE, unexplained=1, unexplained_since_ms=NOW)

    def unknown(memory: SourceMemory = unexplained) -> set[str]:
        report = SourceReport(memory, SETTINGS, DETECTION_LIMITS, WELL, observations)
        return {name for name, _ in unknown_conditions("acme", report)}

    assert unknown() == {"budget_exhausted", "list_unsearchable", "search_given_up"}
    assert unknown(WHOLE) == {"budget_exhausted", "list_unsearchable"}
    for minute in range(11):
        observations.note_budget(Usage(30, 30, 0, 0, 0), searching=False, now=60.0 * minute, seconds=600.0)
    observations.has_read_list = True
    assert unknown() == set()
