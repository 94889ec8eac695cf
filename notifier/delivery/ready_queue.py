"""The deliveries of one destination that are in memory: those that wait, and those under way. No I/O."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from msgspec.structs import replace

from notifier.delivery.policy import batching
from notifier.delivery.policy.batching import select_for_request
from notifier.delivery.policy.decisions import Attempt, AttemptDecisions, RequestKind
from notifier.delivery.policy.retry import Decision, RetryDecision
from notifier.events import Record
from notifier.store.tables.outbox import Delivery, DeliveryState
from notifier.store.tables.settlements import Settlement


class ReadyQueue:
    """Deliveries that were read from the store and are not finished."""

    def __init__(self) -> None:
        self.ready: list[Delivery] = []
        """Waiting deliveries, in order."""
        self.halves: list[tuple[Delivery, ...]] = []
        """Waiting parts of refused groups, which are sent first."""
        self.claimed: set[int] = set()
        """The numbers of all deliveries that wait, are under way, or have an unwritten outcome. They are not read
        again.
        """
        self.busy: dict[Record, int] = {}
        """For each record, the number of events that are under way or have an unwritten failure."""
        self.generation = 0
        """A number that grows when all waiting deliveries are dropped."""
        self.revision = 0
        """A number that grows when any waiting deliveries are dropped. Older reads of the store are then out of date.
        """
        self._awaiting_write: dict[int, Record | None] = {}
        """Deliveries whose outcome is being written, each with the record that stays busy until then (None: no record).
        """
        self._unwritten_outcomes: Counter[int] = Counter()
        """For each delivery that was requeued before its outcome was written: the number of its unwritten outcomes."""
        self._first_failed_at: dict[int, float] = {}

    @property
    def is_empty(self) -> bool:
        """Whether no delivery waits in memory; some may be under way."""
        return not (self.ready or self.halves)

    def waiting(self) -> list[Delivery]:
        """Return all deliveries that are not under way, in order."""
        return sorted((*_flatten(self.halves), *self.ready), key=sequence_of)

    def blocked_records(self) -> Collection[Record]:
        """Return the records whose events in `ready` may not be sent now."""
        return {*self.busy, *(it.event.record for it in _flatten(self.halves))} if self.halves else self.busy

    def first_failed_at(self, deliveries: Sequence[Delivery]) -> float | None:
        """Return when a delivery had its first failure that counts against the event (monotonic seconds).

        Returns None if there was no such failure, or if there are several `deliveries`.
        """
        return self._first_failed_at.get(deliveries[0].event.sequence) if len(deliveries) == 1 else None

    def forget_failures(self) -> None:
        """Forget the times at which deliveries first failed, because the address or the credentials have changed."""
        self._first_failed_at.clear()

    def add(self, found: Sequence[Delivery]) -> None:
        """Add deliveries that were read from the store."""
        self.ready = sorted((*self.ready, *found), key=sequence_of)
        self.claimed.update(it.event.sequence for it in found)

    def mark_busy(self, deliveries: Sequence[Delivery]) -> None:
        """Mark the records of deliveries as busy, because a request with them starts."""
        busy = self.busy
        for delivery in deliveries:
            record = delivery.event.record
            busy[record] = busy.get(record, 0) + 1

    def take_half(self, size: int, *, in_order: bool) -> list[Delivery]:
        """Remove and return the next deliveries from `halves`, at most `size`; an empty list if none may be sent."""
        blocked: set[Record] = set(self.busy)
        for place, half in enumerate(self.halves):
            chosen = select_for_request(half, size, blocked, in_order=in_order)
            if chosen:
                rest = _without(half, chosen)
                self.halves[place : place + 1] = [tuple(rest)] if rest else []
                return chosen
            blocked |= {it.event.record for it in half}
        return []

    def take(self, deliveries: Sequence[Delivery]) -> None:
        """Remove `deliveries` from `ready`, because the next request carries them; usually they are the first ones."""
        count = len(deliveries)
        if self.ready[count - 1] is deliveries[-1]:
            del self.ready[:count]
        else:
            self.ready = _without(self.ready, deliveries)

    def take_probe(self, chosen: Delivery) -> Delivery:
        """Remove `chosen`, the delivery of the next probe, from `ready` and `halves`, and return it.

        If `ready` or `halves` holds a copy of this delivery, the copy is returned, because it is newer than `chosen`.
        """
        sequence = chosen.event.sequence
        known = next((it for it in (*_flatten(self.halves), *self.ready) if it.event.sequence == sequence), chosen)
        self._drop(lambda it: it.event.sequence == sequence)
        self.claimed.add(sequence)
        return known

    def put_back(self, deliveries: Sequence[Delivery], *, is_current: bool) -> None:
        """Put back deliveries that did not fit into a message.

        If the queue was cleared in the meantime (not `is_current`), they are dropped instead.
        """
        for delivery in deliveries:
            self._release(delivery.event.record)
            if not is_current:
                self.claimed.discard(delivery.event.sequence)
        if is_current:
            self.ready = sorted((*deliveries, *self.ready), key=sequence_of)

    def clear(self) -> None:
        """Drop all waiting deliveries, so that they are read from the store again."""
        self.claimed.difference_update(it.event.sequence for it in (*self.ready, *_flatten(self.halves)))
        self.ready, self.halves = [], []
        self.generation += 1
        self.revision += 1

    def merge_halves(self) -> None:
        """Move the halves back into `ready`, because an outage, and not an event, caused the refusals."""
        self.ready, self.halves = self.waiting(), []

    def finish_attempt(
        self, attempt: Attempt, result: AttemptDecisions, *, is_current: bool, trying_ms: int, now: float
    ) -> None:
        """Put back the deliveries that are sent again at once, as two halves if the group is split.

        If the queue was cleared during the request (not `is_current`), nothing is put back. Deliveries that have to
        wait are read from the store when they are due.
        """
        if result.decisions[0].state is DeliveryState.DELIVERED:
            self._finish_delivered(attempt.deliveries)
            return
        again: list[Delivery] = []
        for delivery, decision in zip(attempt.deliveries, result.decisions, strict=True):
            sequence, record = delivery.event.sequence, delivery.event.record
            pending = decision.state is DeliveryState.PENDING
            if not pending:
                self._first_failed_at.pop(sequence, None)
            elif decision.counts_against_event:
                self._first_failed_at.setdefault(sequence, now)
            if is_current and pending and not decision.wait_seconds and decision.decision is not Decision.HOLD:
                self._release(record)
                self._unwritten_outcomes[sequence] += 1
                again.append(_with_attempt_counted(delivery, decision, trying_ms))
            else:
                self._awaiting_write[sequence] = record
        if result.split_in_half:
            self.halves[:0] = [half for half in batching.split_in_half(again) if half]
        elif again and attempt.kind is RequestKind.HALF and len(again) == len(attempt.deliveries):
            self.halves.insert(0, tuple(again))
        elif again and not (attempt.kind is RequestKind.PROBE and len(again) == 1 and self._add_to_half(again[0])):
            self.ready = sorted((*self.ready, *again), key=sequence_of)

    def _add_to_half(self, probe: Delivery) -> bool:
        """Put a failed probe back into a half that holds later events, so that the probe is sent before them.

        Prefers a half with an event of the same record, then the half with the next event. Returns False if no half has
        a later event.
        """
        event = probe.event
        later = [
            (all(it.event.record != event.record for it in half), number, place)
            for place, half in enumerate(self.halves)
            if (number := next((it.event.sequence for it in half if it.event.sequence > event.sequence), None))
        ]
        if not later:
            return False
        _, _, place = min(later)
        self.halves[place] = tuple(sorted((probe, *self.halves[place]), key=sequence_of))
        return True

    def _finish_delivered(self, deliveries: Sequence[Delivery]) -> None:
        """Release the records of a request's deliveries after all of them were delivered."""
        busy = self.busy
        for delivery in deliveries:
            event = delivery.event
            self._awaiting_write[event.sequence] = None
            left = busy.pop(event.record, 0) - 1
            if left > 0:
                busy[event.record] = left
        if self._first_failed_at:
            for delivery in deliveries:
                self._first_failed_at.pop(delivery.event.sequence, None)

    def release_written(self, settlements: Sequence[Settlement]) -> None:
        """Release the deliveries whose outcomes are now in the store."""
        delayed: set[Record] = set()
        for settlement in settlements:
            for sequence in settlement.sequences:
                if (
                    self._unwritten_outcomes and self._was_sent_again(sequence)
                ) or sequence not in self._awaiting_write:
                    continue
                record = self._awaiting_write.pop(sequence)
                self.claimed.discard(sequence)
                if record is not None:
                    self._release(record)
                    if settlement.state is DeliveryState.PENDING:
                        delayed.add(record)
        if delayed:
            # Later events of these records must wait until the delayed events are sent, and are read again then.
            self._drop(lambda it: it.event.record in delayed)
            self.revision += 1

    def release_unfinished(self, deliveries: Iterable[Delivery]) -> None:
        """Release the deliveries of a request that an internal error ended, so that they are read again."""
        for delivery in deliveries:
            sequence = delivery.event.sequence
            if sequence in self.claimed and sequence not in self._awaiting_write:
                self.claimed.discard(sequence)
                self._release(delivery.event.record)

    def _was_sent_again(self, sequence: int) -> bool:
        """Return whether a delivery whose outcome is now written was requeued before the write.

        If so, subtract one from the number of the delivery's unwritten outcomes.
        """
        if sequence not in self._unwritten_outcomes:
            return False
        self._unwritten_outcomes[sequence] -= 1
        if not self._unwritten_outcomes[sequence]:
            del self._unwritten_outcomes[sequence]
        return True

    def _drop(self, unwanted: Callable[[Delivery], bool]) -> None:
        dropped = {it.event.sequence for it in (*self.ready, *_flatten(self.halves)) if unwanted(it)}
        if dropped:
            self.ready = [it for it in self.ready if it.event.sequence not in dropped]
            halves = (tuple(it for it in half if it.event.sequence not in dropped) for half in self.halves)
            self.halves = [half for half in halves if half]
            self.claimed -= dropped

    def _release(self, record: Record) -> None:
        left = self.busy.pop(record, 0) - 1
        if left > 0:
            self.busy[record] = left


def sequence_of(delivery: Delivery) -> int:
    """Return the sequence number of a delivery's event; queues are sorted by it."""
    return delivery.event.sequence


def _with_attempt_counted(delivery: Delivery, decision: RetryDecision, trying_ms: int) -> Delivery:
    """Return the delivery with one more attempt counted."""
    return replace(
        delivery,
        attempts=delivery.attempts + 1,
        tried_from_ms=trying_ms if delivery.tried_from_ms is None else delivery.tried_from_ms,
        failures=delivery.failures + decision.counts_against_event,
        proven=decision.proven or delivery.proven,
    )


def _flatten(groups: Iterable[Sequence[Delivery]]) -> list[Delivery]:
    return [delivery for group in groups for delivery in group]


def _without(deliveries: Sequence[Delivery], gone: Collection[Delivery]) -> list[Delivery]:
    sequences = {it.event.sequence for it in gone}
    return [it for it in deliveries if it.event.sequence not in sequences]
