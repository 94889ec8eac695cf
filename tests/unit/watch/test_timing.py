"""When to ask again: pure decisions."""

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


def test_the_rate_limit_silences_for_as_long_as_is_configured() -> None:
    assert pause_after(ApiError(ApiErrorReason.RATE_LIMIT_EXCEEDED), 75.0, 600.0) == 75.0


@pytest.mark.parametrize("reason", [reason for reason in ApiErrorReason if reason.remedy is Remedy.OPERATOR])
def test_what_only_an_operator_can_help_is_tried_every_ten_minutes(reason: ApiErrorReason) -> None:
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
def test_tokens_and_accounts_are_an_operators_affair(reason: ApiErrorReason) -> None:
    assert pause_after(ApiError(reason), 60.0, 600.0) == 600.0


@pytest.mark.parametrize(
    "reason",
    [
        reason
        for reason in ApiErrorReason
        if reason.remedy is not Remedy.OPERATOR and reason is not ApiErrorReason.RATE_LIMIT_EXCEEDED
    ],
)
def test_everything_else_is_tried_again_at_the_next_round_or_when_the_peer_says(reason: ApiErrorReason) -> None:
    assert pause_after(ApiError(reason), 60.0, 600.0) == 0.0
    assert pause_after(ApiError(reason, retry_after=30.0), 60.0, 600.0) == 30.0
    assert pause_after(ApiError(reason, retry_after=86_400.0), 60.0, 600.0) == 600.0


def test_a_first_sweep_is_due_and_an_unfinished_one_goes_on() -> None:
    assert sweep_is_due(None, DAY, NOW)
    assert sweep_is_due(sweep(NOW - 1, None), DAY, NOW)


@pytest.mark.parametrize(("age_ms", "due"), [(0, False), (86_399_999, False), (86_400_000, True), (86_400_001, True)])
def test_the_next_sweep_begins_an_interval_after_the_last_began(age_ms: int, due: bool) -> None:
    assert sweep_is_due(sweep(NOW - age_ms, NOW), DAY, NOW) is due


@given(now_ms=moments, ahead_ms=st.integers(1, 2**42))
def test_a_clock_set_back_does_not_put_a_sweep_off(now_ms: int, ahead_ms: int) -> None:
    assert sweep_is_due(sweep(now_ms + ahead_ms, now_ms + ahead_ms), DAY, now_ms)


@given(started_ms=moments, interval=st.floats(0.001, 1e7), now_ms=moments)
def test_no_sweep_is_put_off_for_longer_than_its_interval(started_ms: int, interval: float, now_ms: int) -> None:
    finished = sweep(started_ms, started_ms)
    assert sweep_is_due(finished, interval, now_ms) is not (started_ms <= now_ms < started_ms + interval * 1000)


def test_a_remembered_silence_is_waited_out_and_no_longer() -> None:
    assert silence_left(None, 60.0, NOW) == 0.0
    assert silence_left(NOW + 45_000, 60.0, NOW) == 45.0
    assert silence_left(NOW, 60.0, NOW) == silence_left(NOW - 1, 60.0, NOW) == 0.0


@given(silent_until_ms=st.none() | moments, longest=st.floats(0.1, 1e5), now_ms=moments)
def test_no_clock_makes_a_silence_longer_than_it_can_have_been(
    silent_until_ms: int | None, longest: float, now_ms: int
) -> None:
    assert 0.0 <= silence_left(silent_until_ms, longest, now_ms) <= longest
