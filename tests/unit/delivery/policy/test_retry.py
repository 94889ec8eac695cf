"""When one event is tried again, and when it is given up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.config.webhooks import HttpSettings
from notifier.delivery.policy.retry import (
    Decision,
    RetryHistory,
    after_failure,
    backoff,
    least_attempts,
    should_give_up,
)
from notifier.destinations.outcome import LONGEST_WAIT_SECONDS
from notifier.events import Event
from notifier.store.tables.outbox import Delivery, DeliveryState

SETTINGS = HttpSettings.model_validate({"type": "http", "url": "http://127.0.0.1:9/"})
DAY_MS = 86_400_000


def delivery(**keys: int | bool | None) -> Delivery:
    return Delivery(Event(1, "evt_1", "completion.created", "acme", "1", 0, b"{}"), "hr", **keys)  # type: ignore[arg-type]


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_with_jitter_is_between_a_tenth_and_all_of_its_bound(failures: int, jitter: float) -> None:
    bound = min(5.0 * 2.0 ** min(failures - 1, 60), 21_600.0)
    assert 0.1 * bound <= backoff(failures, SETTINGS, jitter) <= bound <= LONGEST_WAIT_SECONDS


@pytest.mark.parametrize(
    ("proven", "retries", "longest"),
    [
        (True, RetryHistory(), 21_600),
        (False, RetryHistory(), 300),
        (True, RetryHistory((True, False, False, False, False)), 5),
    ],
)
def test_after_failure_limits_the_wait_of_an_event(*, proven: bool, retries: RetryHistory, longest: float) -> None:
    decision = after_failure(
        delivery(failures=40), SETTINGS, retries, proven=proven, waits_with_endpoint=False, trying_ms=0, jitter=1.0
    )
    assert (decision.decision, decision.wait_seconds) == (Decision.RETRY_LATER, longest)


@pytest.mark.parametrize(("proven", "expected"), [(False, Decision.WAIT_FOR_ENDPOINT), (True, Decision.RETRY_LATER)])
def test_after_failure_waits_with_the_endpoint_unless_the_event_is_proven(*, proven: bool, expected: Decision) -> None:
    decision = after_failure(
        delivery(), SETTINGS, RetryHistory(), proven=proven, waits_with_endpoint=True, trying_ms=0, jitter=0.5
    )
    assert decision.decision is expected


@given(st.integers(0, 10 * DAY_MS), st.integers(0, 100))
def test_should_give_up_needs_three_days_of_trying_and_ten_attempts(age_ms: int, attempts: int) -> None:
    given_up = should_give_up(delivery(attempts=attempts, tried_from_ms=7), SETTINGS, 7 + age_ms)
    assert given_up is (age_ms > 3 * DAY_MS and attempts + 1 >= 10)


def test_should_give_up_is_false_without_tried_from_ms() -> None:
    assert not should_give_up(delivery(attempts=50), SETTINGS, 100 * DAY_MS)


@pytest.mark.parametrize(
    ("keys", "attempts"),
    [
        ({}, 10),
        ({"retry_first": "1m"}, 6),
        ({"give_up_after": "1s"}, 1),
        ({"retry_first": "1ms", "retry_max": "1ms"}, 100),
    ],
)
def test_least_attempts_follows_from_the_retry_settings(keys: dict[str, str], attempts: int) -> None:
    settings = HttpSettings.model_validate({"type": "http", "url": "http://127.0.0.1:9/", **keys})
    assert least_attempts(settings) == attempts


def test_after_failure_makes_a_delivery_that_is_given_up_dead() -> None:
    old = delivery(attempts=20, tried_from_ms=0)
    decision = after_failure(
        old, SETTINGS, RetryHistory(), proven=True, waits_with_endpoint=False, trying_ms=4 * DAY_MS, jitter=0.5
    )
    assert (decision.state, decision.decision) == (DeliveryState.DEAD, Decision.GIVE_UP)


@given(st.lists(st.booleans(), max_size=60))
def test_retry_history_judges_random_failures_by_the_latest_20_retries(outcomes: list[bool]) -> None:
    retries = RetryHistory()
    for outcome in outcomes:
        retries = retries.with_result(has_succeeded=outcome)
    latest = outcomes[-20:]
    assert retries.latest == tuple(latest)
    assert retries.suggests_random_failures is (len(latest) >= 5 and sum(latest) * 5 >= len(latest))
