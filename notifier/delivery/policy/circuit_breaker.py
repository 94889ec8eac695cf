"""Decides whether an endpoint accepts anything, and when to try again if it does not. Pure.

Several failures in a row open the breaker, if the endpoint may have caused them. While it is open, only probes are
sent, in rounds. The wait grows with each failed round.
"""

from collections.abc import Hashable
from enum import StrEnum
from math import inf

from msgspec import Struct
from msgspec.structs import replace

from notifier.destinations.outcome import FailureScope

FAILURES_TO_OPEN = 5
"""After this many consecutive failures that the endpoint may have caused, the endpoint counts as unreachable."""

LONGEST_OPEN_SECONDS = 300.0
"""The longest wait between two rounds of probes. It limits how late a recovered receiver is noticed. The probes cost
about 400 requests a day.
"""

DOUBTFUL_OBJECTIONS = 10
"""After this many objections to the rate without a success in between, the cause is probably not the rate."""

_DOUBTFUL_OBJECTIONS_TO_SUSPECT = 3
"""Used instead of DOUBTFUL_OBJECTIONS for a request whose first event has failed before. The number is lower, so that
a bad event is found soon. A receiver that really limits the rate usually accepts the request after fewer objections.
"""

LONG_OUTAGE_ROUNDS = 3
"""After this many failed rounds, it is assumed that the outage, and not a bad event, caused the splits of groups."""

_FIRST_SECONDS = 1.0
_GROWTH = 1.5
_DOUBLING_ROUNDS = 6
"""The number of rounds in which the number of probes doubles: 1, 2, 4, ... 32, which is 63 in all. Every later round
has one probe. With strict order, the numbers differ (see `probe_count`).
"""
_ROUNDS_BEFORE_LONGER_WAITS = 3
_LONGEST_UNCONFIRMED_WAIT_SECONDS = 21_600.0
"""The longest requested wait that applies at once; a longer wait must be requested twice in a row."""
_LEAST_JITTER = 0.5


class BreakerMode(StrEnum):
    """What a circuit breaker lets through."""

    CLOSED = "closed"
    PACED = "paced"
    """Nothing during the pause that the receiver asked for; everything after the pause."""
    OPEN = "open"
    """Only probes, because nothing gets through."""


class WaitLimits(Struct, frozen=True):
    """The first and the longest wait before an endpoint is tried again.

    `in_order`: events are sent strictly in order, which changes the number of probes.
    """

    first_seconds: float = _FIRST_SECONDS
    longest_seconds: float = LONGEST_OPEN_SECONDS
    in_order: bool = False


class Breaker(Struct, frozen=True):
    """The state of an endpoint's circuit breaker; times are monotonic seconds.

    Nothing is sent between `wait_started` and `wait_until`, with one exception: in the mode `OPEN`, one new event may
    be sent as a probe, unless the peer requested the wait.
    """

    mode: BreakerMode = BreakerMode.CLOSED
    scope: FailureScope = FailureScope.NONE
    """The scope of the failure that opened the breaker, or of the latest failed probe."""
    wait_until: float = 0.0
    is_wait_requested: bool = False
    rounds: int = 0
    """The number of failed rounds of probes (in the mode `OPEN`) or of repeated objections to the rate (in `PACED`)."""
    probes_left: int = 0
    """The remaining probes of the present or next round."""
    wait_started: float = -inf
    has_probed_arrival: bool = False
    """Whether a new event was sent as a probe during the wait."""
    consecutive_failures: int = 0
    last_success: float = -inf
    recently_failed: frozenset[Hashable] = frozenset()
    """The trainings and records of the events that failed since the last success."""

    @property
    def probes_single_events(self) -> bool:
        """Whether a probe is a single event. Single events show if the endpoint is at fault, or only some events."""
        return self.mode is BreakerMode.OPEN and self.scope is not FailureScope.ENDPOINT

    def doubts_pace(self, *, is_suspect: bool = False) -> bool:
        """Return whether nothing gets through any more, although the request rate was lowered again and again.

        `is_suspect`: the first event of the request has failed before.
        """
        most = _DOUBTFUL_OBJECTIONS_TO_SUSPECT if is_suspect else DOUBTFUL_OBJECTIONS
        return self.mode is BreakerMode.OPEN or (self.mode is BreakerMode.PACED and self.rounds >= most)


def after_success(breaker: Breaker, now: float) -> Breaker:
    """Return the breaker after a success: closed, unless the peer requested a wait that has not ended yet."""
    if breaker.is_wait_requested and now < breaker.wait_until:
        return replace(breaker, consecutive_failures=0, last_success=now, recently_failed=frozenset())
    return Breaker(last_success=now)


def after_throttling(
    breaker: Breaker, *, started: float, retry_after: float | None, now: float, limits: WaitLimits, jitter: float
) -> Breaker:
    """Return the breaker after the peer objected to the request rate: it waits as requested, or for a default time.

    After several objections in a row, the wait is at least the default one, even if the peer requests less.
    """
    # The rounds of an outage count on if the peer does not say how long to wait. Otherwise, a peer with two kinds of
    # failures by turns would be tried every second.
    counts_on = breaker.mode is BreakerMode.PACED or (breaker.mode is BreakerMode.OPEN and retry_after is None)
    rounds = breaker.rounds + (started >= breaker.wait_started) if counts_on else 0
    default_wait = _wait_seconds(rounds, limits, jitter)
    if retry_after is not None and retry_after > _LONGEST_UNCONFIRMED_WAIT_SECONDS and rounds == 0:
        retry_after = None
    wait = (
        default_wait
        if retry_after is None
        else max(retry_after, default_wait if rounds > _ROUNDS_BEFORE_LONGER_WAITS else 0.0)
    )
    return replace(
        breaker,
        mode=BreakerMode.PACED,
        scope=FailureScope.PACE,
        wait_until=max(breaker.wait_until, now + wait),
        is_wait_requested=retry_after is not None or (breaker.is_wait_requested and now < breaker.wait_until),
        rounds=rounds,
        wait_started=now,
    )


def after_requested_wait(breaker: Breaker, *, seconds: float, now: float) -> Breaker:
    """Return the breaker after a failure that does not concern the rate, but with which the peer requested a wait.

    A very long wait ends early: if the peer still means it, it requests the wait again.
    """
    is_closed = breaker.mode is BreakerMode.CLOSED
    return replace(
        breaker,
        mode=BreakerMode.PACED if is_closed else breaker.mode,
        scope=FailureScope.PACE if is_closed else breaker.scope,
        wait_until=max(breaker.wait_until, now + min(seconds, _LONGEST_UNCONFIRMED_WAIT_SECONDS)),
        is_wait_requested=True,
        wait_started=now,
    )


def after_failure(
    breaker: Breaker,
    scope: FailureScope,
    *,
    started: float,
    may_be_endpoint: bool,
    is_arrival: bool,
    opens_at_once: bool,
    trainings_and_records: frozenset[Hashable],
    now: float,
    limits: WaitLimits,
    jitter: float,
) -> Breaker:
    """Return the breaker after a failure, which may open the breaker or end a round of probes.

    `may_be_endpoint`: the endpoint may have caused the failure, so the failure counts. `opens_at_once`: a single such
    failure opens the breaker. `is_arrival`: the request tried a new event during a wait. `trainings_and_records` are
    the trainings and records of the request's events.
    """
    breaker = replace(
        breaker,
        consecutive_failures=breaker.consecutive_failures + may_be_endpoint,
        recently_failed=breaker.recently_failed | trainings_and_records,
    )
    if breaker.mode is BreakerMode.OPEN:
        if is_arrival or started < breaker.wait_started or now < breaker.wait_until:
            return breaker
        if breaker.probes_left > 1:
            return replace(breaker, probes_left=breaker.probes_left - 1, scope=scope)
        return _open(breaker, scope, breaker.rounds + 1, now, limits, jitter)
    one_is_enough = may_be_endpoint and (
        opens_at_once or breaker.doubts_pace() or (limits.in_order and scope is not FailureScope.EVENT)
    )
    if breaker.consecutive_failures >= (1 if one_is_enough else FAILURES_TO_OPEN):
        was_outage = breaker.mode is BreakerMode.PACED and breaker.consecutive_failures >= FAILURES_TO_OPEN
        rounds = breaker.rounds if was_outage else 0
        return _open(breaker, scope, rounds, now, limits, jitter)
    if breaker.mode is BreakerMode.PACED and now >= breaker.wait_until:
        return replace(breaker, mode=BreakerMode.CLOSED, wait_until=0.0, is_wait_requested=False)
    return breaker


def probe_count(rounds: int, limits: WaitLimits) -> int:
    """Return the number of probes in the round that follows `rounds` failed rounds."""
    if limits.in_order and rounds < 2:  # noqa: PLR2004 - the earliest event alone, twice
        return 1
    return 2**rounds if rounds < _DOUBLING_ROUNDS else 1 + limits.in_order


def _open(breaker: Breaker, scope: FailureScope, rounds: int, now: float, limits: WaitLimits, jitter: float) -> Breaker:
    """Return the breaker in the mode `OPEN`, with a wait before the next round of probes."""
    return replace(
        breaker,
        mode=BreakerMode.OPEN,
        scope=scope,
        wait_until=max(
            now + _wait_seconds(rounds, limits, jitter), breaker.wait_until if breaker.is_wait_requested else 0.0
        ),
        is_wait_requested=breaker.is_wait_requested and now < breaker.wait_until,
        rounds=rounds,
        probes_left=1 if scope is FailureScope.ENDPOINT else probe_count(rounds, limits),
        wait_started=now,
        has_probed_arrival=False,
    )


def _wait_seconds(rounds: int, limits: WaitLimits, jitter: float) -> float:
    """Return the seconds to wait before a round of probes; at most half of the wait is random (`jitter`)."""
    bound = min(limits.longest_seconds, limits.first_seconds * _GROWTH ** min(rounds, 40))
    return bound * (_LEAST_JITTER + (1 - _LEAST_JITTER) * jitter)
