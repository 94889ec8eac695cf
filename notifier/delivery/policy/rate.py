"""Learns from a receiver's answers how many requests a second it accepts. Pure."""

from math import inf

from msgspec import Struct
from msgspec.structs import replace

IDLE_SECONDS = 60.0
"""After this many seconds without a request, the measurement of the rate starts again."""

_SAFETY_FACTOR = 0.95
"""The share of the measured rate that is used after the receiver objected to the rate."""
_GROWTH_PER_SUCCESS = 0.01
"""The share by which the first success raises the rate; later successes raise it more, until the next objection."""
_LONGEST_WAIT_DECAY = 0.97
_SHORTEST_MEASUREMENT_SECONDS = 0.05
_UPDATE_EVERY_SECONDS = 1.0
"""The shortest time in seconds between updates of `next_at` while the rate is unlimited. Without a limit, `next_at`
only serves to notice a long pause, so a rough value is enough.
"""


class AdaptiveRate(Struct, frozen=True):
    """The rate that a receiver is known to accept; times are monotonic seconds."""

    per_second: float = inf
    accepted: int = 0
    """The number of requests that were accepted since `measured_since`."""
    measured_since: float = 0.0
    """The start of the measurement: the last objection to the rate, or the first request after a long pause."""
    lowered_at: float = -inf
    """When the rate was last lowered."""
    longest_wait_seconds: float = 0.0
    """The longest wait that followed a recent objection."""
    next_at: float = 0.0
    """When the next request may start."""


def after_start(rate: AdaptiveRate, now: float) -> AdaptiveRate:
    """Return the rate after a request has started; after a long pause, the measurement of the rate starts again."""
    if rate.per_second == inf and rate.next_at <= now < rate.next_at + _UPDATE_EVERY_SECONDS:
        return rate
    if now > rate.next_at + IDLE_SECONDS:
        rate = replace(rate, measured_since=now, accepted=0)
    return replace(rate, next_at=now + 1 / rate.per_second)


def after_success(rate: AdaptiveRate, most: float) -> AdaptiveRate:
    """Return the rate raised a little, up to `most` requests a second."""
    rise = 1 + _GROWTH_PER_SUCCESS * (1 + rate.accepted / 10)
    return replace(rate, per_second=min(most, rate.per_second * rise), accepted=rate.accepted + 1)


def after_throttling(rate: AdaptiveRate, *, started: float, until: float, now: float) -> AdaptiveRate:
    """Return the rate after the receiver objected to a request that began at `started`; the wait ends at `until`.

    The new rate is slightly lower than what the receiver accepted. The rate stays if it was already lowered during the
    request, or if the receiver accepted nothing, which probably means an outage.
    """
    wait = until - now
    longest = (
        max(_LONGEST_WAIT_DECAY * rate.longest_wait_seconds, wait, _SHORTEST_MEASUREMENT_SECONDS)
        if rate.accepted
        else rate.longest_wait_seconds
    )
    rate = replace(rate, longest_wait_seconds=max(longest, _SHORTEST_MEASUREMENT_SECONDS))
    if started < rate.lowered_at:
        return rate
    if not rate.accepted:
        return replace(rate, lowered_at=now, measured_since=until)
    # A measurement that began with an objection includes the wait after the objection. Any other measurement counts as
    # at least as long as the coming wait. Otherwise a short burst would look like a high rate.
    burst = rate.measured_since != rate.lowered_at
    seconds = max(now - rate.measured_since, wait if burst else 0.0, _SHORTEST_MEASUREMENT_SECONDS)
    # The time between two requests stays below twice the longest wait. Otherwise random refusals would stop everything.
    lower = min(rate.per_second, max(_SAFETY_FACTOR * rate.accepted / seconds, 0.5 / rate.longest_wait_seconds))
    return replace(rate, lowered_at=now, measured_since=now, accepted=0, per_second=lower)
