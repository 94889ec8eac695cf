"""Decides what an answer changes: the rate, the circuit breaker, the batch size, and the request's deliveries. Pure.

The failure scope says what caused a failed attempt: the request rate, the endpoint, or the event. The scope `UNKNOWN`
means either the endpoint or the event. A failure of the rate or the endpoint never counts against an event.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from math import inf, isfinite

from msgspec import Struct
from msgspec.structs import replace

from notifier.config import DestinationSettings
from notifier.delivery.policy import batching, circuit_breaker, probe, rate, retry
from notifier.delivery.policy.batching import MAX_IN_A_DIGEST, BatchSize
from notifier.delivery.policy.circuit_breaker import LONG_OUTAGE_ROUNDS, Breaker, BreakerMode, WaitLimits
from notifier.delivery.policy.rate import AdaptiveRate
from notifier.delivery.policy.retry import Decision, RetryDecision, RetryHistory
from notifier.destinations.base import Grouping
from notifier.destinations.outcome import LONGEST_WAIT_SECONDS, AttemptResult, FailureScope, Outcome, failure_scope
from notifier.events import EventType
from notifier.store.tables.destinations import LearnedLimits
from notifier.store.tables.outbox import Delivery, DeliveryState


class RequestKind(StrEnum):
    """Why a request is made."""

    NORMAL = "normal"
    HALF = "half"
    """Half of a refused group."""
    PROBE = "probe"
    ARRIVAL = "arrival"
    """A new event that is tried during the endpoint's wait."""
    TRIAL = "trial"
    """A request with more events than the receiver is known to accept."""


class Attempt(Struct, frozen=True):
    """A request: its deliveries, its start (monotonic seconds), and why it is made."""

    deliveries: tuple[Delivery, ...]
    started: float
    kind: RequestKind = RequestKind.NORMAL
    first_failed_at: float | None = None
    """When the delivery had its first failure that counts against the event (monotonic seconds). None if there was no
    such failure, or if the request has several deliveries.
    """


class Bounds(Struct, frozen=True):
    """The limits that the configuration sets; learned limits never exceed them."""

    settings: DestinationSettings
    grouping: Grouping

    @property
    def rate(self) -> float:
        """The maximum number of requests a second."""
        return self.settings.rate or inf

    @property
    def size(self) -> int:
        """The maximum number of events in one request."""
        return MAX_IN_A_DIGEST if self.sends_digests else self.grouping.size

    @property
    def sends_digests(self) -> bool:
        """Whether many events can be sent as one message for people (a digest)."""
        return self.grouping.digest_above is not None

    @property
    def in_order(self) -> bool:
        """Whether all events are sent strictly in order."""
        return self.settings.concurrency == 1

    @property
    def wait_limits(self) -> WaitLimits:
        """The limits of the waits before the endpoint is tried again; they never exceed the configured retry waits."""
        return WaitLimits(
            min(WaitLimits().first_seconds, self.settings.retry_first),
            min(WaitLimits().longest_seconds, self.settings.retry_max),
            self.in_order,
        )


class ReceiverState(Struct, frozen=True):
    """Everything that is known about a receiver."""

    rate: AdaptiveRate = AdaptiveRate()
    breaker: Breaker = Breaker()
    size: BatchSize = BatchSize()
    retries: RetryHistory = RetryHistory()
    concurrency: int = 1
    """How many requests may be under way while the breaker is closed. It starts at 1 and grows by 1 with each success,
    up to the configured number.
    """

    @property
    def request_limit(self) -> int:
        """How many requests may be under way now: `concurrency` while the breaker is closed, otherwise 1."""
        return self.concurrency if self.breaker.mode is BreakerMode.CLOSED else 1


class AttemptDecisions(Struct, frozen=True):
    """What follows from an attempt: the receiver's new state, and one decision per delivery, in order."""

    state: ReceiverState
    decisions: tuple[RetryDecision, ...]
    split_in_half: bool = False
    """The deliveries are split in half, and the halves are sent first."""
    merge_halves: bool = False
    """All halves of earlier groups are merged again, because an outage caused the splits."""


_ATTEMPTS_BEFORE_DIVIDING = 40
"""A digest may be divided after this many attempts, that is, after one or two hours."""

_DELIVERED = RetryDecision(DeliveryState.DELIVERED, Decision.DELIVERED)
_WAIT = RetryDecision(DeliveryState.PENDING, Decision.WAIT_FOR_ENDPOINT)
_SPLIT = RetryDecision(DeliveryState.PENDING, Decision.SPLIT)
_HOLD = RetryDecision(DeliveryState.PENDING, Decision.HOLD)
_GIVE_UP = RetryDecision(DeliveryState.DEAD, Decision.GIVE_UP)


def after_attempt(
    state: ReceiverState,
    attempt: Attempt,
    outcome: Outcome,
    bounds: Bounds,
    *,
    trying_ms: int,
    now: float,
    jitter: Callable[[], float],
) -> AttemptDecisions:
    """Decide what follows from the outcome of an attempt.

    `trying_ms` is the destination's total time spent trying to deliver (see `TryingClock`). `jitter` returns random
    numbers from 0 to 1.
    """
    count = len(attempt.deliveries)
    first = attempt.deliveries[0]
    scope = _scope_in_context(state, attempt, outcome)
    if attempt.kind is RequestKind.TRIAL:
        state = replace(state, size=replace(state.size, is_trial_under_way=False))
    if count == 1 and first.failures and scope not in {FailureScope.PACE, FailureScope.ENDPOINT}:
        state = replace(state, retries=state.retries.with_result(has_succeeded=scope is FailureScope.NONE))
    if scope is FailureScope.NONE:
        return _after_success(state, attempt, bounds, now)
    if scope is FailureScope.PERMANENT:
        return AttemptDecisions(state, (_HOLD,) * count)
    if outcome.reason is AttemptResult.PARTLY_TAKEN:
        return _after_partial_delivery(state, attempt, bounds, trying_ms, now, jitter)
    is_digest = attempt.kind is not RequestKind.HALF and must_stay_whole(attempt.deliveries, bounds)
    is_kept_whole = scope is FailureScope.UNKNOWN and is_digest
    if is_kept_whole or scope in {FailureScope.PACE, FailureScope.ENDPOINT}:
        return _after_rate_or_endpoint_failure(state, attempt, outcome, bounds, trying_ms, now, jitter)
    if outcome.is_too_large and count > 1:
        is_trial = attempt.kind is RequestKind.TRIAL
        state = replace(state, size=batching.after_too_large(state.size, count, bounds.size, is_trial=is_trial))
    others_have_succeeded = attempt.first_failed_at is not None and attempt.first_failed_at < state.breaker.last_success
    proven = first.proven or others_have_succeeded or outcome.reason is AttemptResult.UNSENDABLE
    state = _without_mistaken_rate(state, first, outcome, proven=proven)
    if not (outcome.is_too_large and scope is FailureScope.EVENT and count > 1):
        state = _count_failure(
            state,
            attempt,
            scope,
            bounds,
            may_be_endpoint=_may_be_endpoint_failure(attempt, proven=proven),
            retry_after=None if proven else outcome.retry_after,
            now=now,
            jitter=jitter,
        )
    if count > 1:
        split = replace(_SPLIT, counts_against_event=outcome.scope is FailureScope.PACE)
        return AttemptDecisions(state, (split,) * count, split_in_half=True)
    is_open_or_in_order = state.breaker.mode is BreakerMode.OPEN or bounds.in_order
    decision = retry.after_failure(
        first,
        bounds.settings,
        state.retries,
        proven=proven,
        waits_with_endpoint=is_open_or_in_order and scope is FailureScope.UNKNOWN,
        requested_seconds=outcome.retry_after or 0.0,
        trying_ms=trying_ms,
        jitter=jitter(),
    )
    return AttemptDecisions(state, (decision,))


def _scope_in_context(state: ReceiverState, attempt: Attempt, outcome: Outcome) -> FailureScope:
    """Return the failure scope of an outcome, considering what happened before.

    A 503, or a failure with `Retry-After`, usually objects to the rate. Some servers also answer like this if one event
    makes them fail. So the scope is `UNKNOWN` if waiting has not helped, or if the event was at fault before.
    """
    if outcome.scope is not FailureScope.PACE or failure_scope(outcome.reason) is FailureScope.PACE:
        return outcome.scope
    first = attempt.deliveries[0]
    is_doubtful = first.proven or state.breaker.doubts_pace(is_suspect=first.failures > 0)
    return FailureScope.UNKNOWN if is_doubtful else FailureScope.PACE


def _without_mistaken_rate(state: ReceiverState, first: Delivery, outcome: Outcome, *, proven: bool) -> ReceiverState:
    """Return the state, without the learned rate if an event caused the refusals that the rate was learned from."""
    is_mistaken = proven and not first.proven and outcome.scope is FailureScope.PACE
    return replace(state, rate=AdaptiveRate()) if is_mistaken else state


def must_stay_whole(deliveries: Sequence[Delivery], bounds: Bounds) -> bool:
    """Return whether `deliveries` belong to a digest that is not divided when it is refused.

    People expect one digest, and its contents are unlikely to be the cause. After _ATTEMPTS_BEFORE_DIVIDING attempts,
    it is divided after all.
    """
    if not deliveries or not bounds.sends_digests:
        return False
    return deliveries[0].slot_ms is not None and deliveries[0].attempts < _ATTEMPTS_BEFORE_DIVIDING


def learned_limits(state: ReceiverState, bounds: Bounds) -> LearnedLimits:
    """Return the receiver's learned limits. The rate is None if it is not lower than the configured rate."""
    pace = min(bounds.rate, state.rate.per_second)
    slowed = isfinite(pace) and pace < bounds.rate
    return LearnedLimits(float(f"{pace:.2g}") if slowed else None, state.size.limit)


def without_wait(state: ReceiverState, bounds: Bounds) -> ReceiverState:
    """Return the state without the endpoint's wait, even if the receiver requested it; learned limits are kept."""
    breaker = state.breaker
    if breaker.mode is BreakerMode.CLOSED:
        return state
    left = circuit_breaker.probe_count(0, bounds.wait_limits)
    return replace(state, breaker=replace(breaker, wait_until=0.0, is_wait_requested=False, rounds=0, probes_left=left))


def after_sample(state: ReceiverState, now: float) -> ReceiverState:
    """Return the state after a sample event was delivered: the breaker is closed."""
    return replace(state, breaker=Breaker(last_success=now), concurrency=1)


def _after_success(state: ReceiverState, attempt: Attempt, bounds: Bounds, now: float) -> AttemptDecisions:
    long_outage = state.breaker.rounds >= LONG_OUTAGE_ROUNDS and state.breaker.mode is not BreakerMode.CLOSED
    breaker = circuit_breaker.after_success(state.breaker, now)
    outage_is_over = long_outage and breaker.mode is BreakerMode.CLOSED
    size = batching.after_success(
        state.size,
        len(attempt.deliveries),
        bounds.size,
        is_half=attempt.kind is RequestKind.HALF,
        is_trial=attempt.kind is RequestKind.TRIAL,
    )
    after = replace(
        state,
        rate=rate.after_success(state.rate, bounds.rate),
        breaker=breaker,
        size=replace(size, proposed_limit=0) if outage_is_over else size,
        concurrency=min(bounds.settings.concurrency, state.concurrency + 1),
    )
    return AttemptDecisions(after, (_DELIVERED,) * len(attempt.deliveries), merge_halves=outage_is_over)


def _after_partial_delivery(
    state: ReceiverState, attempt: Attempt, bounds: Bounds, trying_ms: int, now: float, jitter: Callable[[], float]
) -> AttemptDecisions:
    """Decide about a request that only some of the destination's receivers accepted.

    Its deliveries are retried later, together. Those that have been tried for too long are given up instead.
    """
    state = replace(state, breaker=circuit_breaker.after_success(state.breaker, now))
    overdue = retry.sequences_to_give_up(attempt.deliveries, bounds.settings, trying_ms)
    failures = max(it.failures for it in attempt.deliveries)
    later = RetryDecision(
        DeliveryState.PENDING,
        Decision.RETRY_LATER,
        retry.backoff(failures + 1, bounds.settings, jitter()),
        counts_against_event=True,
    )
    return AttemptDecisions(
        state, tuple(_GIVE_UP if it.event.sequence in overdue else later for it in attempt.deliveries)
    )


def _after_rate_or_endpoint_failure(
    state: ReceiverState,
    attempt: Attempt,
    outcome: Outcome,
    bounds: Bounds,
    trying_ms: int,
    now: float,
    jitter: Callable[[], float],
) -> AttemptDecisions:
    """Decide about a failure that no event has caused: the same deliveries are sent again.

    After a failure of the endpoint, those deliveries that have been tried for too long are given up instead.
    """
    if outcome.scope is not FailureScope.PACE:
        state = _count_failure(
            state, attempt, FailureScope.ENDPOINT, bounds, may_be_endpoint=True, now=now, jitter=jitter
        )
        overdue = retry.sequences_to_give_up(attempt.deliveries, bounds.settings, trying_ms)
        return AttemptDecisions(
            state, tuple(_GIVE_UP if it.event.sequence in overdue else _WAIT for it in attempt.deliveries)
        )
    breaker = circuit_breaker.after_throttling(
        state.breaker,
        started=attempt.started,
        retry_after=None if outcome.retry_after is None else min(outcome.retry_after, LONGEST_WAIT_SECONDS),
        now=now,
        limits=bounds.wait_limits,
        jitter=jitter(),
    )
    slower = rate.after_throttling(state.rate, started=attempt.started, until=breaker.wait_until, now=now)
    return AttemptDecisions(replace(state, breaker=breaker, rate=slower), (_WAIT,) * len(attempt.deliveries))


def _count_failure(
    state: ReceiverState,
    attempt: Attempt,
    scope: FailureScope,
    bounds: Bounds,
    *,
    may_be_endpoint: bool,
    retry_after: float | None = None,
    now: float,
    jitter: Callable[[], float],
) -> ReceiverState:
    breaker = circuit_breaker.after_failure(
        state.breaker,
        scope,
        started=attempt.started,
        may_be_endpoint=may_be_endpoint,
        is_arrival=attempt.kind is RequestKind.ARRIVAL,
        opens_at_once=_has_only_alerts(attempt),
        trainings_and_records=probe.trainings_and_records(attempt.deliveries),
        now=now,
        limits=bounds.wait_limits,
        jitter=jitter(),
    )
    if retry_after is not None:
        breaker = circuit_breaker.after_requested_wait(breaker, seconds=retry_after, now=now)
    opened = breaker.mode is BreakerMode.OPEN and state.breaker.mode is not BreakerMode.OPEN
    return replace(state, breaker=breaker, concurrency=1 if opened else state.concurrency)


def _has_only_alerts(attempt: Attempt) -> bool:
    """Return whether a request carries only alerts.

    Alerts are rare, and may be the only events of a receiver. So a single failure must count as an outage.
    """
    return all(it.event.type == EventType.ALERT for it in attempt.deliveries)


def _may_be_endpoint_failure(attempt: Attempt, *, proven: bool) -> bool:
    """Return whether the endpoint may have caused the failure of an attempt.

    For a request with several events, the result is False if they are half of a refused group. For a request with one
    event, it is False if the event is `proven` to be at fault.
    """
    if len(attempt.deliveries) > 1:
        return attempt.kind is not RequestKind.HALF
    return not proven
