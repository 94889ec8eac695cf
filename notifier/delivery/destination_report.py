"""Snapshots of how each destination is being served, for the code that raises alerts and shows states."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from notifier.store.tables.destinations import Health, LastError, Learned, OwedEvents, Undelivered


@dataclass(frozen=True, slots=True)
class Serving:
    """How a destination is being served right now.

    `tried_for` is the number of seconds it has been enabled in this process. `trying_ms` is the same time in
    milliseconds, earlier processes included. `waits_until_ms` is when it is tried again (Unix ms; None: it does not
    wait). `rate` is the configured limit in requests a second (0: none). `is_draining` is true while its settings are
    being changed and requests under way may still finish.
    """

    health: Health
    tried_for: float
    trying_ms: int
    waits_until_ms: int | None = None
    learned: Learned = field(default_factory=Learned)
    rate: float = 0.0
    is_draining: bool = False


@dataclass(frozen=True, slots=True)
class DestinationReport:
    """Everything known about one destination at `now_ms` (Unix ms, on the clock that also measures its waits)."""

    serving: Serving
    undelivered: Sequence[Undelivered]
    last_error: LastError | None
    owed: OwedEvents | None
    now_ms: int
