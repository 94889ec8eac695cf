"""The conditions of a destination, and of deliveries to one that is no longer configured. Pure, except the log.

A destination may be failing, behind, disabled, or have deliveries that were given up.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TypeGuard

from notifier.alerts.conditions import Condition, ConditionKey, ConditionName, destination_subject
from notifier.clock import iso_utc
from notifier.delivery.health import DestinationReport, Serving
from notifier.destinations.outcome import AttemptResult, FailureScope, failure_scope
from notifier.store.queries.orphans import Orphan
from notifier.store.tables.destinations import BY_OPERATOR, Health, HealthState, LastError, OwedEvents, Undelivered
from notifier.store.tables.outbox import DeliveryState

FAILING_FOR_SECONDS = 900.0
"""Seconds that an event waits for a failing endpoint before a notice is sent."""

OVER_AFTER_SECONDS = 300.0
"""Seconds without any failure after which the condition is over."""

_SOON_SECONDS = 60.0
"""If an endpoint will be reported as failing within so many seconds, it is not reported as behind before that."""

FORGOTTEN_AFTER_SECONDS = 86_400.0
"""Seconds after which an operator may have forgotten that they disabled a destination for which events wait."""

_NOT_ITS_OWN = (FailureScope.PACE, FailureScope.ENDPOINT, FailureScope.UNKNOWN)
_OF_THE_ENDPOINT = frozenset(reason for reason in AttemptResult if failure_scope(reason) in _NOT_ITS_OWN)
_OF_THE_EVENT = frozenset(reason for reason in AttemptResult if failure_scope(reason) is FailureScope.EVENT)
_OF_PACE = frozenset(reason for reason in AttemptResult if failure_scope(reason) is FailureScope.PACE)
_log = logging.getLogger(__name__)


def conditions(name: str, report: DestinationReport, firing: Collection[ConditionKey]) -> Iterator[Condition]:
    """Yield the conditions of a destination; `firing` holds the keys of the conditions that fired until now."""
    serving, undelivered, last_error, owed = report.serving, report.undelivered, report.last_error, report.owed
    now_ms = report.now_ms
    subject = destination_subject(name)
    health = serving.health
    waiting = sum(it.count for it in undelivered if it.state is DeliveryState.PENDING)
    dead = [it for it in undelivered if it.state is DeliveryState.DEAD]
    stands = (ConditionName.DESTINATION_DISABLED, subject) in firing
    if is_disabled_for_people_to_know(health, waiting, now_ms, stands=stands):
        summary = f"{name}: {_disabled(name, health, last_error)}; {_events(waiting)}"
        yield Condition(ConditionName.DESTINATION_DISABLED, subject, summary)
    stands = (ConditionName.DESTINATION_FAILING, subject) in firing
    failing = failing_for(serving, undelivered, now_ms, stands=stands)
    if failing is not None:
        yield Condition(
            ConditionName.DESTINATION_FAILING,
            subject,
            f"{name}: {_failing(name, serving, undelivered, last_error, now_ms)}; {_events(waiting)}",
            cause=health.reason or "",
            remedy=f"once the receiver works, `notifier retry --state pending --destination {name}` tries at once",
            begins_after=FAILING_FOR_SECONDS,
            ends_after=OVER_AFTER_SECONDS,
            lived=failing,
        )
    is_told = stands or (failing is not None and failing >= FAILING_FOR_SECONDS)
    if not is_told and is_behind(owed, serving, undelivered, now_ms):
        yield Condition(
            ConditionName.DESTINATION_BEHIND,
            subject,
            f"{name}: {_behind(name, serving, owed, last_error)}; {_events(waiting)}",
            begins_after=FAILING_FOR_SECONDS,
            lived=min((now_ms - owed.since_ms) / 1000, serving.tried_for),
        )
    elif not is_told and (refused := _refused_for_long(serving, undelivered)):
        yield Condition(
            ConditionName.DESTINATION_BEHIND,
            subject,
            f"{name}: {_events(refused)} for another attempt: the receiver refuses it but accepts others:"
            f" {_why(None, last_error)}; `notifier deliveries --state pending --destination {name}` shows each, and"
            f" `notifier deliveries drop EVENT_ID --destination {name}` removes one from the queue",
            cause="refused",
        )
    put_back = sum(it.put_back for it in undelivered if it.state is DeliveryState.PENDING)
    if dead:
        yield Condition(ConditionName.DELIVERIES_DEAD, subject, f"{name}: {_dead(name, dead, last_error)}")
    elif put_back and (ConditionName.DELIVERIES_DEAD, subject) in firing:
        summary = (
            f"{name}: {put_back:,} of the deliveries that were given up were put back into the queue and are not"
            " delivered yet"
        )
        yield Condition(ConditionName.DELIVERIES_DEAD, subject, summary)


def _refused_for_long(serving: Serving, undelivered: Sequence[Undelivered]) -> int:
    """Return how many waiting events were refused because of their content for FAILING_FOR_SECONDS or longer."""
    if serving.health.state is not HealthState.OK:
        return 0
    return sum(
        it.count
        for it in undelivered
        if it.state is DeliveryState.PENDING
        and it.reason in _OF_THE_EVENT
        and it.tried_from_ms is not None
        and (serving.trying_ms - it.tried_from_ms) / 1000 >= FAILING_FOR_SECONDS
    )


def is_behind(
    owed: OwedEvents | None, serving: Serving, undelivered: Sequence[Undelivered], now_ms: int
) -> TypeGuard[OwedEvents]:
    """Return whether the oldest event that could be sent is late.

    The cause does not matter, with one exception: while the endpoint fails and is about to be reported for that, the
    answer is False, so that one problem is not reported twice.
    """
    if owed is None or serving.health.state is HealthState.DISABLED:
        return False
    fails = serving.health.state is HealthState.RETRYING
    if fails and _failing_for(serving, undelivered, now_ms) >= FAILING_FOR_SECONDS - _SOON_SECONDS:
        return False
    return (now_ms - owed.since_ms) / 1000 >= FAILING_FOR_SECONDS


def failing_for(serving: Serving, undelivered: Sequence[Undelivered], now_ms: int, *, stands: bool) -> float | None:
    """Return for how many seconds a destination has failed while this process ran; None if it does not fail.

    An event that was refused because of its own content says nothing about the endpoint. Time before this process
    started does not count. A failure that has been reported (`stands`) lasts until a request succeeds and no old event
    waits for another attempt.
    """
    health = serving.health
    if health.state is HealthState.DISABLED or not any(it.state is DeliveryState.PENDING for it in undelivered):
        return None
    age = _failing_for(serving, undelivered, now_ms)
    if health.state is HealthState.RETRYING or (stands and age >= FAILING_FOR_SECONDS):
        return min(age, serving.tried_for)
    return None


def is_disabled_for_people_to_know(health: Health, waiting: int, now_ms: int, *, stands: bool) -> bool:
    """Return whether to report that a destination is disabled.

    A destination that disabled itself is reported at once. One that an operator disabled is reported after a day, and
    only if events wait for it, because it may have been forgotten.
    """
    if health.state is not HealthState.DISABLED:
        return False
    if health.reason != BY_OPERATOR:
        return True
    age = 0.0 if health.since_ms is None else (now_ms - health.since_ms) / 1000
    return waiting > 0 and (stands or age >= FORGOTTEN_AFTER_SECONDS)


def _failing_for(serving: Serving, undelivered: Sequence[Undelivered], now_ms: int) -> float:
    """Return for how many seconds the oldest event that waits for the endpoint has been tried; 0.0 if none waits."""
    froms = [it.tried_from_ms for it in undelivered if _waits_for_endpoint(it) and it.tried_from_ms is not None]
    tried = [(serving.trying_ms - from_ms) / 1000 for from_ms in froms]
    health = serving.health
    if health.state is HealthState.RETRYING and health.since_ms is not None:
        tried.append((now_ms - health.since_ms) / 1000)
    return max(tried, default=0.0)


def _waits_for_endpoint(it: Undelivered) -> bool:
    return it.state is DeliveryState.PENDING and it.reason in _OF_THE_ENDPOINT


def _failing(
    name: str, serving: Serving, undelivered: Sequence[Undelivered], last_error: LastError | None, now_ms: int
) -> str:
    since = f" since {iso_utc(now_ms - round(_failing_for(serving, undelivered, now_ms) * 1000))}"
    reason = serving.health.reason or next((it.reason for it in undelivered if _waits_for_endpoint(it)), None)
    where = "`url`, `headers` and the receiver" if reason == AttemptResult.EVERYTHING_REFUSED else "the receiver"
    return (
        f"events cannot be delivered{since}: {_why(reason, last_error)}; they are tried again, check {where}; once"
        f" it works, `notifier retry --state pending --destination {name}` tries at once"
    )


def _behind(name: str, serving: Serving, owed: OwedEvents, last_error: LastError | None) -> str:
    health = serving.health
    if health.state is HealthState.RETRYING and health.asked and serving.waits_until_ms is not None:
        way = f"the receiver has asked for a wait until {iso_utc(serving.waits_until_ms)} (Retry-After)"
    elif health.state is HealthState.RETRYING and health.reason not in _OF_PACE:
        way = f"no delivery succeeds at the moment: {_why(health.reason, last_error)}"
    else:
        way = f"deliveries an hour: {owed.taken:,}, new events an hour: {owed.come_in:,}"
        if serving.learned.rate is not None:
            way += f"; the receiver accepts {serving.learned.rate * 3600:,.0f} requests an hour and refuses more"
        elif serving.rate:
            way += f"; its `rate` allows {serving.rate * 3600:,.0f} requests an hour"
    if owed.blocked_by is not None:
        way += (
            f"; {owed.blocked:,} of them wait behind an earlier event of their record, the first behind"
            f" {owed.blocked_by} (`notifier deliveries drop {owed.blocked_by} --destination {name}` unblocks it)"
        )
    return f"the oldest event for it has been waiting since {iso_utc(owed.since_ms)}: {way}"


def _disabled(name: str, health: Health, last_error: LastError | None) -> str:
    since = "" if health.since_ms is None else f" since {iso_utc(health.since_ms)}"
    if health.reason == BY_OPERATOR:
        return f"disabled by hand{since}; `notifier enable {name}` enables it"
    return (
        f"disabled{since}, because the receiver answered that it accepts no more requests:"
        f" {_why(health.reason, last_error)}; enter the new `url` in the configuration, run `notifier reload`, and"
        f" then `notifier enable {name}`"
    )


def _dead(name: str, dead: Sequence[Undelivered], last_error: LastError | None) -> str:
    latest = max(dead, key=lambda it: it.last_attempt_ms or 0)
    count = sum(it.count for it in dead)
    when = "" if latest.last_attempt_ms is None else f" at {iso_utc(latest.last_attempt_ms)}"
    given_up = f"{count:,} deliveries were given up" if count > 1 else "a delivery was given up"
    return (
        f"{given_up}, the latest{when}: {_why(latest.reason, last_error)}; `notifier deliveries --state dead"
        f" --destination {name}` shows them, `notifier retry --destination {name}` sends them again, and `notifier"
        f" deliveries drop {name} --state dead --yes` removes them for good"
    )


def _why(reason: str | None, last_error: LastError | None) -> str:
    """Return a reason as text, with the message of the peer or the network if the latest error has that reason."""
    if last_error is None or reason not in (None, last_error.reason):
        return reason or "see the log for the reason"
    return f"{last_error.reason} ({last_error.message})" if last_error.message else last_error.reason


def _events(waiting: int) -> str:
    return "1 event waits" if waiting == 1 else f"{waiting:,} events wait"


def orphan_sentence(orphan: Orphan) -> str:
    """Return a sentence with the number of events that wait for an unconfigured destination, and the remedies."""
    name = orphan.destination
    waiting = f"{orphan.pending:,} {'event waits' if orphan.pending == 1 else 'events wait'}"
    given_up = f" ({orphan.dead:,} more were given up)" if orphan.dead else ""
    return (
        f"{waiting} for `{name}`, which is not configured{given_up}: restore the name, move them with `notifier"
        f" deliveries move {name} OTHER`, or drop them with `notifier deliveries drop {name} --yes`"
    )


def orphan_conditions(orphans: Iterable[Orphan]) -> Iterator[Condition]:
    """Yield a condition for each unconfigured destination for which events wait."""
    for orphan in orphans:
        if orphan.pending:
            yield Condition(
                ConditionName.DELIVERIES_ORPHANED, destination_subject(orphan.destination), orphan_sentence(orphan)
            )


def report_orphans(orphans: Iterable[Orphan]) -> None:
    """Log the unconfigured destinations for which events wait; called at the start and after each reload."""
    for orphan in orphans:
        if orphan.pending:
            _log.warning(
                orphan_sentence(orphan), extra={"destination": orphan.destination, "deliveries": orphan.pending}
            )
