"""Chooses the deliveries of one destination's next request.

A request carries half of a refused group, the first deliveries of the queue, or a single event. A single event is a
probe, or a new event that is tried during a wait. The worker sends the request and handles the outcome.
"""

from collections.abc import Sequence
from math import isfinite

from msgspec import Struct
from msgspec.structs import replace

from notifier.clock import Clock
from notifier.delivery.policy import decisions, probe
from notifier.delivery.policy.batching import MAX_IN_A_DIGEST, next_batch
from notifier.delivery.policy.circuit_breaker import BreakerMode, probe_count
from notifier.delivery.policy.decisions import Bounds, ReceiverState, RequestKind
from notifier.delivery.queue_reader import QueueReader
from notifier.delivery.ready_queue import ReadyQueue, sequence_of
from notifier.store.tables.outbox import Delivery
from notifier.token_bucket import TokenBucket

_MILLISECONDS = 1000
_LONGEST_LEARNED_WAIT_SECONDS = 10.0


class Choice(Struct, frozen=True):
    """The next request. If `deliveries` is empty, no request can be sent now.

    `wait_seconds` is the time after which to choose again; None means that waiting alone does not help.
    """

    state: ReceiverState
    deliveries: Sequence[Delivery]
    kind: RequestKind = RequestKind.NORMAL
    wait_seconds: float | None = None


class RequestChooser:
    """Chooses the requests of one destination, and removes the chosen deliveries from the queue.

    `may_have_new_events`: the store may hold events that were detected after the destination's retry wait began. The
    newest of them may be tried before the wait ends.
    """

    def __init__(
        self, bounds: Bounds, queue: ReadyQueue, reader: QueueReader, bucket: TokenBucket, clock: Clock
    ) -> None:
        """Initialise with the configured limits, the queue and its reader, and the bucket that limits the rate."""
        self.may_have_new_events = False
        self._bounds = bounds
        self._queue = queue
        self._reader = reader
        self._bucket = bucket
        self._clock = clock

    def probes_whole_queue(self, state: ReceiverState) -> bool:
        """Return whether probes are chosen from all due deliveries; if so, the first deliveries need not be read."""
        return state.breaker.probes_single_events and not self._bounds.in_order

    def choose(self, state: ReceiverState, now: float, *, is_idle: bool) -> Choice:
        """Choose the request to send at `now` (monotonic seconds); `is_idle`: no request is under way."""
        breaker = state.breaker
        if now < breaker.wait_until:
            return self._choose_arrival(state, now, is_idle=is_idle)
        if wait := self._rate_wait_seconds(state, now):
            return Choice(state, [], wait_seconds=wait)
        if breaker.probes_single_events:
            return self._choose_probe(state)
        if self._queue.halves:
            size = state.size.effective_limit(self._bounds.size)
            if half := self._queue.take_half(size, in_order=self._bounds.in_order):
                return Choice(state, half, RequestKind.HALF)
        return self._choose_from_front(state, self._queue.ready)

    def sample_wait_seconds(self, state: ReceiverState, now: float) -> float:
        """Return how many seconds a sample must wait at `now` (monotonic seconds) because of the request rate.

        A learned rate may require an hour. A sample waits less, so that an operator can soon test whether the rate
        still applies.
        """
        longest = max(_LONGEST_LEARNED_WAIT_SECONDS, 1 / self._bounds.rate)
        return min(self._rate_wait_seconds(state, now), longest)

    def _choose_from_front(
        self, state: ReceiverState, ready: Sequence[Delivery], kind: RequestKind = RequestKind.NORMAL
    ) -> Choice:
        """Choose the first deliveries of `ready`, as many as may share a request."""
        if not ready:
            return Choice(state, [])
        if self._is_incomplete_digest(ready):
            self._reader.read_due()
            return Choice(state, [])
        grouping = self._bounds.grouping
        batch = next_batch(
            ready,
            grouping,
            state.size,
            busy=self._queue.blocked_records(),
            rate=min(self._bounds.rate, state.rate.per_second),
            now_ms=self._clock.now_ms() if grouping.wait_seconds else 0,
            in_order=self._bounds.in_order,
            has_slots=self._reader.gate is not None,
        )
        if not batch.deliveries:
            return Choice(state, [], wait_seconds=batch.wait_seconds or None)
        self._queue.take(batch.deliveries)
        if not batch.is_trial:
            return Choice(state, batch.deliveries, kind)
        return Choice(
            replace(state, size=replace(state.size, is_trial_under_way=True, full_successes=0)),
            batch.deliveries,
            RequestKind.TRIAL,
        )

    def _choose_probe(self, state: ReceiverState) -> Choice:
        """Choose one event whose answer helps to tell whether the endpoint or the failed events are at fault.

        If the event belongs to a digest that must stay whole, the digest is chosen instead.
        """
        breaker = state.breaker
        if self._bounds.in_order:
            chosen = probe.choose_in_order(
                self._queue.waiting(),
                self._queue.busy,
                round_number=breaker.rounds,
                first_of_round=breaker.probes_left == probe_count(breaker.rounds, self._bounds.wait_limits),
            )
            if chosen in self._queue.ready and decisions.must_stay_whole([chosen], self._bounds):
                ready = self._queue.ready
                return self._choose_from_front(state, ready[ready.index(chosen) :], RequestKind.PROBE)
        elif self._reader.candidates is None:
            self._reader.read_candidates()
            chosen = None
        else:
            chosen = probe.choose(self._reader.candidates, self._queue.busy, breaker.recently_failed)
            self._reader.candidates = None if chosen else ()
        return Choice(state, [] if chosen is None else [self._queue.take_probe(chosen)], RequestKind.PROBE)

    def _is_incomplete_digest(self, ready: Sequence[Delivery]) -> bool:
        """Return whether the next request is a digest, and the store may hold more deliveries for it."""
        is_digest = self._bounds.sends_digests and ready[0].slot_ms is not None
        return is_digest and (self._reader.may_have_more or self._reader.is_reading) and len(ready) < MAX_IN_A_DIGEST

    def _choose_arrival(self, state: ReceiverState, now: float, *, is_idle: bool) -> Choice:
        """Choose a new event to try during a wait, in case the endpoint works again; at most one per wait."""
        breaker = state.breaker
        nothing = Choice(state, [], wait_seconds=breaker.wait_until - now)
        if (
            breaker.mode is not BreakerMode.OPEN
            or breaker.is_wait_requested
            or breaker.has_probed_arrival
            or self._bounds.in_order
        ):
            return nothing
        if not self.may_have_new_events or not is_idle or self._rate_wait_seconds(state, now):
            return nothing
        if self._reader.candidates is None:
            self._reader.read_candidates()
            return nothing
        self.may_have_new_events = False
        since_ms = self._clock.now_ms() - round((now - breaker.wait_started) * _MILLISECONDS)
        newest = max(self._reader.candidates, default=None, key=sequence_of)
        if newest is None or newest.attempts or newest.slot_ms or newest.event.time_ms <= since_ms:
            return nothing
        if newest.event.record in self._queue.busy:
            return nothing
        self._reader.candidates = None
        probed = replace(state, breaker=replace(breaker, has_probed_arrival=True))
        return Choice(probed, [self._queue.take_probe(newest)], RequestKind.ARRIVAL, nothing.wait_seconds)

    def _rate_wait_seconds(self, state: ReceiverState, now: float) -> float:
        rate = min(self._bounds.rate, state.rate.per_second)
        self._bucket.rate = rate if isfinite(rate) else 0.0
        return self._bucket.seconds_to_wait(now)
