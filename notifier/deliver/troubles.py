"""What people must be told of a destination: that it fails, is disabled, or that deliveries were given up. Pure."""

from collections.abc import Collection, Iterator, Sequence

from notifier.clock import iso_utc
from notifier.conditions import Condition, ConditionName, Key, destination_subject
from notifier.deliver.outcome import Reason, Trouble, trouble
from notifier.ledger.destinations import BY_OPERATOR, Health, HealthState, LastError, Undelivered
from notifier.ledger.outbox import DeliveryState

FAILING_FOR = 900.0
"""Seconds that an event waits for an endpoint in trouble before people are told."""

FORGOTTEN_AFTER = 86_400.0
"""Seconds after which a destination that an operator has disabled, and for which events wait, may be forgotten."""

_OF_THE_ENDPOINT = frozenset(reason for reason in Reason if trouble(reason) is Trouble.ENDPOINT)


def conditions(
    name: str,
    health: Health,
    undelivered: Sequence[Undelivered],
    last_error: LastError | None,
    *,
    uptime: float,
    firing: Collection[Key],
    now_ms: int,
) -> Iterator[Condition]:
    """Yield what is wrong with a destination.

    `uptime` is for how many seconds this process has tried to deliver, `firing` what was wrong until now.
    """
    subject = destination_subject(name)
    waiting = sum(it.count for it in undelivered if it.state is DeliveryState.PENDING)
    dead = [it for it in undelivered if it.state is DeliveryState.DEAD]
    stands = (ConditionName.DESTINATION_DISABLED, subject) in firing
    if is_disabled_for_people_to_know(health, waiting, now_ms, stands=stands):
        summary = f"{name}: {_disabled(name, health, last_error)}; {_events(waiting)}"
        yield Condition(ConditionName.DESTINATION_DISABLED, subject, summary)
    stands = (ConditionName.DESTINATION_FAILING, subject) in firing
    if fails_for_long(health, undelivered, uptime, now_ms, stands=stands):
        summary = f"{name}: {_failing(health, undelivered, last_error)}; {_events(waiting)}"
        yield Condition(ConditionName.DESTINATION_FAILING, subject, summary)
    if dead:
        yield Condition(ConditionName.DELIVERIES_DEAD, subject, f"{name}: {_dead(name, dead)}")


def fails_for_long(
    health: Health, undelivered: Sequence[Undelivered], uptime: float, now_ms: int, *, stands: bool
) -> bool:
    """Tell whether a destination has failed for so long that people must know: by the age of its oldest failure.

    An event that is refused for itself says nothing of the endpoint, and time before this process began nothing of a
    failure. What has begun (`stands`) is over when a request gets through and nothing old waits for another try.
    """
    if health.state is HealthState.DISABLED:
        return False
    since_ms = _failing_since(undelivered)
    age = 0.0 if since_ms is None else (now_ms - since_ms) / 1000
    if stands:
        return health.state is HealthState.RETRYING or age >= FAILING_FOR
    return health.state is HealthState.RETRYING and min(age, uptime) >= FAILING_FOR


def is_disabled_for_people_to_know(health: Health, waiting: int, now_ms: int, *, stands: bool) -> bool:
    """Tell whether people must know that a destination is disabled.

    When it has disabled itself, at once. Whoever has disabled it by hand knows: it is told after a day, when events
    wait and it may have been forgotten.
    """
    if health.state is not HealthState.DISABLED:
        return False
    if health.reason != BY_OPERATOR:
        return True
    age = 0.0 if health.since_ms is None else (now_ms - health.since_ms) / 1000
    return waiting > 0 and (stands or age >= FORGOTTEN_AFTER)


def _failing_since(undelivered: Sequence[Undelivered]) -> int | None:
    """Return when the first attempt was made of the oldest event that waits because of the endpoint."""
    moments = (it.first_attempt_ms for it in undelivered if _waits_for_endpoint(it))
    return min((moment for moment in moments if moment is not None), default=None)


def _waits_for_endpoint(it: Undelivered) -> bool:
    return it.state is DeliveryState.PENDING and it.reason in _OF_THE_ENDPOINT


def _failing(health: Health, undelivered: Sequence[Undelivered], last_error: LastError | None) -> str:
    moments = (_failing_since(undelivered), health.since_ms if health.state is HealthState.RETRYING else None)
    since_ms = min((moment for moment in moments if moment is not None), default=None)
    since = "" if since_ms is None else f" since {iso_utc(since_ms)}"
    reason = health.reason or next((it.reason for it in undelivered if _waits_for_endpoint(it)), None)
    where = "`url`, `headers` and the receiver" if reason == Reason.EVERYTHING_REFUSED else "the receiver"
    return f"events have not got through{since}: {_why(reason, last_error)}; they are tried again, check {where}"


def _disabled(name: str, health: Health, last_error: LastError | None) -> str:
    since = "" if health.since_ms is None else f" since {iso_utc(health.since_ms)}"
    if health.reason == BY_OPERATOR:
        return f"disabled by hand{since}; `notifier enable {name}` lets it go on"
    return (
        f"disabled{since}, for it has said that it wants nothing any more: {_why(health.reason, last_error)}; mend it,"
        f" and run `notifier enable {name}`"
    )


def _dead(name: str, dead: Sequence[Undelivered]) -> str:
    latest = max(dead, key=lambda it: it.last_attempt_ms or 0)
    count = sum(it.count for it in dead)
    when = "" if latest.last_attempt_ms is None else f" at {iso_utc(latest.last_attempt_ms)}"
    given_up = f"{count:,} deliveries were given up" if count > 1 else "a delivery was given up"
    return (
        f"{given_up}, the latest{when} for {latest.reason or 'an unknown reason'};"
        f" `notifier deliveries --state dead --destination {name}` shows them,"
        f" `notifier retry --destination {name}` sends them again"
    )


def _why(reason: str | None, last_error: LastError | None) -> str:
    """Name a reason, with what the peer or the network said when it was the last one that did."""
    if last_error is None or reason not in (None, last_error.reason):
        return reason or "the log may tell why"
    return f"{last_error.reason} ({last_error.message})" if last_error.message else last_error.reason


def _events(waiting: int) -> str:
    return "1 event waits" if waiting == 1 else f"{waiting:,} events wait"
