"""The rules for the conditions of destinations. Pure functions, except `report_orphans`, which logs.

A destination may be failing, behind or disabled, or have deliveries that were given up. Events may also wait for a
destination that is no longer configured.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TypeGuard

from notifier.alerts.conditions import Condition, ConditionKey, ConditionName, destination_subject
from notifier.clock import iso_utc
from notifier.delivery.health import DestinationReport, ServiceSnapshot
from notifier.destinations.outcome import AttemptResult, FailureScope, failure_scope
from notifier.store.queries.orphans import Orphan
from notifier.store.tables.destinations import BY_OPERATOR, DueEvents, Health, HealthState, LastError, UndeliveredGroup
from notifier.store.tables.outbox import DeliveryState
from notifier.wording.sentences import Sentence

FAILING_FOR_SECONDS = 900.0
"""How long an event waits for a failing endpoint before an alert is sent."""

OVER_AFTER_SECONDS = 300.0
"""How long a destination must work without any failure before `destination_failing` ends."""

_SOON_REPORTED_SECONDS = 60.0
"""A destination that will be reported as failing within this time is not reported as behind."""

DISABLED_REPORTED_AFTER_SECONDS = 86_400.0
"""A destination that an operator disabled this long ago is reported if events wait for it."""

_ENDPOINT_SCOPES = (FailureScope.PACE, FailureScope.ENDPOINT, FailureScope.UNKNOWN)
_ENDPOINT_RESULTS = frozenset(reason for reason in AttemptResult if failure_scope(reason) in _ENDPOINT_SCOPES)
_EVENT_RESULTS = frozenset(reason for reason in AttemptResult if failure_scope(reason) is FailureScope.EVENT)
_PACE_RESULTS = frozenset(reason for reason in AttemptResult if failure_scope(reason) is FailureScope.PACE)
_log = logging.getLogger(__name__)


def conditions(name: str, report: DestinationReport, firing: Collection[ConditionKey]) -> Iterator[Condition]:
    """Yield the conditions of a configured destination. `firing` has the keys of the conditions that fire already."""
    serving, undelivered, last_error, due = report.serving, report.undelivered, report.last_error, report.due
    now_ms = report.now_ms
    subject = destination_subject(name)
    health = serving.health
    waiting = sum(it.count for it in undelivered if it.state is DeliveryState.PENDING)
    dead = [it for it in undelivered if it.state is DeliveryState.DEAD]
    is_firing = (ConditionName.DESTINATION_DISABLED, subject) in firing
    if is_disabling_reported(health, waiting, now_ms, is_firing=is_firing):
        summary = _disabled_sentence(name, health, last_error, waiting)
        yield Condition(ConditionName.DESTINATION_DISABLED, subject, _sentence_about(name, summary))
    is_firing = (ConditionName.DESTINATION_FAILING, subject) in firing
    failing = failing_seconds(serving, undelivered, now_ms, is_firing=is_firing)
    if failing is not None:
        yield Condition(
            ConditionName.DESTINATION_FAILING,
            subject,
            _sentence_about(name, _failing_sentence(name, report, waiting)),
            cause=health.reason or "",
            remedy=Sentence("destination_failing.retry", name=name),
            begins_after_seconds=FAILING_FOR_SECONDS,
            ends_after_seconds=OVER_AFTER_SECONDS,
            seen_seconds=failing,
        )
    is_failing_reported = is_firing or (failing is not None and failing >= FAILING_FOR_SECONDS)
    if not is_failing_reported and is_behind(due, serving, undelivered, now_ms):
        yield Condition(
            ConditionName.DESTINATION_BEHIND,
            subject,
            _sentence_about(name, _behind_sentence(name, serving, due, last_error, waiting)),
            begins_after_seconds=FAILING_FOR_SECONDS,
            seen_seconds=min((now_ms - due.since_ms) / 1000, serving.seconds_in_service),
        )
    elif not is_failing_reported and (refused := _count_long_refused(serving, undelivered)):
        yield Condition(
            ConditionName.DESTINATION_BEHIND,
            subject,
            _sentence_about(
                name,
                Sentence(
                    "destination_behind.refused", waiting=refused, why=_describe_reason(None, last_error), name=name
                ),
            ),
            cause="refused",
        )
    put_back = sum(it.put_back for it in undelivered if it.state is DeliveryState.PENDING)
    if dead:
        yield Condition(
            ConditionName.DELIVERIES_DEAD, subject, _sentence_about(name, _dead_sentence(name, dead, last_error))
        )
    elif put_back and (ConditionName.DELIVERIES_DEAD, subject) in firing:
        put_back_sentence = Sentence("deliveries_dead.put_back", count=put_back)
        yield Condition(ConditionName.DELIVERIES_DEAD, subject, _sentence_about(name, put_back_sentence))


def _count_long_refused(serving: ServiceSnapshot, undelivered: Sequence[UndeliveredGroup]) -> int:
    """Return how many events have waited for long because the receiver refuses their content.

    An event has waited for long if delivery was possible for FAILING_FOR_SECONDS in total since the event's first
    attempt. While the destination is retrying or disabled, the result is 0.
    """
    if serving.health.state is not HealthState.OK:
        return 0
    return sum(
        it.count
        for it in undelivered
        if it.state is DeliveryState.PENDING
        and it.reason in _EVENT_RESULTS
        and it.tried_from_ms is not None
        and (serving.trying_ms - it.tried_from_ms) / 1000 >= FAILING_FOR_SECONDS
    )


def is_behind(
    due: DueEvents | None, serving: ServiceSnapshot, undelivered: Sequence[UndeliveredGroup], now_ms: int
) -> TypeGuard[DueEvents]:
    """Return whether the oldest event that could be sent is late.

    For a disabled destination, the result is False. If the destination is reported as failing, or will be within a
    minute, the result is also False, so that one problem is not reported twice.
    """
    if due is None or serving.health.state is HealthState.DISABLED:
        return False
    fails = serving.health.state is HealthState.RETRYING
    if (
        fails
        and _endpoint_failure_seconds(serving, undelivered, now_ms) >= FAILING_FOR_SECONDS - _SOON_REPORTED_SECONDS
    ):
        return False
    return (now_ms - due.since_ms) / 1000 >= FAILING_FOR_SECONDS


def failing_seconds(
    serving: ServiceSnapshot, undelivered: Sequence[UndeliveredGroup], now_ms: int, *, is_firing: bool
) -> float | None:
    """Return for how many seconds a destination has failed during this run; None if the destination does not fail.

    Events that were refused for their content are ignored. If the failure has been reported (`is_firing`), it ends when
    two things are true: a request has succeeded, and no event has waited for the endpoint for FAILING_FOR_SECONDS.
    """
    health = serving.health
    if health.state is HealthState.DISABLED or not any(it.state is DeliveryState.PENDING for it in undelivered):
        return None
    age = _endpoint_failure_seconds(serving, undelivered, now_ms)
    if health.state is HealthState.RETRYING or (is_firing and age >= FAILING_FOR_SECONDS):
        return min(age, serving.seconds_in_service)
    return None


def is_disabling_reported(health: Health, waiting: int, now_ms: int, *, is_firing: bool) -> bool:
    """Return whether to report that a destination is disabled.

    A destination that the notifier itself disabled is reported at once. One that an operator disabled is reported after
    a day, and only if events wait for it: the operator may have forgotten it.
    """
    if health.state is not HealthState.DISABLED:
        return False
    if health.reason != BY_OPERATOR:
        return True
    age = 0.0 if health.since_ms is None else (now_ms - health.since_ms) / 1000
    return waiting > 0 and (is_firing or age >= DISABLED_REPORTED_AFTER_SECONDS)


def _endpoint_failure_seconds(serving: ServiceSnapshot, undelivered: Sequence[UndeliveredGroup], now_ms: int) -> float:
    """Return for how many seconds the endpoint has failed; 0.0 if it does not fail.

    The result is the longest of these times:

    - For each event that waits for the endpoint: the time in which delivery was possible since the event's first
      attempt.
    - If the destination is retrying: the time since it began to retry.
    """
    first_attempts_ms = [
        it.tried_from_ms for it in undelivered if _waits_for_endpoint(it) and it.tried_from_ms is not None
    ]
    ages_seconds = [(serving.trying_ms - attempt_ms) / 1000 for attempt_ms in first_attempts_ms]
    health = serving.health
    if health.state is HealthState.RETRYING and health.since_ms is not None:
        ages_seconds.append((now_ms - health.since_ms) / 1000)
    return max(ages_seconds, default=0.0)


def _waits_for_endpoint(it: UndeliveredGroup) -> bool:
    return it.state is DeliveryState.PENDING and it.reason in _ENDPOINT_RESULTS


def _sentence_about(name: str, text: Sentence) -> Sentence:
    return Sentence("general.named", name=name, text=text)


def _failing_sentence(name: str, report: DestinationReport, waiting: int) -> Sentence:
    serving, undelivered = report.serving, report.undelivered
    since = iso_utc(report.now_ms - round(_endpoint_failure_seconds(serving, undelivered, report.now_ms) * 1000))
    reason = serving.health.reason or next((it.reason for it in undelivered if _waits_for_endpoint(it)), None)
    text = "refused_since" if reason == AttemptResult.EVERYTHING_REFUSED else "since"
    why = _describe_reason(reason, report.last_error)
    return Sentence(f"destination_failing.{text}", since=since, why=why, name=name, waiting=waiting)


def _behind_sentence(
    name: str, serving: ServiceSnapshot, due: DueEvents, last_error: LastError | None, waiting: int
) -> Sentence:
    health = serving.health
    flow = {"taken": due.delivered_last_hour, "new": due.detected_last_hour}
    if health.state is HealthState.RETRYING and health.asked and serving.waits_until_ms is not None:
        why = Sentence("destination_behind.asked", until=iso_utc(serving.waits_until_ms))
    elif health.state is HealthState.RETRYING and health.reason not in _PACE_RESULTS:
        why = Sentence("destination_behind.failing", why=_describe_reason(health.reason, last_error))
    elif serving.learned.rate is not None:
        why = Sentence("destination_behind.slow_receiver", **flow, rate=round(serving.learned.rate * 3600))
    elif serving.rate:
        why = Sentence("destination_behind.slow_rate", **flow, rate=round(serving.rate * 3600))
    else:
        why = Sentence("destination_behind.slow", **flow)
    if due.blocked_by is not None:
        why = Sentence("destination_behind.blocked", why=why, count=due.blocked, event=due.blocked_by, name=name)
    return Sentence("destination_behind.since", since=iso_utc(due.since_ms), why=why, waiting=waiting)


def _disabled_sentence(name: str, health: Health, last_error: LastError | None, waiting: int) -> Sentence:
    since = {} if health.since_ms is None else {"since": iso_utc(health.since_ms)}
    known = "_since" if since else ""
    if health.reason == BY_OPERATOR:
        return Sentence(f"destination_disabled.by_hand{known}", **since, name=name, waiting=waiting)
    why = _describe_reason(health.reason, last_error)
    return Sentence(f"destination_disabled.by_receiver{known}", **since, why=why, name=name, waiting=waiting)


def _dead_sentence(name: str, dead: Sequence[UndeliveredGroup], last_error: LastError | None) -> Sentence:
    latest = max(dead, key=lambda it: it.last_attempt_ms or 0)
    known = {"given_up": sum(it.count for it in dead), "why": _describe_reason(latest.reason, last_error), "name": name}
    if latest.last_attempt_ms is None:
        return Sentence("deliveries_dead.given_up", **known)
    return Sentence("deliveries_dead.given_up_at", latest=iso_utc(latest.last_attempt_ms), **known)


def _describe_reason(reason: str | None, last_error: LastError | None) -> str:
    """Describe `reason` in words. If it is None, describe the reason of the latest error.

    If the described reason is that of the latest error, the error's message is added.
    """
    is_latest = last_error is not None and reason in (None, last_error.reason)
    known = last_error.reason if last_error is not None and is_latest else reason
    if known is None:
        return Sentence("general.see_log")
    # A reason stored by another version may be unknown to this one.
    text = Sentence(f"attempt.{known}") if known in set(AttemptResult) else known
    if last_error is not None and is_latest and last_error.message:
        return Sentence("general.detail", text=text, detail=last_error.message)
    return text


def orphan_sentence(orphan: Orphan) -> Sentence:
    """Return a sentence about the events that wait for an unconfigured destination: how many, and what to do."""
    known = {"waiting": orphan.pending, "name": orphan.destination}
    if orphan.dead:
        return Sentence("deliveries_orphaned.waiting_and_dead", **known, dead=orphan.dead)
    return Sentence("deliveries_orphaned.waiting", **known)


def orphan_conditions(orphans: Iterable[Orphan]) -> Iterator[Condition]:
    """Yield a condition for each unconfigured destination that events wait for."""
    for orphan in orphans:
        if orphan.pending:
            yield Condition(
                ConditionName.DELIVERIES_ORPHANED, destination_subject(orphan.destination), orphan_sentence(orphan)
            )


def report_orphans(orphans: Iterable[Orphan]) -> None:
    """Log the unconfigured destinations that events wait for, at the daemon's start and after each reload."""
    for orphan in orphans:
        if orphan.pending:
            _log.warning(
                orphan_sentence(orphan), extra={"destination": orphan.destination, "deliveries": orphan.pending}
            )
