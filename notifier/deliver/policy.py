"""What to do after an attempt: try again, wait, split, give up, or leave the endpoint alone. Pure decisions.

The one question is who is in trouble. *Health trouble* means that nobody gets through: the destination waits as a
whole and is probed with a single request. *Event trouble* means that this event alone was refused: it alone waits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from http import HTTPStatus

from notifier.config import DestinationSettings
from notifier.deliver.outcome import Outcome, Reason, Trouble, trouble
from notifier.ledger.destinations import Health, HealthState
from notifier.ledger.outbox import Delivery, DeliveryState, Settlement

PATIENCE = 3
"""Attempts that an event may spend on an endpoint in trouble before another event is the probe."""

LONGEST_WAIT = 86_400.0
"""Seconds; what no schedule exceeds, a peer's Retry-After included."""

_TRUSTED_RETRY_AFTERS = 3
_SMALLEST_JITTER = 0.1


class Decision(StrEnum):
    """What was decided after an attempt; the same word in the ledger, the log and the metrics."""

    DELIVERED = "delivered"
    WAIT_FOR_ENDPOINT = "wait_for_endpoint"
    LET_OTHERS_FIRST = "let_others_first"
    RETRY_LATER = "retry_later"
    SPLIT = "split"
    HOLD = "hold"
    GIVE_UP = "give_up"


@dataclass(frozen=True, slots=True)
class Next:
    """What becomes of one delivery: its state, why, and when it is due again (Unix ms, 0: as soon as possible)."""

    state: DeliveryState
    decision: Decision
    next_attempt_ms: int = 0


def backoff(failures: int, settings: DestinationSettings, jitter: float) -> float:
    """Return the wait in seconds after so many failures: exponential with full jitter (`jitter` in [0, 1)).

    Never less than a tenth of the bound, so that no run of luck hammers an endpoint, and never more than LONGEST_WAIT.
    """
    bound = min(settings.retry_max, settings.retry_first * 2.0 ** min(failures - 1, 60), LONGEST_WAIT)
    return bound * max(jitter, _SMALLEST_JITTER)


def patience_spent(delivery: Delivery) -> int:
    """Return how many times over a delivery has used up its PATIENCE."""
    return delivery.attempts // PATIENCE


def turn(delivery: Delivery, health: Health) -> int:
    """Return a number by which deliveries take turns; the lowest goes first, and of equal ones the earliest event.

    Whoever has used up its PATIENCE less often; where everything is refused, whoever was refused less often: only what
    was not refused yet can show that not everything is.
    """
    refused = health.state is HealthState.RETRYING and health.reason == Reason.EVERYTHING_REFUSED
    return delivery.attempts if refused else patience_spent(delivery)


def after_attempt(
    deliveries: Sequence[Delivery],
    outcome: Outcome,
    settings: DestinationSettings,
    *,
    now_ms: int,
    jitter: Callable[[], float],
) -> list[tuple[Next, list[Delivery]]]:
    """Decide what becomes of the deliveries that one request carried: each fate, with those that share it, in order.

    `jitter` gives a number in [0, 1), another one each time.
    """
    if trouble(outcome.reason) is Trouble.NONE:
        return [(Next(DeliveryState.DELIVERED, Decision.DELIVERED), list(deliveries))]
    fates: dict[Next, list[Delivery]] = {}
    for delivery in deliveries:
        fate = after_delivery(
            delivery, outcome, settings, companions=len(deliveries) - 1, now_ms=now_ms, jitter=jitter()
        )
        fates.setdefault(fate, []).append(delivery)
    return list(fates.items())


def settlements(
    deliveries: Sequence[Delivery],
    outcome: Outcome,
    settings: DestinationSettings,
    *,
    now_ms: int,
    milliseconds: int,
    jitter: Callable[[], float],
) -> list[Settlement]:
    """Say as the ledger writes it down what became of the deliveries of a request that took so many milliseconds."""
    suspicious = is_suspicious(outcome, companions=len(deliveries) - 1)
    return [
        Settlement(
            tuple(delivery.event.sequence for delivery in sharing),
            deliveries[0].destination,
            fate.state,
            fate.decision,
            outcome.reason,
            outcome.status,
            outcome.detail,
            now_ms - milliseconds,
            milliseconds,
            fate.next_attempt_ms,
            suspicious,
        )
        for fate, sharing in after_attempt(deliveries, outcome, settings, now_ms=now_ms, jitter=jitter)
    ]


def after_delivery(
    delivery: Delivery, outcome: Outcome, settings: DestinationSettings, *, companions: int, now_ms: int, jitter: float
) -> Next:
    """Decide what becomes of one delivery after an attempt that carried `companions` others.

    It is given up for its age only, and only when it went alone: in company, another one may be to blame.
    """
    kind = trouble(outcome.reason)
    if kind is Trouble.NONE:
        return Next(DeliveryState.DELIVERED, Decision.DELIVERED)
    if kind is Trouble.REVOKED:
        return Next(DeliveryState.PENDING, Decision.HOLD)
    attempts = delivery.attempts + 1
    if not companions and _too_old(delivery, settings, now_ms):
        return Next(DeliveryState.DEAD, Decision.GIVE_UP)
    if kind is Trouble.EVENT:
        asked = _asked_wait(outcome)
        if companions:
            return Next(DeliveryState.PENDING, Decision.SPLIT, _later(now_ms, asked) if asked else 0)
        wait = max(backoff(attempts, settings, jitter), asked)
        return Next(DeliveryState.PENDING, Decision.RETRY_LATER, _later(now_ms, wait))
    if outcome.reason is Reason.EVERYTHING_REFUSED:
        return Next(
            DeliveryState.PENDING, Decision.LET_OTHERS_FIRST, _later(now_ms, backoff(attempts, settings, jitter))
        )
    if attempts < PATIENCE:
        return Next(DeliveryState.PENDING, Decision.WAIT_FOR_ENDPOINT)
    wait = backoff(attempts - PATIENCE + 1, settings, jitter)
    return Next(DeliveryState.PENDING, Decision.LET_OTHERS_FIRST, _later(now_ms, wait))


def after_endpoint(
    health: Health,
    outcome: Outcome,
    settings: DestinationSettings,
    *,
    belated: bool,
    spent: bool,
    now_ms: int,
    jitter: float,
) -> Health:
    """Decide the endpoint's health after an attempt.

    `belated`: the request was under way already when the present trouble began. If it failed too, that is the same
    round of trouble and not one more; if it got through, the wait stands all the same: the next probe decides.
    `spent`: whatever was sent had used up its PATIENCE before. That it fails once more is no worse news of the
    endpoint, and must not make the others wait longer.
    """
    if health.state is HealthState.DISABLED or outcome.reason is Reason.UNSENDABLE:
        return health
    kind = trouble(outcome.reason)
    if kind is Trouble.REVOKED:
        return Health(HealthState.DISABLED, outcome.reason, now_ms)
    if belated and health.state is HealthState.RETRYING:
        return _asked_to_wait_longer(health, outcome, now_ms)
    if kind is not Trouble.ENDPOINT:
        return health if health.state is HealthState.OK else Health(since_ms=now_ms)
    failures = max(1, health.failures) if spent else health.failures + 1
    asked = _later(now_ms, _asked_wait(outcome))
    own = _later(now_ms, backoff(failures, settings, jitter))
    trusted = outcome.retry_after is not None and failures <= _TRUSTED_RETRY_AFTERS
    since = health.since_ms if health.state is HealthState.RETRYING else now_ms
    return Health(HealthState.RETRYING, outcome.reason, since, failures, asked if trusted else max(own, asked))


def next_concurrency(current: int, health: Health, most: int) -> int:
    """Return how many requests may be under way: a single probe in trouble, then twice as many with each answer."""
    return min(most, current * 2) if health.state is HealthState.OK else 1


def is_suspicious(outcome: Outcome, *, companions: int) -> bool:
    """Tell whether it may be the fault of a delivery that an attempt with `companions` others came to this.

    Where no request was sent (no name, no connection, no trust), nobody can have taken offence at what was in it. And
    some answers are about the moment or the place, not about the event: slow down (429, 503: Standard Webhooks 1.0.0),
    too early (425: RFC 8470), elsewhere (3xx), nothing is taken here. They speak against no event that was alone, so
    that after an outage those that the endpoint was probed with go out with all others; in company they do, for a limit
    may count events or bytes, and then fewer get through. Anything else may be the event's fault: any other 5xx, no
    answer, a body that took too long to arrive (408), and whatever a library says no more of.
    """
    match outcome.reason:
        case Reason.DELIVERED | Reason.GONE | Reason.WEBHOOK_REVOKED:
            return False
        case Reason.NAME_NOT_RESOLVED | Reason.CONNECT_FAILED | Reason.CERTIFICATE_REJECTED:
            return False
        case Reason.THROTTLED | Reason.TOO_EARLY | Reason.REDIRECTED | Reason.EVERYTHING_REFUSED:
            return companions > 0
        case Reason.SERVER_ERROR if outcome.status == HTTPStatus.SERVICE_UNAVAILABLE:
            return companions > 0
        case _:
            return True


def group_limit(size: int, suspicions: int) -> int:
    """Return how large a delivery's group may be, so that whoever spoils one is found.

    Half as large after one suspicious failure, which may well have been the endpoint's; then so much smaller with each
    that it stands alone once its PATIENCE is spent: nobody fails more often than that for another's fault.
    """
    if not suspicions:
        return size
    left = max(0, PATIENCE - suspicions) / (PATIENCE - 1)
    return max(1, int((size / 2) ** left))


def _too_old(delivery: Delivery, settings: DestinationSettings, now_ms: int) -> bool:
    return delivery.first_attempt_ms is not None and now_ms - delivery.first_attempt_ms > settings.give_up_after * 1000


def _asked_to_wait_longer(health: Health, outcome: Outcome, now_ms: int) -> Health:
    asked = _asked_wait(outcome) if trouble(outcome.reason) is Trouble.ENDPOINT else 0.0
    return replace(health, retry_at_ms=max(health.retry_at_ms or 0, _later(now_ms, asked))) if asked else health


def _asked_wait(outcome: Outcome) -> float:
    return min(outcome.retry_after or 0.0, LONGEST_WAIT)


def _later(now_ms: int, seconds: float) -> int:
    return now_ms + round(seconds * 1000)
