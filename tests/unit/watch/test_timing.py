"""When to send the next request, and when a sweep is due: pure decisions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.kpa.errors import ApiError, ApiErrorReason, Remedy
from notifier.store.tables.sweeps import Sweep
from notifier.watch.timing import (
    pause_after,
    silence_left,
    sweep_is_due,
)

DAY = 86_400.0
NOW = 1_795_280_400_123

moments = st.integers(0, 2**42)


def sweep(started_ms: int, finished_ms: int | None) -> Sweep:
    return Sweep(1, "acme", started_ms, finished_ms, next_page=3, last_page=3, records=2500, changes=0)


def test_pause_after_rate_limit_error_is_the_configured_pause() -> None:
    assert pause_after(ApiError(ApiErrorReason.RATE_LIMIT_EXCEEDED), 75.0, 600.0) == 75.0


@pytest.mark.parametrize("reason", [reason for reason in ApiErrorReason if reason.remedy is Remedy.OPERATOR])
def test_pause_after_an_error_that_needs_the_operator_is_ten_minutes(reason: ApiErrorReason) -> None:
    assert pause_after(ApiError(reason), 60.0, 600.0) == 600.0


@pytest.mark.parametrize(
    "reason",
    [
        ApiErrorReason.TOKEN_MISSING,
        ApiErrorReason.TOKEN_INVALID,
        ApiErrorReason.TOKEN_INACTIVE,
        ApiErrorReason.TOKEN_PERMISSION,
        ApiErrorReason.ACCOUNT_INACTIVE,
    ],
)
def test_pause_after_token_and_account_errors_is_ten_minutes(reason: ApiErrorReason) -> None:
    assert pause_after(ApiError(reason), 60.0, 600.0) == 600.0


@pytest.mark.parametrize(
    "reason",
    [
        reason
        for reason in ApiErrorReason
        if reason.remedy is not Remedy.OPERATOR and reason is not ApiErrorReason.RATE_LIMIT_EXCEEDED
    ],
)
def test_pause_after_other_errors_is_zero_or_retry_after_up_to_ten_minutes(reason: ApiErrorReason) -> None:
    assert pause_after(ApiError(reason), 60.0, 600.0) == 0.0
    assert pause_after(ApiError(reason, retry_after=30.0), 60.0, 600.0) == 30.0
    assert pause_after(ApiError(reason, retry_after=86_400.0), 60.0, 600.0) == 600.0


def test_sweep_is_due_if_there_was_none_or_it_is_unfinished() -> None:
    assert sweep_is_due(None, DAY, NOW)
    assert sweep_is_due(sweep(NOW - 1, None), DAY, NOW)


@pytest.mark.parametrize(("age_ms", "due"), [(0, False), (86_399_999, False), (86_400_000, True), (86_400_001, True)])
def test_sweep_is_due_one_interval_after_the_last_one_began(age_ms: int, due: bool) -> None:
    assert sweep_is_due(sweep(NOW - age_ms, NOW), DAY, NOW) is due


@given(now_ms=moments, ahead_ms=st.integers(1, 2**42))
def test_sweep_is_due_at_once_if_the_clock_was_set_back(now_ms: int, ahead_ms: int) -> None:
    assert sweep_is_due(sweep(now_ms + ahead_ms, now_ms + ahead_ms), DAY, now_ms)


@given(started_ms=moments, interval=st.floats(0.001, 1e7), now_ms=moments)
def test_sweep_is_due_unless_last_one_began_within_the_interval(started_ms: int, interval: float, now_ms: int) -> None:
    finished = sweep(started_ms, started_ms)
    assert sweep_is_due(finished, interval, now_ms) is not (started_ms <= now_ms < started_ms + interval * 1000)


def test_silence_left_returns_the_rest_of_a_stored_silence() -> None:
    assert silence_left(None, 60.0, NOW) == 0.0
    assert silence_left(NOW + 45_000, 60.0, NOW) == 45.0
    assert silence_left(NOW, 60.0, NOW) == silence_left(NOW - 1, 60.0, NOW) == 0.0


@given(silent_until_ms=st.none() | moments, longest=st.floats(0.1, 1e5), now_ms=moments)
def test_silence_left_never_exceeds_the_longest_silence(
    silent_until_ms: int | None, longest: float, now_ms: int
) -> None:
    assert 0.0 <= silence_left(silent_until_ms, longest, now_ms) <= longest
