"""Decides when a delivery is retried, and when it is given up. Pure."""

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from notifier.config import DestinationSettings
from notifier.delivery.policy.circuit_breaker import LONGEST_OPEN_SECONDS
from notifier.destinations.outcome import LONGEST_WAIT_SECONDS
from notifier.store.tables.outbox import Delivery, DeliveryState

_SMALLEST_JITTER = 0.1
_HISTORY_LENGTH = 20
_LEAST_RETRIES = 5
_RANDOM_SHARE = 0.2
"""If at least this share of the latest retries succeeds, failures are taken as random, not as caused by the events."""
_LONGEST_WAIT_IF_RANDOM_SECONDS = 5.0
_MAX_ATTEMPTS = 100
_LEAST_TRYING_SECONDS = 3600.0
"""A delivery gets at least as many attempts as fit into this many seconds (see `least_attempts`)."""


class Decision(StrEnum):
    """The decision about a delivery after an attempt. The store, the log and the metrics use the same words."""

    DELIVERED = "delivered"
    WAIT_FOR_ENDPOINT = "wait_for_endpoint"
    RETRY_LATER = "retry_later"
    SPLIT = "split"
    HOLD = "hold"
    GIVE_UP = "give_up"


class RetryDecision(Struct, frozen=True):
    """The decision about a delivery, its new state, and the seconds until it is due again (0.0: at once)."""

    state: DeliveryState
    decision: Decision
    wait_seconds: float = 0.0
    counts_against_event: bool = False
    """The event caused the failure, or may have caused it."""
    proven: bool = False
    """The event is known to be at fault. The usual proof is that another event was delivered after this event's first
    failure. The event is sent alone from now on.
    """


class RetryHistory(Struct, frozen=True):
    """The results of the latest retries, oldest first; a result is true if the retry succeeded."""

    latest: tuple[bool, ...] = ()

    def with_result(self, *, has_succeeded: bool) -> "RetryHistory":
        """Return the history with one more result at the end."""
        return replace(self, latest=(*self.latest[1 - _HISTORY_LENGTH :], has_succeeded))

    @property
    def suggests_random_failures(self) -> bool:
        """Whether failures seem to be random, because many retries succeed."""
        return len(self.latest) >= _LEAST_RETRIES and sum(self.latest) >= _RANDOM_SHARE * len(self.latest)


def backoff(
    failures: int, settings: DestinationSettings, jitter: float, longest: float = LONGEST_WAIT_SECONDS
) -> float:
    """Return the random wait in seconds after `failures` failures; `jitter` is a random number in [0, 1).

    The wait is between a tenth of its upper bound and the bound. The bound doubles with each failure, up to `longest`
    or the configured longest wait, whichever is shorter.
    """
    bound = min(settings.retry_max, settings.retry_first * 2.0 ** min(failures - 1, 60), longest)
    return bound * max(jitter, _SMALLEST_JITTER)


def after_failure(
    delivery: Delivery,
    settings: DestinationSettings,
    retries: RetryHistory,
    *,
    proven: bool,
    waits_with_endpoint: bool,
    requested_seconds: float = 0.0,
    trying_ms: int,
    jitter: float,
) -> RetryDecision:
    """Decide about a delivery that failed in a request of its own, possibly because of its event.

    `waits_with_endpoint`: the delivery is due when the endpoint is tried again. `proven`: the event is at fault, so the
    delivery has its own wait instead. This wait is at least as long as the peer requested (`requested_seconds`).
    """
    if should_give_up(delivery, settings, trying_ms):
        return RetryDecision(DeliveryState.DEAD, Decision.GIVE_UP, counts_against_event=True, proven=proven)
    if waits_with_endpoint and not proven:
        return RetryDecision(DeliveryState.PENDING, Decision.WAIT_FOR_ENDPOINT, counts_against_event=True)
    longest = LONGEST_WAIT_SECONDS if proven else LONGEST_OPEN_SECONDS
    if retries.suggests_random_failures:
        longest = _LONGEST_WAIT_IF_RANDOM_SECONDS
    wait = max(backoff(delivery.failures + 1, settings, jitter, longest), requested_seconds if proven else 0.0)
    return RetryDecision(DeliveryState.PENDING, Decision.RETRY_LATER, wait, counts_against_event=True, proven=proven)


def should_give_up(delivery: Delivery, settings: DestinationSettings, trying_ms: int) -> bool:
    """Return whether a delivery that has just failed again has been tried for too long.

    `trying_ms` is the destination's total time spent trying to deliver (see `TryingClock`). A delivery gets at least as
    many attempts as fit into an hour.
    """
    if delivery.tried_from_ms is None:
        return False
    age = (trying_ms - delivery.tried_from_ms) / 1000
    return age > settings.give_up_after and delivery.attempts + 1 >= least_attempts(settings)


def least_attempts(settings: DestinationSettings) -> int:
    """Return how many attempts fit into an hour, or into `give_up_after` if that is shorter."""
    left = min(_LEAST_TRYING_SECONDS, settings.give_up_after)
    attempts = 1
    while attempts < _MAX_ATTEMPTS and (wait := backoff(attempts, settings, 1.0)) <= left:
        left -= wait
        attempts += 1
    return attempts


def sequences_to_give_up(
    deliveries: Sequence[Delivery], settings: DestinationSettings, trying_ms: int
) -> frozenset[int]:
    """Return the sequence numbers of the deliveries that have been tried for too long."""
    return frozenset(it.event.sequence for it in deliveries if should_give_up(it, settings, trying_ms))
