"""The token bucket never exceeds its rate, and never makes a request wait for longer than the rate requires."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.token_bucket import TokenBucket

STARTED_AT = 100_000.0
TOLERANCE = 1e-6

rates = st.floats(0.01, 1000.0)
pauses = st.lists(st.one_of(st.just(0.0), st.floats(0.0, 5.0), st.floats(0.0, 500.0)), min_size=1, max_size=80)


def start_times(pace: TokenBucket, wishes: list[float]) -> list[float]:
    """Return the start times of requests that are due at the moments `wishes`; each starts as soon as it is allowed."""
    started: list[float] = []
    for wish in wishes:
        now = max(wish, started[-1] if started else wish)
        while wait := pace.seconds_to_wait(now):
            now += max(wait, TOLERANCE)
        pace.spend()
        started.append(now)
    return started


@given(rates, pauses)
def test_token_bucket_allows_at_most_the_rate_plus_one_burst_in_any_window(rate: float, waits: list[float]) -> None:
    started = start_times(TokenBucket(rate), [STARTED_AT + wish for wish in accumulate(waits)])
    burst = max(1.0, rate)
    for first, begin in enumerate(started):
        for last in range(first, len(started)):
            assert last - first + 1 <= burst + rate * (started[last] - begin) + TOLERANCE * rate + TOLERANCE


@given(rates, pauses)
def test_token_bucket_never_waits_longer_than_one_interval_of_the_rate(rate: float, waits: list[float]) -> None:
    pace = TokenBucket(rate)
    for now in accumulate(waits, initial=STARTED_AT):
        assert 0.0 <= pace.seconds_to_wait(now) <= 1 / rate + TOLERANCE
        if not pace.seconds_to_wait(now):
            pace.spend()


@given(st.lists(st.floats(0.0, 1e9), max_size=20))
def test_rate_zero_means_no_limit(moments: list[float]) -> None:
    pace = TokenBucket(0.0)
    for now in moments:
        assert pace.seconds_to_wait(now) == 0.0
        pace.spend()


@pytest.mark.parametrize(("rate", "burst"), [(0.5, 1), (1.0, 1), (3.0, 3), (25.0, 25)])
def test_token_bucket_burst_is_one_second_of_the_rate_even_after_a_long_pause(rate: float, burst: int) -> None:
    pace = TokenBucket(rate)
    for now in (STARTED_AT, STARTED_AT + 3600):
        assert start_times(pace, [now] * burst) == [now] * burst
        assert pace.seconds_to_wait(now) == pytest.approx(1 / rate)
