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
_TRUSTED_ROUNDS = 3
_BELIEVED_AT_ONCE_SECONDS = 21_600.0
"""The longest requested wait in seconds that is obeyed at once; a longer one must be requested twice in a row."""
_LEAST_JITTER = 0.5


class Mode(StrEnum):
    """How much the breaker lets through."""

    CLOSED = "closed"
    PACED = "paced"
    """The receiver has asked for a pause; otherwise it works."""
    OPEN = "open"
    """Nothing gets through; only probes are sent."""


class Waits(Struct, frozen=True):
    """The first and the longest wait for an endpoint, in seconds, and whether events are sent strictly in order."""

    first: float = _FIRST_SECONDS
    longest: float = LONGEST_OPEN_SECONDS
    in_order: bool = False


class Breaker(Struct, frozen=True):
    """The state of an endpoint's circuit breaker; times are monotonic seconds.

    `scope` is the scope of the failure that opened it. Nothing is sent before `until`, except one new event per wait
    (`arrival_probed`: this has been sent). If the peer `asked` for the wait, that event waits, too. `tried` holds the
    trainings and records of recently failed events.
    """

    mode: Mode = Mode.CLOSED
    scope: FailureScope = FailureScope.NONE
    until: float = 0.0
    asked: bool = False
    rounds: int = 0
    probes_left: int = 0
    since: float = -inf
    arrival_probed: bool = False
    failures_in_row: int = 0
    last_success: float = -inf
    tried: frozenset[Hashable] = frozenset()

    @property
    def probes_single_events(self) -> bool:
        """Whether probes are single events, chosen to find out whether the events or the endpoint are at fault."""
        return self.mode is Mode.OPEN and self.scope is not FailureScope.ENDPOINT


def after_success(breaker: Breaker, now: float) -> Breaker:
    """Return the breaker after a success: closed, or still waiting if the peer asked for a longer wait."""
    if breaker.asked and now < breaker.until:
        return replace(breaker, failures_in_row=0, last_success=now, tried=frozenset())
    return Breaker(last_success=now)


def after_pace(
    breaker: Breaker, *, started: float, retry_after: float | None, now: float, waits: Waits, jitter: float
) -> Breaker:
    """Return the breaker with the wait that the peer asked for, or a default one.

    If a peer keeps asking for short waits, longer ones are used.
    """
    paced = breaker.mode is Mode.PACED
    rounds = breaker.rounds + (started >= breaker.since) if paced else 0
    own = _pause(rounds, waits, jitter)
    if retry_after is not None and retry_after > _BELIEVED_AT_ONCE_SECONDS and rounds == 0:
        retry_after = None
    wait = own if retry_after is None else max(retry_after, own if rounds > _TRUSTED_ROUNDS else 0.0)
    return replace(
        breaker,
        mode=Mode.PACED,
        scope=FailureScope.PACE,
        until=max(breaker.until, now + wait),
        asked=retry_after is not None or (breaker.asked and now < breaker.until),
        rounds=rounds,
        since=now,
    )


def after_failure(
    breaker: Breaker,
    scope: FailureScope,
    *,
    started: float,
    news: bool,
    arrival: bool,
    decides: bool,
    about: frozenset[Hashable],
    now: float,
    waits: Waits,
    jitter: float,
) -> Breaker:
    """Return the breaker after a failure: count it, open the breaker if nothing gets through, end a round of probes.

    `news`: the failure may be the endpoint's, so it counts. `decides`: a single such failure opens the breaker.
    `arrival`: the request tried a new event during a wait. `about` holds the trainings and records in the request.
    """
    breaker = replace(breaker, failures_in_row=breaker.failures_in_row + news, tried=breaker.tried | about)
    if breaker.mode is Mode.OPEN:
        if arrival or started < breaker.since or now < breaker.until:
            return breaker
        if breaker.probes_left > 1:
            return replace(breaker, probes_left=breaker.probes_left - 1, scope=scope)
        return _opened(breaker, scope, breaker.rounds + 1, now, waits, jitter)
    strict = news and (decides or (waits.in_order and scope is not FailureScope.EVENT))
    if breaker.failures_in_row >= (1 if strict else FAILURES_TO_OPEN):
        return _opened(breaker, scope, 0, now, waits, jitter)
    if breaker.mode is Mode.PACED and now >= breaker.until:
        return replace(breaker, mode=Mode.CLOSED, until=0.0, asked=False)
    return breaker


def probes(rounds: int, waits: Waits) -> int:
    """Return the number of probes in a round."""
    if waits.in_order and rounds < 2:  # noqa: PLR2004 - the earliest event alone, twice
        return 1
    return 2**rounds if rounds < _DOUBLINGS else 1 + waits.in_order


def _opened(breaker: Breaker, scope: FailureScope, rounds: int, now: float, waits: Waits, jitter: float) -> Breaker:
    return replace(
        breaker,
        mode=Mode.OPEN,
        scope=scope,
        until=max(now + _pause(rounds, waits, jitter), breaker.until if breaker.asked else 0.0),
        asked=breaker.asked and now < breaker.until,
        rounds=rounds,
        probes_left=1 if scope is FailureScope.ENDPOINT else probes(rounds, waits),
        since=now,
        arrival_probed=False,
    )


def _pause(rounds: int, waits: Waits, jitter: float) -> float:
    """Return the seconds to wait before a round of probes; at most half of the wait is random (`jitter`)."""
    bound = min(waits.longest, waits.first * _GROWTH ** min(rounds, 40))
    return bound * (_LEAST_JITTER + (1 - _LEAST_JITTER) * jitter)
