"""Chooses the waiting deliveries that share a request, and learns how many a receiver accepts. Pure.

A refused group is split in half and the halves are sent first, so that a bad event is found in about log2(N) steps.
Once a smaller group gets through, its size becomes the limit; the limit grows again with further successes.
"""

from collections.abc import Collection, Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from notifier.destinations.base import Grouping
from notifier.events import Record
from notifier.store.tables.outbox import Delivery

MOST_IN_A_DIGEST = 1000
MOST_TOGETHER = 50
"""The most deliveries that are kept in one request because they belong together; a larger group is divided."""

_SUCCESSES_BEFORE_TRIAL = 10
_FAILED_TRIAL_FACTOR = 4
_MOST_SUCCESSES_BEFORE_TRIAL = 10_000
_DIGEST_ABOVE_SECONDS = 60.0
"""If sending the waiting events in usual messages would take more than this many seconds, they become a digest."""


class BatchSize(Struct, frozen=True):
    """How many events a receiver accepts in one request; `limit` is None if no limit is known.

    `full` counts the requests of the full size that got through in a row. Once there are `needed` of them, one request
    of twice the size is tried; `on_trial` is true while that request is under way. `suspect` is a smaller size that
    becomes the limit if a request of that size gets through (0: none).
    """

    limit: int | None = None
    full_successes: int = 0
    successes_before_trial: int = _SUCCESSES_BEFORE_TRIAL
    is_trial_under_way: bool = False
    proposed_limit: int = 0

    def effective_limit(self, most: int) -> int:
        """Return the number of events for the next request, given that the configuration allows `most`."""
        return most if self.limit is None else min(most, self.limit)


def after_success(size: BatchSize, count: int, most: int, *, is_half: bool, is_trial: bool) -> BatchSize:
    """Return the size after `count` events got through in one request.

    `half`: they were half of a refused group. `trial`: the request tried a larger size. `most` is the largest number
    that the destination can carry; a limit as high as that is the same as no limit.
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
    """Return the size after a request with `count` events was refused as too large or took too long.

    After a `trial`, the limit stays, and the next trial comes later. Otherwise, half of `count` becomes the limit once
    a request of that size gets through.
    """
    if is_trial:
        return replace(
            size,
            successes_before_trial=min(
                _MOST_SUCCESSES_BEFORE_TRIAL, size.successes_before_trial * _FAILED_TRIAL_FACTOR
            ),
            full_successes=0,
        )
    smaller = max(1, min(size.proposed_limit or size.effective_limit(most), count // 2))
    return replace(size, proposed_limit=smaller, full_successes=0)


class Batch(Struct, frozen=True):
    """The deliveries for the next request, or (if none) the seconds to `wait` for more.

    `trial`: the request tries a larger size than the receiver is known to accept.
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
    """Choose the next request's deliveries from `waiting` (in order).

    An event is left out if its record is `busy`, or if an earlier event of its record is left out. An event that is
    proven to be at fault is sent alone; with `in_order`, no later event is sent before it. `rate` is the number
    of requests a second that the receiver accepts. A batch that is not full waits for more events, up to the configured
    time after its first event was detected. If the destination `has_slots`, events of different slots never share a
    request, and those of one slot are a digest.
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
        most = MOST_IN_A_DIGEST
    limit = size.effective_limit(most)
    is_trial = limit < most and size.full_successes >= size.successes_before_trial and not size.is_trial_under_way
    if is_trial:
        limit = min(most, 2 * limit)
    chosen = select_for_request(waiting, limit, busy, in_order=in_order)
    if not chosen:
        return Batch()
    if len(chosen) < limit and len(chosen) == len(waiting) and not any(it.attempts for it in chosen):
        waited = (now_ms - min(it.event.time_ms for it in chosen)) / 1000
        if 0 <= waited < grouping.wait_seconds:
            return Batch(wait_seconds=grouping.wait_seconds - waited)
    if not digest and len(chosen) == limit == grouping.size and not any(it.failures for it in chosen):
        chosen = _keep_groups_whole(waiting, chosen, grouping)
    return Batch(tuple(chosen), is_trial=is_trial and len(chosen) > size.effective_limit(most))


def select_for_request(
    waiting: Iterable[Delivery], limit: int, busy: Collection[Record], *, in_order: bool = False
) -> list[Delivery]:
    """Return the first deliveries that may share a request, up to `limit`, by the rules of `next_batch`."""
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
    """Return the deliveries of one slot, except those after an event of the same record in another slot."""
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
    """Split a refused group into two halves, keeping the order."""
    middle = len(deliveries) // 2
    return tuple(deliveries[:middle]), tuple(deliveries[middle:])


def _keep_groups_whole(waiting: Sequence[Delivery], chosen: list[Delivery], grouping: Grouping) -> list[Delivery]:
    """Shorten or extend a full group, so that deliveries that belong together stay in one request."""
    count = len(chosen)
    if grouping.group_key is None or count == len(waiting) or list(waiting[:count]) != chosen:
        return chosen
    group = grouping.group_key(waiting[count].event)
    begin = count
    while group is not None and begin and grouping.group_key(waiting[begin - 1].event) == group:
        begin -= 1
    if begin:
        return chosen[:begin]
    for end in range(count, min(len(waiting), MOST_TOGETHER)):
        if waiting[end].failures or grouping.group_key(waiting[end].event) != group:
            return list(waiting[:end])
    return list(waiting[:MOST_TOGETHER])
