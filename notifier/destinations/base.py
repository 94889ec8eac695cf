"""The interfaces that destination types implement, and the values that they share."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from notifier.destinations.outcome import Outcome
from notifier.events import Event
from notifier.store.tables.outbox import Delivery


class Grouping(Struct, frozen=True):
    """How deliveries share a request.

    A request carries up to `size` deliveries. It is sent when it is full, or when its first delivery has waited `wait`
    seconds. If more than `digest_above` deliveries wait, all of them (up to 1000) are sent as one digest. Consecutive
    events for which `together` returns the same value (not None) stay in one request even if they are more than `size`,
    up to 50.
    """

    size: int = 1
    wait_seconds: float = 0.0
    digest_above: int | None = None
    group_key: Callable[[Event], Hashable | None] | None = None


class Destination(Protocol):
    """A place that events are sent to. `registry.build` creates the instances."""

    @property
    def name(self) -> str:
        """The name in the configuration."""
        ...

    @property
    def grouping(self) -> Grouping:
        """How deliveries share a request."""
        ...

    async def send(self, deliveries: Sequence[Delivery]) -> Outcome:
        """Make one attempt to deliver all of `deliveries` (at least one) in one request; return the outcome.

        Errors of the peer or the network become an Outcome, not an exception.
        """
        ...


@runtime_checkable
class SupportsPrepare(Protocol):
    """A destination that reads something before its first attempt."""

    async def prepare(self) -> None:
        """Read the files that attempts need; called at the start and at each reload. Errors are logged."""
        ...


@runtime_checkable
class SupportsClose(Protocol):
    """A destination that keeps connections of its own."""

    async def close(self) -> None:
        """Close the connections within a few seconds; called when no attempt is under way any more."""
        ...


async def close(destination: Destination) -> None:
    """Close the connections of a destination that keeps some."""
    if isinstance(destination, SupportsClose):
        await destination.close()


@runtime_checkable
class SupportsDigestSplit(Protocol):
    """A destination whose digests may be too long for one message."""

    async def count_fitting(self, deliveries: Sequence[Delivery]) -> int:
        """Return how many of the first deliveries of a digest fit into one message; at least one."""
        ...


class Preview(Struct, frozen=True):
    """A request to show: its headers without secrets, its body, and the lines that people will read (if any)."""

    headers: Mapping[str, str]
    body: bytes
    lines: tuple[str, ...] = ()


@runtime_checkable
class SupportsPreview(Protocol):
    """A destination that can show what it would send."""

    async def preview(self, deliveries: Sequence[Delivery]) -> Preview:
        """Return the request that `deliveries` (at least one) would share. Sends nothing."""
        ...
