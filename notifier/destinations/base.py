"""The interfaces of destination types, and the values that they share."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from notifier.destinations.outcome import Outcome
from notifier.events import Event
from notifier.store.tables.outbox import Delivery


class Grouping(Struct, frozen=True):
    """How a destination combines deliveries into requests."""

    size: int = 1
    """The maximum number of deliveries in a request."""
    wait_seconds: float = 0.0
    """The maximum time for which a request's first delivery waits for others to join the request."""
    digest_above: int | None = None
    """If more deliveries than this are pending, up to 1000 of them are sent as one digest; None for no digests."""
    group_key: Callable[[Event], Hashable | None] | None = None
    """The group of an event, or None. Up to 50 consecutive events of one group share a request, even if `size` is
    lower.
    """


class Destination(Protocol):
    """A receiver of events. `registry.build` creates the instances."""

    @property
    def name(self) -> str:
        """The name in the configuration."""
        ...

    @property
    def grouping(self) -> Grouping:
        """How deliveries are combined into requests."""
        ...

    async def send(self, deliveries: Sequence[Delivery]) -> Outcome:
        """Make one attempt to deliver all of `deliveries` (at least one), and return the outcome.

        An error of the peer or the network is returned as an outcome, not raised.
        """
        ...


@runtime_checkable
class SupportsPrepare(Protocol):
    """A destination that reads files before its first attempt."""

    async def prepare(self) -> None:
        """Read the files that attempts need. Called at the start and at each reload; errors are logged, not raised."""
        ...


@runtime_checkable
class SupportsClose(Protocol):
    """A destination that keeps connections open between attempts."""

    async def close(self) -> None:
        """Close the connections, within a few seconds. Called when no attempt is running."""
        ...


async def close(destination: Destination) -> None:
    """Close the connections that a destination keeps open, if there are any."""
    if isinstance(destination, SupportsClose):
        await destination.close()


@runtime_checkable
class SupportsDigestSplit(Protocol):
    """A destination whose digests may be too long for one message."""

    async def count_fitting(self, deliveries: Sequence[Delivery]) -> int:
        """Return how many of `deliveries`, counted from the first, fit into one digest message; at least 1."""
        ...


class Preview(Struct, frozen=True):
    """A request that is shown but not sent: headers without secrets, body, and the lines of a message for people."""

    headers: Mapping[str, str]
    body: bytes
    lines: tuple[str, ...] = ()


@runtime_checkable
class SupportsPreview(Protocol):
    """A destination that can show what it would send."""

    async def preview(self, deliveries: Sequence[Delivery]) -> Preview:
        """Return the request that would carry `deliveries` (at least one), without sending it."""
        ...
