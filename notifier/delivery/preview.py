"""Groups events into requests in order to show them instead of sending them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import inf

from notifier.delivery.policy.batching import BatchSize, next_batch
from notifier.destinations.base import Grouping
from notifier.store.tables.outbox import Delivery


def requests(deliveries: Sequence[Delivery], grouping: Grouping, rate: float) -> Iterator[Sequence[Delivery]]:
    """Group deliveries into requests as the worker does when nothing fails; `rate` is the configured one (0: none)."""
    left = list(deliveries)
    at_once = replace(grouping, wait=0.0)
    while left:
        batch = next_batch(left, at_once, BatchSize(), rate=rate or inf, now_ms=0)
        yield batch.deliveries
        left = left[len(batch.deliveries) :]
