"""Groups deliveries into requests that are shown and not sent."""

from collections.abc import AsyncIterator, Sequence
from math import inf

from msgspec.structs import replace

from notifier.delivery.policy.batching import BatchSize, next_batch
from notifier.destinations.base import Destination, SupportsDigestSplit
from notifier.store.tables.outbox import Delivery


async def group_into_requests(
    deliveries: Sequence[Delivery], destination: Destination, rate: float
) -> AsyncIterator[Sequence[Delivery]]:
    """Yield the groups in which the worker would send deliveries if nothing failed.

    `rate` is the limit of requests a second (0: none).
    """
    left = list(deliveries)
    at_once = replace(destination.grouping, wait_seconds=0.0)
    while left:
        batch = next_batch(left, at_once, BatchSize(), rate=rate or inf, now_ms=0, has_slots=True).deliveries
        if batch[0].slot_ms is not None and isinstance(destination, SupportsDigestSplit):
            batch = batch[: await destination.count_fitting(batch)]
        yield batch
        left = left[len(batch) :]
