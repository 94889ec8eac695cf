"""How things stand at the moment when they are asked for. Times are Unix milliseconds, unless a name says otherwise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from notifier.conditions import Key


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """One source; `allowed` are requests a minute, `used` those of the last one, `requests` all of this process.

    `swept` is how far the newest sweep has come, from 0 to 1, and `swept_ms` when one last reached the list's end.
    """

    state: str
    records: int
    last_success_ms: int | None
    next_poll_ms: int | None
    poll_interval: float
    requests: int
    allowed: float
    used: int
    swept: float
    swept_ms: int | None


@dataclass(frozen=True, slots=True)
class DestinationFigures:
    """One destination; the counts are events. `oldest_pending_ms` is None when nothing waits."""

    state: str
    pending: int
    dead: int
    delivered: int
    oldest_pending_ms: int | None


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """The state file: the bytes of each of its files, and those that are free beside them."""

    files: Mapping[str, int]
    free: int


@dataclass(frozen=True, slots=True)
class Figures:
    """All of it; `conditions` are those that fire, `readers` those of the stream."""

    now_ms: int
    started_ms: int
    sources: Mapping[str, SourceFigures]
    destinations: Mapping[str, DestinationFigures]
    conditions: Sequence[Key]
    store: StoreFigures
    readers: int
