"""The adaptive rate falls at once to what a receiver accepts, rises slowly, and never becomes zero."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.delivery.policy.rate import AdaptiveRate, after_start, after_success, after_throttling


def after_successes(rate: AdaptiveRate, count: int, most: float = inf) -> AdaptiveRate:
    for _ in range(count):
        rate = after_success(rate, most)
    return rate


def test_adaptive_rate_is_learned_from_a_burst_and_the_wait_after_it() -> None:
    rate = after_successes(after_start(AdaptiveRate(), 100.0), 10)
    rate = after_throttling(rate, started=100.6, until=160.0, now=100.6)
    assert rate.per_second == pytest.approx(0.95 * 10 / 59.4)


def test_adaptive_rate_is_lowered_once_by_a_burst_of_refusals() -> None:
    rate = after_successes(after_start(AdaptiveRate(), 100.0), 10)
    rate = after_throttling(rate, started=100.5, until=110.0, now=100.6)
    assert after_throttling(rate, started=100.5, until=110.0, now=100.7).per_second == rate.per_second


def test_adaptive_rate_is_not_lowered_by_refusals_without_successes() -> None:
    rate = AdaptiveRate(per_second=5.0)
    for now in (1.0, 2.0, 300.0):
        rate = after_throttling(rate, started=now, until=now + 60, now=now)
    assert rate.per_second == 5.0


@given(st.floats(0.01, 100.0), st.integers(1, 500))
def test_adaptive_rate_never_falls_on_success_and_stays_within_its_limit(begin: float, successes: int) -> None:
    rate = after_successes(AdaptiveRate(per_second=begin), successes, most=50.0)
    assert min(begin, 50.0) <= rate.per_second <= 50.0


@given(st.lists(st.tuples(st.floats(0.01, 600.0), st.integers(0, 20), st.floats(0.0, 600.0)), max_size=60))
def test_adaptive_rate_stays_above_one_request_per_two_longest_waits(
    refusals: list[tuple[float, int, float]],
) -> None:
    rate, now = AdaptiveRate(per_second=10.0), 1.0
    longest = 0.05
    for passed, successes, wait in refusals:
        now += passed
        rate = after_successes(rate, successes)
        rate = after_throttling(rate, started=now, until=now + wait, now=now)
        longest = max(longest, wait)
        assert rate.per_second >= 0.499 / longest or rate.per_second == 10.0
