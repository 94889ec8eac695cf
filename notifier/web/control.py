"""What the local HTTP interface needs of the daemon, and the errors it may meet."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from notifier.ledger.again import Retry
from notifier.web.asked import DeliveryPage, Replay


class UnknownNameError(Exception):
    """Somebody named a source or destination that the configuration does not have."""

    def __init__(self, kind: str, name: str, known: tuple[str, ...]) -> None:
        """Remember what was asked for and what there is."""
        super().__init__(f"there is no {kind} `{name}`; there is {', '.join(known) or 'none'}")


class UnknownRecordError(Exception):
    """Somebody asked about a record that no source knows."""

    def __init__(self, key: str) -> None:
        """Say what was asked for and what to check."""
        super().__init__(
            f"no source knows a record `{key}`: check the key, and whether a sweep has read the whole list yet "
            "(`notifier status`)"
        )


class UnknownEventError(Exception):
    """Somebody named an event that is not kept."""

    def __init__(self, event_id: str) -> None:
        """Say what was asked for and what to check."""
        super().__init__(
            f"there is no event `{event_id}`: check the id (`notifier events --json` shows all that is kept)"
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request to do something: whether it was done, and the JSON that says so."""

    ok: bool
    body: Mapping[str, Any]


class DeliveryControl(Protocol):
    """What one may ask of a running daemon's deliveries and destinations. All of it raises LedgerError."""

    async def page(self, wish: DeliveryPage) -> dict[str, Any]:
        """Return the object of `/v1/deliveries`. Raises UnknownNameError."""
        ...

    async def retry(self, wish: Retry) -> dict[str, Any]:
        """Put deliveries back into the queue. Raises UnknownNameError, UnknownEventError."""
        ...

    async def replay(self, wish: Replay) -> Answer:
        """Begin to send past events again, or say how many there are. Raises UnknownNameError."""
        ...

    async def replay_progress(self) -> dict[str, Any]:
        """Return the object of `GET /v1/replay`."""
        ...

    async def stop_replay(self, number: int | None) -> dict[str, Any]:
        """End the replay of this number, or (None) the one under way, for good; say how far it has come."""
        ...

    async def set_enabled(self, destination: str, *, enabled: bool) -> dict[str, Any]:
        """Resume or park a destination. Raises UnknownNameError."""
        ...

    async def test(self, destination: str) -> dict[str, Any]:
        """Send a sample event there and say what came of it. Raises UnknownNameError."""
        ...


class Control(Protocol):
    """The daemon, as far as the local HTTP interface may see and touch it."""

    @property
    def deliveries(self) -> DeliveryControl:
        """What concerns deliveries and destinations."""
        ...

    async def status(self) -> dict[str, Any]:
        """Return the object of `/v1/status`."""
        ...

    def unready(self) -> dict[str, str]:
        """Return the sources that cannot be relied on now, each with the reason."""
        ...

    async def poll(self, source: str) -> Answer:
        """Do a source's round now. Raises UnknownNameError."""
        ...

    async def sweep(self, source: str) -> Answer:
        """Begin or go on with a sweep of a source. Raises UnknownNameError."""
        ...

    async def reload(self) -> Answer:
        """Read the configuration again and follow it; a wrong one changes nothing."""
        ...

    async def record(self, key: str) -> dict[str, Any]:
        """Return the object of `/v1/records/KEY`. Raises UnknownRecordError."""
        ...
