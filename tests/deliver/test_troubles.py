"""What people must be told of a destination."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.conditions import Condition, ConditionName, Key
from notifier.deliver.outcome import Reason, Trouble, trouble
from notifier.deliver.troubles import FAILING_FOR, FORGOTTEN_AFTER, conditions, fails_for_long
from notifier.ledger.destinations import BY_OPERATOR, Health, HealthState, LastError, Undelivered
from notifier.ledger.outbox import DeliveryState

NOW = 1_795_280_400_123  # 2026-11-21T17:00:00.123Z
LONG_MS = round(FAILING_FOR * 1000)
DAY_MS = round(FORGOTTEN_AFTER * 1000)
RETRYING = Health(HealthState.RETRYING, Reason.SERVER_ERROR, NOW - LONG_MS, failures=9)
GONE = Health(HealthState.DISABLED, Reason.GONE, NOW)
PARKED = Health(HealthState.DISABLED, BY_OPERATOR, NOW - DAY_MS)
ERROR = LastError(Reason.SERVER_ERROR, "HTTP 503: busy", NOW)
UNTRIED = Undelivered(DeliveryState.PENDING, None, 3)
TRIED = Undelivered(DeliveryState.PENDING, Reason.SERVER_ERROR, 2, NOW - LONG_MS, NOW)
REFUSED = Undelivered(DeliveryState.PENDING, Reason.REFUSED, 1, NOW - DAY_MS, NOW)
DEAD = Undelivered(DeliveryState.DEAD, Reason.REFUSED, 2, NOW - DAY_MS, NOW - 2000)
SUBJECT = "destinations/hr"

healths = st.sampled_from([Health(), RETRYING, GONE, PARKED])
ages = st.integers(-LONG_MS, 3 * LONG_MS)


def told(
    health: Health,
    *undelivered: Undelivered,
    error: LastError | None = ERROR,
    uptime: float = 1e6,
    firing: Collection[Key] = (),
) -> list[Condition]:
    return list(conditions("hr", health, undelivered, error, uptime=uptime, firing=firing, now_ms=NOW))


def names(found: Sequence[Condition]) -> list[str]:
    assert {condition.subject for condition in found} <= {SUBJECT}
    return [condition.name for condition in found]


def fails(health: Health, *undelivered: Undelivered, uptime: float = 1e6, stands: bool = False) -> bool:
    return fails_for_long(health, undelivered, uptime, NOW, stands=stands)


@given(ages, st.floats(0, 2 * FAILING_FOR))
def test_trouble_is_told_by_the_age_of_the_oldest_event_that_it_keeps_waiting(age_ms: int, uptime: float) -> None:
    old = replace(TRIED, first_attempt_ms=NOW - age_ms)
    assert fails(RETRYING, old, UNTRIED, uptime=uptime) is (age_ms >= LONG_MS and uptime >= FAILING_FOR)


@pytest.mark.parametrize("reason", Reason)
def test_an_event_that_is_refused_for_itself_says_nothing_of_the_endpoint(reason: Reason) -> None:
    ours = trouble(reason) is not Trouble.ENDPOINT
    assert fails(RETRYING, replace(TRIED, reason=reason)) is not ours


@given(health=healths, moment=st.booleans())
def test_a_moment_of_trouble_neither_begins_nor_ends_anything(health: Health, *, moment: bool) -> None:
    young = [replace(TRIED, first_attempt_ms=NOW - 1000)] if moment else []
    assert not fails(health, *young, UNTRIED, REFUSED)
    assert fails(replace(RETRYING, since_ms=NOW), *young, stands=True)


@given(ages)
def test_it_is_over_when_a_request_gets_through_and_nothing_old_waits_for_another_try(age_ms: int) -> None:
    old = replace(TRIED, first_attempt_ms=NOW - age_ms)
    assert fails(Health(), old, REFUSED, stands=True) is (age_ms >= LONG_MS)


def test_that_every_delivery_was_given_up_ends_nothing() -> None:
    assert fails(RETRYING, DEAD, stands=True)


def test_a_restart_ends_nothing_and_a_stop_however_long_begins_nothing() -> None:
    old = replace(TRIED, first_attempt_ms=NOW - DAY_MS)
    assert fails(RETRYING, old, uptime=0.0, stands=True)
    assert not fails(RETRYING, old, uptime=0.0)


def test_what_fails_says_since_when_why_and_how_many_wait() -> None:
    firing = {(ConditionName.DESTINATION_FAILING.value, SUBJECT)}
    (condition,) = told(RETRYING, TRIED, UNTRIED)
    assert condition == Condition(
        ConditionName.DESTINATION_FAILING,
        SUBJECT,
        "hr: events have not got through since 2026-11-21T16:45:00.123Z: server_error (HTTP 503: busy); they are tried"
        " again, check the receiver; 5 events wait",
    )
    (condition,) = told(Health(), replace(TRIED, count=1), error=replace(ERROR, reason="refused"), firing=firing)
    assert condition.summary.endswith("123Z: server_error; they are tried again, check the receiver; 1 event waits")


def test_of_one_that_refuses_everything_it_is_said_what_to_check() -> None:
    refused = replace(TRIED, reason=Reason.EVERYTHING_REFUSED)
    error = LastError(Reason.EVERYTHING_REFUSED, "HTTP 401: who are you?", NOW)
    (condition,) = told(replace(RETRYING, reason=Reason.EVERYTHING_REFUSED), refused, error=error)
    assert condition.name is ConditionName.DESTINATION_FAILING
    assert condition.summary == (
        "hr: events have not got through since 2026-11-21T16:45:00.123Z: everything_refused (HTTP 401: who are you?);"
        " they are tried again, check `url`, `headers` and the receiver; 2 events wait"
    )


@pytest.mark.parametrize("reason", [Reason.GONE, Reason.WEBHOOK_REVOKED])
def test_one_that_has_disabled_itself_is_told_at_once(reason: Reason) -> None:
    (condition,) = told(replace(GONE, reason=reason), UNTRIED, error=LastError(reason, "HTTP 410", NOW))
    assert (condition.name, condition.subject) == (ConditionName.DESTINATION_DISABLED, SUBJECT)
    assert condition.summary == (
        "hr: disabled since 2026-11-21T17:00:00.123Z, for it has said that it wants nothing any more:"
        f" {reason} (HTTP 410); mend it, and run `notifier enable hr`; 3 events wait"
    )


@pytest.mark.parametrize(
    ("since_ms", "waiting", "is_told"),
    [
        (NOW - DAY_MS, [UNTRIED], True),
        (NOW - DAY_MS + 1, [UNTRIED], False),
        (NOW - DAY_MS, [], False),
        (NOW - DAY_MS, [DEAD], False),
    ],
)
def test_whoever_has_disabled_it_by_hand_is_reminded_after_a_day_when_events_wait(
    since_ms: int, waiting: list[Undelivered], *, is_told: bool
) -> None:
    found = told(replace(PARKED, since_ms=since_ms), *waiting)
    assert (ConditionName.DESTINATION_DISABLED in names(found)) is is_told


def test_what_is_disabled_by_hand_says_how_it_goes_on() -> None:
    (condition,) = told(PARKED, UNTRIED)
    assert condition.summary == (
        "hr: disabled by hand since 2026-11-20T17:00:00.123Z; `notifier enable hr` lets it go on; 3 events wait"
    )


@given(healths, ages)
def test_what_is_disabled_does_not_fail_as_well(health: Health, age_ms: int) -> None:
    firing = {(name.value, SUBJECT) for name in ConditionName}
    found = names(told(health, replace(TRIED, first_attempt_ms=NOW - age_ms), firing=firing))
    assert len(found) <= 1


def test_dead_deliveries_are_counted_with_the_latest_reason_and_what_to_do() -> None:
    latest = replace(DEAD, reason=Reason.TIMEOUT, count=1, last_attempt_ms=NOW - 1000)
    (condition,) = told(Health(), DEAD, latest)
    assert condition == Condition(
        ConditionName.DELIVERIES_DEAD,
        SUBJECT,
        "hr: 3 deliveries were given up, the latest at 2026-11-21T16:59:59.123Z for timeout; `notifier deliveries"
        " --state dead --destination hr` shows them, `notifier retry --destination hr` sends them again",
    )
    assert told(Health(), latest)[0].summary.startswith("hr: a delivery was given up, the latest at ")


def test_nothing_is_wrong_with_one_that_works() -> None:
    assert told(Health(), UNTRIED, REFUSED) == []
