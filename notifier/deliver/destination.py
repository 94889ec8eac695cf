"""What every destination type offers, and what it is given."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from notifier.completions import Event
from notifier.deliver.outcome import Outcome
from notifier.ledger.outbox import Delivery


@dataclass(frozen=True, slots=True)
class Grouping:
    """How deliveries share a request.

    A request carries up to `size` of them, and goes out when it is full or its first delivery has waited `wait`
    seconds. When more than `digest_above` wait, all of them (up to 1000) go out as one digest.
    Events that follow each other and for which `together` gives the same, None excepted, are not divided, even if they
    are more than `size` (up to 50).
    """

    size: int = 1
    wait: float = 0.0
    digest_above: int | None = None
    together: Callable[[Event], Hashable | None] | None = None


class Destination(Protocol):
    """Somewhere events go. One file per type; `registry.build` makes them."""

    @property
    def name(self) -> str:
        """The name that the configuration gives it."""
        ...

    @property
    def grouping(self) -> Grouping:
        """How deliveries share a request."""
        ...

    async def send(self, deliveries: Sequence[Delivery]) -> Outcome:
        """Make one attempt to deliver all of `deliveries` (at least one) in one request.

        Whatever a peer or the network does becomes an Outcome; nothing is raised for it.
        """
        ...


@runtime_checkable
class Preparing(Protocol):
    """A destination that reads something before its first attempt."""

    async def prepare(self) -> None:
        """Read what attempts need, again if the configuration is read again. What is wrong with it is logged."""
        ...
