"""Chooses the event to try while nothing gets through: the one whose answer says most about the cause. Pure.

The candidates are spread over the whole queue, so that O(log N) probes get past N bad events in a row.
"""

from collections.abc import Collection, Hashable, Sequence

import orjson

from notifier.events import Record
from notifier.store.tables.outbox import Delivery

CANDIDATES = 64
"""The number of positions in the queue from which candidates are read."""


def spread_evenly(first: int, last: int) -> list[int]:
    """Return up to CANDIDATES numbers from `first` to `last` (both included), evenly spread and in order."""
    return sorted(
        {first, last, *(first + int(_van_der_corput(number) * (last - first)) for number in range(1, CANDIDATES - 1))}
    )


def choose(
    candidates: Sequence[Delivery], busy: Collection[Record], recently_failed: Collection[Hashable]
) -> Delivery | None:
    """Return the event to probe with, or None if no candidate may be sent.

    An event with few failures is preferred, then one whose training and record are not in `recently_failed`, then the
    newest. Only the earliest candidate of a record may be chosen, and none of a `busy` record.
    """
    seen = set(busy)
    free: list[Delivery] = []
    for delivery in sorted(candidates, key=lambda it: it.event.sequence):
        if delivery.event.record not in seen:
            seen.add(delivery.event.record)
            free.append(delivery)
    return max(free, default=None, key=lambda it: _preference(it, recently_failed))


def choose_in_order(
    waiting: Sequence[Delivery], busy: Collection[Record], *, round_number: int, first_of_round: bool
) -> Delivery | None:
    """Return the event to probe with at a destination with a strict order, or None if no event may be sent.

    The first two rounds, and the first probe of each round, use the earliest event. Other probes use the event with the
    fewest failures. Only the earliest event of a record may be chosen, and none of a `busy` record.
    """
    seen = set(busy)
    free: list[Delivery] = []
    for delivery in waiting:
        if delivery.event.record not in seen:
            seen.add(delivery.event.record)
            free.append(delivery)
            if first_of_round or round_number < 2:  # noqa: PLR2004
                return delivery
    return min(free, default=None, key=lambda it: (it.failures, it.event.sequence))


def trainings_and_records(deliveries: Sequence[Delivery]) -> frozenset[Hashable]:
    """Return the trainings and records of the first eight deliveries of a request."""
    some = deliveries[:8]
    return frozenset(it.event.record for it in some) | frozenset(
        training for it in some if (training := _training(it)) is not None
    )


def _preference(delivery: Delivery, recently_failed: Collection[Hashable]) -> tuple[int, bool, bool, int]:
    event = delivery.event
    return (
        -delivery.failures,
        _training(delivery) not in recently_failed,
        event.record not in recently_failed,
        event.sequence,
    )


def _training(delivery: Delivery) -> Hashable:
    data = orjson.loads(delivery.event.data)
    training = (data.get("completion") or {}).get("training_id")
    return (delivery.event.source, "training", training) if training else None


def _van_der_corput(number: int) -> float:
    """Return the `number`-th value of the van der Corput sequence: 1/2, 1/4, 3/4, ..."""
    return sum(((number >> bit) & 1) / (2 << bit) for bit in range(number.bit_length()))
