"""A snapshot of the figures on the metrics page, and a cache for the page.

Times are Unix milliseconds, unless a name says otherwise.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from notifier.alerts.conditions import ConditionKey
from notifier.store.tables.second_looks import LookKind
from notifier.watch.detection.holds import Direction

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""The content type of the page: Prometheus's text format."""

CACHE_SECONDS: Final = 1.0
"""Seconds for which a page is cached."""


class SourceFigures(Struct, frozen=True):
    """The figures of one source."""

    state: str
    records: int
    last_success_ms: int | None
    next_poll_ms: int | None
    poll_interval_seconds: float
    requests: int
    """The number of requests to the API since the process started."""
    allowed_per_minute: float
    """The present limit of requests."""
    used_last_minute: int
    sweep_progress: float
    """The progress of the latest sweep, from 0 to 1."""
    last_sweep_ms: int | None
    """When a sweep last reached the end of the list."""
    held: Mapping[Direction, int]
    """The number of records that are held back."""
    second_looks: Mapping[LookKind, int]
    """The number of records with a change that a second request has to confirm."""
    unexplained: int
    count_offset: int
    unreadable: int
    unreadable_field: str | None
    used_by_purpose: Mapping[str, int]
    """`used_last_minute`, divided by purpose."""
    searching: bool


class DestinationFigures(Struct, frozen=True):
    """The figures of one destination. `pending` and `dead` count deliveries."""

    state: str
    pending: int
    dead: int
    oldest_pending_ms: int | None
    """When the oldest pending delivery began to wait; None if none waits.

    Deliveries that wait for a scheduled time or for the end of a quiet time do not count.
    """


class StoreFigures(Struct, frozen=True):
    """The size of each file that belongs to the state file, and the free space on the disk."""

    file_bytes: Mapping[str, int]
    free_bytes: int


class MetricsSnapshot(Struct, frozen=True):
    """All figures for one metrics page."""

    now_ms: int
    started_ms: int
    sources: Mapping[str, SourceFigures]
    destinations: Mapping[str, DestinationFigures]
    conditions: Sequence[ConditionKey]
    """The firing conditions."""
    store_address: str
    """A text that identifies the store."""
    store: StoreFigures | None
    """The figures of the state file; None if the store is in PostgreSQL."""
    readers: int
    """The number of readers of the stream."""
    evaluation_age_seconds: float | None = None
    """The time since the daemon last evaluated its conditions; None: not yet."""
    alerts_undelivered_seconds: float = 0.0
    """How long the oldest undelivered alert has waited."""


class CachedPage:
    """Caches the latest page of metrics for CACHE_SECONDS."""

    def __init__(self) -> None:
        """Initialise without a page."""
        self._lock = asyncio.Lock()
        self._page = b""
        self._made_at = -CACHE_SECONDS

    async def page(self, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the cached page or, if it is too old, a new one from `make`. Raises the errors of `make`."""
        async with self._lock:
            if time.monotonic() - self._made_at >= CACHE_SECONDS:
                self._page = await make()
                self._made_at = time.monotonic()
            return self._page
