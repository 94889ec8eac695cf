"""Chooses the deliveries that share a request, and learns how many events a receiver accepts. Pure.

A refused group is split in half, and the halves are sent next. About log2(N) splits find one bad event among N. If a
request was too large, the next half that gets through sets the limit. Many successes raise it again.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from notifier.destinations.base import Grouping
from notifier.events import Event, Record
from notifier.store.tables.outbox import Delivery

MAX_IN_A_DIGEST = 1000
MAX_IN_A_GROUP = 50
"""At most this many deliveries of one group (see `Grouping.group_key`) share a request; a larger group is divided."""

_SUCCESSES_BEFORE_TRIAL = 10
_FAILED_TRIAL_FACTOR = 4
_MAX_SUCCESSES_BEFORE_TRIAL = 10_000
_DIGEST_ABOVE_SECONDS = 60.0
"""A digest is sent if separate messages for the waiting events would take longer than this many seconds."""


class BatchSize(Struct, frozen=True):
    """How many events a receiver accepts in one request."""

    limit: int | None = None
    """The maximum number of events in a request; None if no limit is known."""
    full_successes: int = 0
    """The number of successful requests with at least `limit` events."""
    successes_before_trial: int = _SUCCESSES_BEFORE_TRIAL
    """The number of full successes after which one request with twice as many events is tried."""
    is_trial_under_way: bool = False
    proposed_limit: int = 0
    """Half the size of a request that was too large; 0 if no new limit is sought. As soon as half of a refused
    group gets through, `limit` is lowered to the size of that half.
    """

    def effective_limit(self, most: int) -> int:
        """Return the maximum for the next request: the learned limit or the configured `most`, whichever is lower."""
        return most if self.limit is None else min(most, self.limit)


def after_success(size: BatchSize, count: int, most: int, *, is_half: bool, is_trial: bool) -> BatchSize:
    """Return the batch size after a request with `count` events got through.

    `is_half`: the events were half of a refused group. `is_trial`: the request had more events than `size.limit`, as a
    trial. `most` is the configured maximum; a limit that reaches it becomes None.
    """
    if size.limit is None and not size.proposed_limit and not is_trial:
        return size
    limit = size.effective_limit(most)
    if is_trial:
        limit = max(limit, count)
    if is_half and size.proposed_limit:
        size = replace(size, proposed_limit=0, full_successes=0)
        limit = min(limit, max(count, 1))
    return replace(size, limit=None if limit >= most else limit, full_successes=size.full_successes + (count >= limit))


def after_too_large(size: BatchSize, count: int, most: int, *, is_trial: bool) -> BatchSize:
    """Return the batch size after a request with `count` events was refused as too large or took too long.

    After a trial, the limit stays, and the next trial needs more successes. Otherwise, half of `count` is proposed as
    the limit.
    """
    if is_trial:
        return replace(
            size,
            successes_before_trial=min(_MAX_SUCCESSES_BEFORE_TRIAL, size.successes_before_trial * _FAILED_TRIAL_FACTOR),
            full_successes=0,
        )
    smaller = max(1, min(size.proposed_limit or size.effective_limit(most), count // 2))
    return replace(size, proposed_limit=smaller, full_successes=0)


class Batch(Struct, frozen=True):
    """The deliveries for the next request.

    If `deliveries` is empty, no request can be sent before `wait_seconds` have passed; 0.0 means that waiting alone
    does not help. `is_trial`: the request has more events than the receiver is known to accept.
    """

    deliveries: tuple[Delivery, ...] = ()
    wait_seconds: float = 0.0
    is_trial: bool = False


def next_batch(
    waiting: Sequence[Delivery],
    grouping: Grouping,
    size: BatchSize,
    *,
    busy: Collection[Record] = (),
    rate: float,
    now_ms: int,
    in_order: bool = False,
    has_slots: bool = False,
) -> Batch:
    """Choose the deliveries for the next request from `waiting`, which is in order.

    The events of a record stay in order; with `in_order`, all events do. An event whose record is `busy` is not chosen.
    An event that is known to be at fault is sent alone. A request that is not full waits until `grouping.wait_seconds`
    have passed since its first event was detected; only this rule uses `now_ms`. `rate` is how many requests a second
    the receiver accepts. `has_slots`: each slot of the destination has its own request, a digest.
    """
    most = grouping.size
    slot_ms = None
    if has_slots and waiting:
        slot_ms = waiting[0].slot_ms
        waiting = _select_slot(waiting, slot_ms)
    digest = grouping.digest_above is not None and (
        slot_ms is not None
        or len(waiting) > min(grouping.digest_above, max(1.0, _DIGEST_ABOVE_SECONDS * rate * grouping.size))
    )
    if digest:
        most = MAX_IN_A_DIGEST
    limit = size.effective_limit(most)
    is_trial = limit < most and size.full_successes >= size.successes_before_trial and not size.is_trial_under_way
    if is_trial:
        limit = min(most, 2 * limit)
    chosen = select_for_request(waiting, limit, busy, in_order=in_order)
    if not chosen:
        return Batch()
    may_wait = grouping.wait_seconds and len(chosen) < limit and len(chosen) == len(waiting)
    if may_wait and not any(it.attempts for it in chosen):
        waited = (now_ms - min(it.event.time_ms for it in chosen)) / 1000
        if 0 <= waited < grouping.wait_seconds:
            return Batch(wait_seconds=grouping.wait_seconds - waited)
    is_full = not digest and len(chosen) == limit == grouping.size
    if is_full and grouping.group_key is not None and not any(it.failures for it in chosen):
        chosen = _keep_groups_whole(waiting, chosen, grouping.group_key)
    return Batch(tuple(chosen), is_trial=is_trial and len(chosen) > size.effective_limit(most))


def select_for_request(
    waiting: Iterable[Delivery], limit: int, busy: Collection[Record], *, in_order: bool = False
) -> list[Delivery]:
    """Return the first deliveries that may share a request, at most `limit`, by the rules of `next_batch`."""
    chosen: list[Delivery] = []
    blocked: set[Record] = set()
    for delivery in waiting:
        record = delivery.event.record
        if record in busy or record in blocked:
            if in_order and chosen:
                break
            blocked.add(record)
        elif chosen and (delivery.proven or delivery.taken_by != chosen[0].taken_by):
            if in_order:
                break
            blocked.add(record)
        else:
            chosen.append(delivery)
            if len(chosen) >= limit or delivery.proven:
                break
    return chosen


def _select_slot(waiting: Iterable[Delivery], slot_ms: int | None) -> tuple[Delivery, ...]:
    """Return the deliveries of one slot.

    A delivery is left out if an earlier event of its record is in another slot, because a record's events stay in
    order.
    """
    chosen: list[Delivery] = []
    blocked: set[Record] = set()
    for delivery in waiting:
        record = delivery.event.record
        if delivery.slot_ms == slot_ms and record not in blocked:
            chosen.append(delivery)
        else:
            blocked.add(record)
    return tuple(chosen)


def split_in_half(deliveries: Sequence[Delivery]) -> tuple[tuple[Delivery, ...], tuple[Delivery, ...]]:
    """Return the two halves of a refused group, each in order."""
    middle = len(deliveries) // 2
    return tuple(deliveries[:middle]), tuple(deliveries[middle:])


def _keep_groups_whole(
    waiting: Sequence[Delivery], chosen: list[Delivery], group_key: Callable[[Event], Hashable | None]
) -> list[Delivery]:
    """Return `chosen`, shortened or extended so that the deliveries of a group (`Grouping.group_key`) stay together."""
    count = len(chosen)
    if count == len(waiting) or list(waiting[:count]) != chosen:
        return chosen
    group = group_key(waiting[count].event)
    begin = count
    while group is not None and begin and group_key(waiting[begin - 1].event) == group:
        begin -= 1
    if begin:
        return chosen[:begin]
    for end in range(count, min(len(waiting), MAX_IN_A_GROUP)):
        if waiting[end].failures or group_key(waiting[end].event) != group:
            return list(waiting[:end])
    return list(waiting[:MAX_IN_A_GROUP])
