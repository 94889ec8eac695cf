"""Decides whether an endpoint accepts anything, and when to try again if it does not. Pure.

The breaker counts consecutive failures; any success resets the count. A failure that says nothing new about the
endpoint is not counted. While the breaker is open, each failed round of probes makes the wait longer, whichever events
were tried.
"""

from collections.abc import Hashable
from enum import StrEnum
from math import inf

from msgspec import Struct
from msgspec.structs import replace

from notifier.destinations.outcome import FailureScope

FAILURES_TO_OPEN = 5
"""After this many consecutive failures that the endpoint may have caused, it counts as unreachable."""

LONGEST_OPEN_SECONDS = 300.0
"""The longest wait between two rounds of probes. A receiver that works again is noticed within this time; the probes
cost about 400 requests a day.
"""

LONG_OUTAGE_ROUNDS = 3
"""After this many failed rounds, groups are assumed to have been split because of the outage, not a bad event."""

_FIRST_SECONDS = 1.0
_GROWTH = 1.5
_DOUBLINGS = 6
"""The first six rounds have 1, 2, 4, ... 32 probes, 63 in all; every later round has one. With strict order, the
numbers differ (see `probes`).
"""
_ROUNDS_BEFORE_LONGER_WAITS = 3
_LONGEST_UNCONFIRMED_WAIT_SECONDS = 21_600.0
"""The longest requested wait in seconds that is obeyed at once; a longer one must be requested twice in a row."""
_LEAST_JITTER = 0.5


class Mode(StrEnum):
    """How much the breaker lets through."""

    CLOSED = "closed"
    PACED = "paced"
    """The receiver has asked for a pause; otherwise it works."""
    OPEN = "open"
    """Nothing gets through; only probes are sent."""


class WaitLimits(Struct, frozen=True):
    """The first and the longest wait for an endpoint, in seconds, and whether events are sent strictly in order."""

    first_seconds: float = _FIRST_SECONDS
    longest_seconds: float = LONGEST_OPEN_SECONDS
    in_order: bool = False


class Breaker(Struct, frozen=True):
    """The state of an endpoint's circuit breaker; times are monotonic seconds.

    `scope` is the scope of the failure that opened it. Nothing is sent before `until`, except one new event per wait
    (`arrival_probed`: this has been sent). If the peer `asked` for the wait, that event waits, too. `tried` holds the
    trainings and records of recently failed events.
    """

    mode: Mode = Mode.CLOSED
    scope: FailureScope = FailureScope.NONE
    wait_until: float = 0.0
    is_wait_requested: bool = False
    rounds: int = 0
    probes_left: int = 0
    wait_started: float = -inf
    has_probed_arrival: bool = False
    consecutive_failures: int = 0
    last_success: float = -inf
    recently_failed: frozenset[Hashable] = frozenset()

    @property
    def probes_single_events(self) -> bool:
        """Whether probes are single events, chosen to find out whether the events or the endpoint are at fault."""
        return self.mode is Mode.OPEN and self.scope is not FailureScope.ENDPOINT


def after_success(breaker: Breaker, now: float) -> Breaker:
    """Return the breaker after a success: closed, or still waiting if the peer asked for a longer wait."""
    if breaker.is_wait_requested and now < breaker.wait_until:
        return replace(breaker, consecutive_failures=0, last_success=now, recently_failed=frozenset())
    return Breaker(last_success=now)


def after_throttling(
    breaker: Breaker, *, started: float, retry_after: float | None, now: float, limits: WaitLimits, jitter: float
) -> Breaker:
    """Return the breaker with the wait that the peer asked for, or a default one.

    If a peer keeps asking for short waits, longer ones are used.
    """
    was_paced = breaker.mode is Mode.PACED
    rounds = breaker.rounds + (started >= breaker.wait_started) if was_paced else 0
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
        mode=Mode.PACED,
        scope=FailureScope.PACE,
        wait_until=max(breaker.wait_until, now + wait),
        is_wait_requested=retry_after is not None or (breaker.is_wait_requested and now < breaker.wait_until),
        rounds=rounds,
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
    """Return the breaker after a failure: count it, open the breaker if nothing gets through, end a round of probes.

    `news`: the failure may be the endpoint's, so it counts. `decides`: a single such failure opens the breaker.
    `arrival`: the request tried a new event during a wait. `about` holds the trainings and records in the request.
    """
    breaker = replace(
        breaker,
        consecutive_failures=breaker.consecutive_failures + may_be_endpoint,
        recently_failed=breaker.recently_failed | trainings_and_records,
    )
    if breaker.mode is Mode.OPEN:
        if is_arrival or started < breaker.wait_started or now < breaker.wait_until:
            return breaker
        if breaker.probes_left > 1:
            return replace(breaker, probes_left=breaker.probes_left - 1, scope=scope)
        return _open(breaker, scope, breaker.rounds + 1, now, limits, jitter)
    one_is_enough = may_be_endpoint and (opens_at_once or (limits.in_order and scope is not FailureScope.EVENT))
    if breaker.consecutive_failures >= (1 if one_is_enough else FAILURES_TO_OPEN):
        return _open(breaker, scope, 0, now, limits, jitter)
    if breaker.mode is Mode.PACED and now >= breaker.wait_until:
        return replace(breaker, mode=Mode.CLOSED, wait_until=0.0, is_wait_requested=False)
    return breaker


def probe_count(rounds: int, limits: WaitLimits) -> int:
    """Return the number of probes in a round."""
    if limits.in_order and rounds < 2:  # noqa: PLR2004 - the earliest event alone, twice
        return 1
    return 2**rounds if rounds < _DOUBLINGS else 1 + limits.in_order


def _open(breaker: Breaker, scope: FailureScope, rounds: int, now: float, limits: WaitLimits, jitter: float) -> Breaker:
    return replace(
        breaker,
        mode=Mode.OPEN,
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
