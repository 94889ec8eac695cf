"""A destination is never spoken to faster than its rate, and never kept waiting for longer than that takes."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.token_bucket import TokenBucket

STARTED_AT = 100_000.0
A_HAIR = 1e-6

rates = st.floats(0.01, 1000.0)
pauses = st.lists(st.one_of(st.just(0.0), st.floats(0.0, 5.0), st.floats(0.0, 500.0)), min_size=1, max_size=80)


def start_times(pace: TokenBucket, wishes: list[float]) -> list[float]:
    """Return when requests start that are wanted at the moments `wishes`, each as soon as it may."""
    started: list[float] = []
    for wish in wishes:
        now = max(wish, started[-1] if started else wish)
        while wait := pace.seconds_to_wait(now):
            now += max(wait, A_HAIR)
        pace.spend()
        started.append(now)
    return started


@given(rates, pauses)
def test_no_window_holds_more_requests_than_the_rate_and_one_burst(rate: float, waits: list[float]) -> None:
    started = start_times(TokenBucket(rate), [STARTED_AT + wish for wish in accumulate(waits)])
    burst = max(1.0, rate)
    for first, begin in enumerate(started):
        for last in range(first, len(started)):
            assert last - first + 1 <= burst + rate * (started[last] - begin) + A_HAIR * rate + A_HAIR


@given(rates, pauses)
def test_the_next_request_is_never_further_away_than_one_of_the_rate(rate: float, waits: list[float]) -> None:
    pace = TokenBucket(rate)
    for now in accumulate(waits, initial=STARTED_AT):
        assert 0.0 <= pace.seconds_to_wait(now) <= 1 / rate + A_HAIR
        if not pace.seconds_to_wait(now):
            pace.spend()


@given(st.lists(st.floats(0.0, 1e9), max_size=20))
def test_a_rate_of_zero_is_no_limit(moments: list[float]) -> None:
    pace = TokenBucket(0.0)
    for now in moments:
        assert pace.seconds_to_wait(now) == 0.0
        pace.spend()


@pytest.mark.parametrize(("rate", "burst"), [(0.5, 1), (1.0, 1), (3.0, 3), (25.0, 25)])
def test_one_seconds_worth_may_go_at_once_also_after_a_long_silence(rate: float, burst: int) -> None:
    pace = TokenBucket(rate)
    for now in (STARTED_AT, STARTED_AT + 3600):
        assert start_times(pace, [now] * burst) == [now] * burst
        assert pace.seconds_to_wait(now) == pytest.approx(1 / rate)
