"""What would be sent, shown instead of sent."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from notifier.deliver.destination import Grouping
from notifier.deliver.grouping import next_group
from notifier.ledger.outbox import Delivery


@dataclass(frozen=True, slots=True)
class Preview:
    """One request: its headers, free of secrets, its body, and the lines that people will read, if any will."""

    headers: Mapping[str, str]
    body: bytes
    lines: tuple[str, ...] = ()


@runtime_checkable
class Previewing(Protocol):
    """A destination that can show what it would send."""

    async def preview(self, deliveries: Sequence[Delivery]) -> Preview:
        """Show the request that `deliveries` (at least one) would share. Sends nothing."""
        ...


def requests(deliveries: Sequence[Delivery], grouping: Grouping) -> Iterator[Sequence[Delivery]]:
    """Divide what waits into requests, as the worker does when all is well."""
    left = list(deliveries)
    while left:
        count = next_group(left, grouping, grouping.wait).count
        yield left[:count]
        left = left[count:]
