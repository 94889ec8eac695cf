"""The circuit breaker opens when no attempt succeeds, and only rounds of probes make its wait longer."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from notifier.delivery.policy import circuit_breaker
from notifier.delivery.policy.circuit_breaker import (
    FAILURES_TO_OPEN,
    LONGEST_OPEN_SECONDS,
    Breaker,
    BreakerMode,
    WaitLimits,
    after_requested_wait,
    after_success,
    after_throttling,
    probe_count,
)
from notifier.destinations.outcome import FailureScope

ENDPOINT, UNKNOWN, EVENT = FailureScope.ENDPOINT, FailureScope.UNKNOWN, FailureScope.EVENT
scopes = st.sampled_from([ENDPOINT, UNKNOWN, EVENT])


def after_failure(breaker: Breaker, now: float, scope: FailureScope = UNKNOWN, **keys: Any) -> Breaker:
    return circuit_breaker.after_failure(
        breaker,
        scope,
        **{
            "started": now,
            "may_be_endpoint": True,
            "is_arrival": False,
            "opens_at_once": False,
            "trainings_and_records": frozenset(),
            "now": now,
            "limits": WaitLimits(),
            "jitter": 0.5,
            **keys,
        },
    )


def open_breaker(scope: FailureScope = UNKNOWN, now: float = 10.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN):
        breaker = after_failure(breaker, now, scope)
    assert breaker.mode is BreakerMode.OPEN
    return breaker


@given(st.lists(st.booleans(), max_size=60))
def test_breaker_stays_closed_while_failures_in_a_row_are_below_the_limit(outcomes: list[bool]) -> None:
    breaker, in_row = Breaker(), 0
    for now, has_succeeded in enumerate(outcomes):
        breaker = after_success(breaker, float(now)) if has_succeeded else after_failure(breaker, float(now))
        in_row = 0 if has_succeeded else in_row + 1
        if in_row < FAILURES_TO_OPEN:
            assert breaker.mode is BreakerMode.CLOSED
        if in_row == FAILURES_TO_OPEN:
            return


@given(scopes)
def test_breaker_opens_at_once_only_if_the_failure_may_be_of_the_endpoint(scope: FailureScope) -> None:
    assert after_failure(Breaker(), 1.0, scope, opens_at_once=True).mode is BreakerMode.OPEN
    assert after_failure(Breaker(), 1.0, scope, opens_at_once=True, may_be_endpoint=False).mode is BreakerMode.CLOSED


def test_breaker_stays_closed_if_failures_cannot_be_of_the_endpoint() -> None:
    breaker = Breaker()
    for _ in range(100):
        breaker = after_failure(breaker, 1.0, may_be_endpoint=False)
    assert breaker.mode is BreakerMode.CLOSED


@given(scopes, st.integers(1, 400), st.floats(0, 1))
def test_breaker_wait_grows_by_rounds_up_to_its_bound(scope: FailureScope, count: int, jitter: float) -> None:
    breaker, now, requests = open_breaker(scope), 10.0, 0
    for _ in range(count):
        now = max(now, breaker.wait_until)
        before = breaker
        breaker = after_failure(breaker, now, scope, jitter=jitter)
        requests += 1
        assert breaker.wait_until - now <= LONGEST_OPEN_SECONDS
        assert breaker.rounds in (before.rounds, before.rounds + 1)
    # 63 probes in about the first minute, then one every five minutes.
    assert requests <= 63 + 10 + (now / (LONGEST_OPEN_SECONDS / 2))


@given(scopes)
def test_breaker_closes_on_the_first_success(scope: FailureScope) -> None:
    assert after_success(open_breaker(scope), 20.0).mode is BreakerMode.CLOSED


def test_breaker_keeps_a_requested_wait_after_a_success() -> None:
    paced = after_throttling(Breaker(), started=1.0, retry_after=60.0, now=1.0, limits=WaitLimits(), jitter=0.5)
    assert after_success(paced, 5.0) == replace(paced, last_success=5.0)
    assert after_success(paced, 61.0).mode is BreakerMode.CLOSED


@pytest.mark.parametrize("wait", [21_601.0, 86_400.0])
def test_breaker_accepts_a_requested_wait_above_six_hours_the_second_time(wait: float) -> None:
    first = after_throttling(Breaker(), started=1.0, retry_after=wait, now=1.0, limits=WaitLimits(), jitter=0.5)
    assert first.wait_until < 60
    second = after_throttling(first, started=2.0, retry_after=wait, now=2.0, limits=WaitLimits(), jitter=0.5)
    assert second.wait_until == 2.0 + wait


def test_breaker_ends_a_wait_requested_beside_a_failure_after_six_hours() -> None:
    opened = replace(Breaker(), mode=BreakerMode.OPEN)
    assert after_requested_wait(opened, seconds=86_400.0, now=1.0).wait_until == 21_601.0


@given(st.floats(0, 21_600), st.floats(0, 21_600), scopes)
def test_breaker_never_shortens_a_requested_wait(first: float, second: float, scope: FailureScope) -> None:
    paced = after_throttling(Breaker(), started=1.0, retry_after=first, now=1.0, limits=WaitLimits(), jitter=0.5)
    again = after_throttling(paced, started=0.5, retry_after=second, now=1.1, limits=WaitLimits(), jitter=0.5)
    assert again.wait_until >= max(1.0 + first, 1.1 + second)
    for _ in range(FAILURES_TO_OPEN):
        again = after_failure(again, 1.2, scope, started=0.5)
    assert again.wait_until >= 1.0 + first


def test_breaker_backs_off_after_repeated_throttling_with_retry_after_zero() -> None:
    breaker, now, requests = Breaker(), 0.0, 0
    while now < 86_400:
        breaker = after_throttling(breaker, started=now, retry_after=0.0, now=now, limits=WaitLimits(), jitter=0.5)
        requests += 1
        now = max(now + 0.05, breaker.wait_until)
    assert requests < 600


def test_breaker_wait_is_not_extended_by_a_new_arrival_that_fails() -> None:
    breaker = open_breaker()
    assert after_failure(breaker, 10.5, is_arrival=True).wait_until == breaker.wait_until


@pytest.mark.parametrize(("rounds", "expected"), [(0, 1), (1, 2), (5, 32), (6, 1), (100, 1)])
def test_probe_count_doubles_each_round_and_ends_at_one(rounds: int, expected: int) -> None:
    assert probe_count(rounds, WaitLimits()) == expected


def test_breaker_in_order_opens_at_one_failure_and_begins_with_single_probes() -> None:
    strict = WaitLimits(in_order=True)
    assert [probe_count(rounds, strict) for rounds in (0, 1, 2, 6)] == [1, 1, 4, 2]
    assert after_failure(Breaker(), 1.0, limits=strict).mode is BreakerMode.OPEN
    assert after_failure(Breaker(), 1.0, EVENT, limits=strict).mode is BreakerMode.CLOSED
