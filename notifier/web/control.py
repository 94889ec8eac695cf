"""What the local HTTP interface needs of the daemon, and the errors it may meet."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


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


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request to do something: whether it was done, and the JSON that says so."""

    ok: bool
    body: Mapping[str, Any]


class Control(Protocol):
    """The daemon, as far as the local HTTP interface may see and touch it."""

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

    async def record(self, key: str) -> dict[str, Any]:
        """Return the object of `/v1/records/KEY`. Raises UnknownRecordError."""
        ...
