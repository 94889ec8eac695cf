"""Conditions that are reported of a destination."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from notifier.alerts.conditions import Condition, ConditionKey, ConditionName
from notifier.alerts.destination_rules import (
    DISABLED_REPORTED_AFTER_SECONDS,
    FAILING_FOR_SECONDS,
    conditions,
    failing_seconds,
)
from notifier.delivery.health import DestinationReport, ServiceSnapshot
from notifier.destinations.outcome import AttemptResult, FailureScope, failure_scope
from notifier.store.tables.destinations import (
    BY_OPERATOR,
    DueEvents,
    Health,
    HealthState,
    LastError,
    LearnedLimits,
    UndeliveredGroup,
)
from notifier.store.tables.outbox import DeliveryState

NOW = 1_795_280_400_123  # 2026-11-21T17:00:00.123Z
LONG_MS = round(FAILING_FOR_SECONDS * 1000)
TRYING = 10 * round(DISABLED_REPORTED_AFTER_SECONDS * 1000)
DAY_MS = round(DISABLED_REPORTED_AFTER_SECONDS * 1000)
RETRYING = Health(HealthState.RETRYING, AttemptResult.SERVER_ERROR, NOW - LONG_MS, failures=9)
BEGUN = replace(RETRYING, since_ms=NOW)
GONE = Health(HealthState.DISABLED, AttemptResult.GONE, NOW)
PARKED = Health(HealthState.DISABLED, BY_OPERATOR, NOW - DAY_MS)
ERROR = LastError(AttemptResult.SERVER_ERROR, "HTTP 503: busy", NOW)
UNTRIED = UndeliveredGroup(DeliveryState.PENDING, None, 3)
TRIED = UndeliveredGroup(DeliveryState.PENDING, AttemptResult.SERVER_ERROR, 2, TRYING - LONG_MS, NOW)
REFUSED = UndeliveredGroup(DeliveryState.PENDING, AttemptResult.REFUSED, 1, TRYING - DAY_MS, NOW)
DEAD = UndeliveredGroup(DeliveryState.DEAD, AttemptResult.REFUSED, 2, TRYING - DAY_MS, NOW - 2000)
SUBJECT = "destinations/hr"

healths = st.sampled_from([Health(), BEGUN, GONE, PARKED])
ages = st.integers(-LONG_MS, 3 * LONG_MS)


def reported(
    health: Health,
    *undelivered: UndeliveredGroup,
    error: LastError | None = ERROR,
    uptime: float = 1e6,
    due: DueEvents | None = None,
    serving: Mapping[str, Any] | None = None,
    firing: Collection[ConditionKey] = (),
) -> list[Condition]:
    served = ServiceSnapshot(health, uptime, TRYING, **(serving or {}))
    found = conditions("hr", DestinationReport(served, undelivered, error, due, NOW), firing)
    return [it for it in found if it.seen_seconds >= it.begins_after_seconds or it.key in firing]


def names(found: Sequence[Condition]) -> list[str]:
    assert {condition.subject for condition in found} <= {SUBJECT}
    return [condition.name for condition in found]


def fails(health: Health, *undelivered: UndeliveredGroup, uptime: float = 1e6, is_firing: bool = False) -> bool:
    lasts = failing_seconds(ServiceSnapshot(health, uptime, TRYING), undelivered, NOW, is_firing=is_firing)
    return lasts is not None and (is_firing or lasts >= FAILING_FOR_SECONDS)


@given(ages, st.floats(0, 2 * FAILING_FOR_SECONDS))
def test_destination_failing_begins_by_the_age_of_the_oldest_retried_event(age_ms: int, uptime: float) -> None:
    old = replace(TRIED, tried_from_ms=TRYING - age_ms)
    assert fails(BEGUN, old, UNTRIED, uptime=uptime) is (age_ms >= LONG_MS and uptime >= FAILING_FOR_SECONDS)


@pytest.mark.parametrize("reason", AttemptResult)
def test_destination_failing_ignores_outcomes_that_concern_only_the_event(reason: AttemptResult) -> None:
    theirs = (FailureScope.PACE, FailureScope.ENDPOINT, FailureScope.UNKNOWN)
    assert fails(BEGUN, replace(TRIED, reason=reason)) is (failure_scope(reason) in theirs)


@given(health=healths, moment=st.booleans())
def test_short_failure_does_not_begin_or_end_destination_failing(health: Health, *, moment: bool) -> None:
    young = [replace(TRIED, tried_from_ms=TRYING - 1000)] if moment else []
    assert not fails(health, *young, UNTRIED, REFUSED)
    assert fails(BEGUN, *young, UNTRIED, is_firing=True)


@given(ages)
def test_destination_failing_ends_after_a_success_if_no_old_event_is_retried(age_ms: int) -> None:
    old = replace(TRIED, tried_from_ms=TRYING - age_ms)
    assert fails(Health(), old, REFUSED, is_firing=True) is (age_ms >= LONG_MS)


def test_destination_failing_ends_when_every_delivery_is_dead() -> None:
    assert not fails(RETRYING, DEAD, is_firing=True)


@given(age_ms=ages, is_firing=st.booleans())
def test_destination_that_refuses_everything_fails_after_fifteen_minutes(age_ms: int, *, is_firing: bool) -> None:
    refusing = Health(HealthState.RETRYING, AttemptResult.EVERYTHING_REFUSED, NOW - age_ms)
    assert fails(refusing, REFUSED, is_firing=is_firing) is (is_firing or age_ms >= LONG_MS)


LATE = DueEvents(NOW - LONG_MS, delivered_last_hour=1900, detected_last_hour=3600)
BEHIND = (ConditionName.DESTINATION_BEHIND.value, SUBJECT)


@given(age_ms=ages, uptime=st.floats(0, 2 * FAILING_FOR_SECONDS), is_firing=st.booleans())
def test_destination_behind_begins_when_an_event_is_late(age_ms: int, uptime: float, *, is_firing: bool) -> None:
    found = reported(
        Health(),
        UNTRIED,
        due=replace(LATE, since_ms=NOW - age_ms),
        uptime=uptime,
        firing={BEHIND} if is_firing else (),
    )
    late = age_ms >= LONG_MS and (is_firing or uptime >= FAILING_FOR_SECONDS)
    assert names(found) == (["destination_behind"] if late else [])


@pytest.mark.parametrize(
    ("health", "serving", "due", "way"),
    [
        (Health(), {}, LATE, "deliveries an hour: 1,900, new events an hour: 3,600"),
        (
            Health(),
            {"learned": LearnedLimits(rate=0.5)},
            LATE,
            (
                "deliveries an hour: 1,900, new events an hour: 3,600; the receiver accepts 1,800 requests an hour"
                " and refuses more"
            ),
        ),
        (
            Health(),
            {"rate": 1.0},
            LATE,
            "deliveries an hour: 1,900, new events an hour: 3,600; its `rate` allows 3,600 requests an hour",
        ),
        (
            Health(HealthState.RETRYING, AttemptResult.THROTTLED, NOW, asked=True),
            {"waits_until_ms": NOW + 60_000},
            LATE,
            "the receiver has asked for a wait until 2026-11-21T17:01:00.123Z (Retry-After)",
        ),
        (BEGUN, {}, LATE, "no delivery succeeds at the moment: it had an internal error (HTTP 503: busy)"),
        (
            Health(),
            {},
            replace(LATE, blocked=2, blocked_by="evt_a"),
            (
                "deliveries an hour: 1,900, new events an hour: 3,600; 2 events wait behind an earlier event of the"
                " same record, the first behind evt_a (`notifier deliveries drop evt_a --destination hr --yes`"
                " unblocks it)"
            ),
        ),
    ],
)
def test_destination_behind_names_the_cause(health: Health, serving: dict[str, Any], due: DueEvents, way: str) -> None:
    (condition,) = reported(health, UNTRIED, due=due, serving=serving)
    assert condition.name is ConditionName.DESTINATION_BEHIND
    assert condition.summary == (
        f"hr: the oldest event for it has been waiting since 2026-11-21T16:45:00.123Z: {way}; 3 events wait"
    )


def test_failing_destination_is_not_also_reported_as_behind() -> None:
    assert names(reported(RETRYING, TRIED, due=LATE)) == ["destination_failing"]


def test_restart_does_not_end_or_begin_destination_failing() -> None:
    old = replace(TRIED, tried_from_ms=TRYING - DAY_MS)
    assert fails(RETRYING, old, uptime=0.0, is_firing=True)
    assert not fails(RETRYING, old, uptime=0.0)


def test_destination_failing_names_start_cause_and_number_of_waiting_events() -> None:
    firing = {(ConditionName.DESTINATION_FAILING.value, SUBJECT)}
    (condition,) = reported(RETRYING, TRIED, UNTRIED)
    assert (condition.key, condition.summary) == (
        (ConditionName.DESTINATION_FAILING, SUBJECT),
        (
            "hr: deliveries have failed since 2026-11-21T16:45:00.123Z: it had an internal error (HTTP 503: busy);"
            " the notifier tries again; check the receiver; once it works, `notifier retry --state pending"
            " --destination hr` tries at once; 5 events wait"
        ),
    )
    (condition,) = reported(Health(), replace(TRIED, count=1), error=replace(ERROR, reason="refused"), firing=firing)
    assert condition.summary.endswith("--destination hr` tries at once; 1 event waits")


def test_destination_that_refuses_everything_names_the_settings_to_check() -> None:
    refused = replace(TRIED, reason=AttemptResult.EVERYTHING_REFUSED)
    error = LastError(AttemptResult.EVERYTHING_REFUSED, "HTTP 401: who are you?", NOW)
    (condition,) = reported(replace(RETRYING, reason=AttemptResult.EVERYTHING_REFUSED), refused, error=error)
    assert condition.name is ConditionName.DESTINATION_FAILING
    assert condition.summary == (
        "hr: deliveries have failed since 2026-11-21T16:45:00.123Z: it refuses every event (HTTP 401: who are"
        " you?); the notifier tries again; check `url`, `headers` and the receiver; once it works, `notifier retry"
        " --state pending --destination hr` tries at once; 2 events wait"
    )


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (AttemptResult.GONE, "the address no longer exists"),
        (AttemptResult.WEBHOOK_REVOKED, "the webhook was revoked"),
    ],
)
def test_destination_disabled_by_its_receiver_is_reported_at_once(reason: AttemptResult, words: str) -> None:
    (condition,) = reported(replace(GONE, reason=reason), UNTRIED, error=LastError(reason, "HTTP 410", NOW))
    assert (condition.name, condition.subject) == (ConditionName.DESTINATION_DISABLED, SUBJECT)
    assert condition.summary == (
        "hr: disabled since 2026-11-21T17:00:00.123Z, because the receiver answered that it accepts no more requests: "
        f"{words} (HTTP 410); enter the new `url` in the configuration and run `notifier reload`, or, if the `url` is"
        " still right, run `notifier enable hr`; 3 events wait"
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
def test_destination_disabled_by_hand_is_reported_after_a_day_if_events_wait(
    since_ms: int, waiting: list[UndeliveredGroup], *, is_told: bool
) -> None:
    found = reported(replace(PARKED, since_ms=since_ms), *waiting)
    assert (ConditionName.DESTINATION_DISABLED in names(found)) is is_told


def test_destination_disabled_by_hand_names_the_command_that_enables_it() -> None:
    (condition,) = reported(PARKED, UNTRIED)
    assert condition.summary == (
        "hr: disabled by hand since 2026-11-20T17:00:00.123Z; `notifier enable hr` enables it; 3 events wait"
    )


@given(healths, ages)
def test_disabled_destination_is_not_also_reported_as_failing(health: Health, age_ms: int) -> None:
    firing = {(name.value, SUBJECT) for name in ConditionName}
    found = names(reported(health, replace(TRIED, tried_from_ms=TRYING - age_ms), firing=firing))
    assert len(found) <= 1


def test_deliveries_dead_names_count_latest_reason_and_commands() -> None:
    latest = replace(DEAD, reason=AttemptResult.TIMEOUT, count=1, last_attempt_ms=NOW - 1000)
    (condition,) = reported(Health(), DEAD, latest)
    assert condition == Condition(
        ConditionName.DELIVERIES_DEAD,
        SUBJECT,
        "hr: 3 deliveries were given up, the latest at 2026-11-21T16:59:59.123Z: it did not answer in time;"
        " `notifier deliveries --state dead --destination hr` shows them, `notifier retry --destination hr` sends them"
        " again, and `notifier deliveries drop hr --state dead --yes` removes them for good",
    )
    assert reported(Health(), latest)[0].summary.startswith("hr: 1 delivery was given up, the latest at ")


def test_working_destination_has_no_condition() -> None:
    young = replace(REFUSED, tried_from_ms=TRYING - 1000)
    assert reported(Health(), UNTRIED, young) == []


def test_event_that_a_working_destination_refuses_for_long_is_reported() -> None:
    (condition,) = reported(Health(), UNTRIED, REFUSED)
    assert (condition.name, condition.cause) == (ConditionName.DESTINATION_BEHIND, "refused")
    assert "`notifier deliveries drop EVENT_ID --destination hr --yes` removes one from the queue" in condition.summary
