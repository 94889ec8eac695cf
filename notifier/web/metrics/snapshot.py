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
    """The figures of one source.

    `requests` counts the requests to the API since the process started. `used_last_minute` counts only the requests of
    the last minute, and `used_by_purpose` divides this number by purpose. `allowed_per_minute` is the current request
    limit. `sweep_progress` is the progress of the latest sweep, from 0 to 1. `last_sweep_ms` is the time at which a
    sweep last reached the end of the list. `held` counts the records that are held back. `second_looks` counts the
    records with a change that a second request has to confirm.
    """

    state: str
    records: int
    last_success_ms: int | None
    next_poll_ms: int | None
    poll_interval_seconds: float
    requests: int
    allowed_per_minute: float
    used_last_minute: int
    sweep_progress: float
    last_sweep_ms: int | None
    held: Mapping[Direction, int]
    second_looks: Mapping[LookKind, int]
    unexplained: int
    count_offset: int
    unreadable: int
    unreadable_field: str | None
    used_by_purpose: Mapping[str, int]
    searching: bool


class DestinationFigures(Struct, frozen=True):
    """The figures of one destination. `pending` and `dead` count deliveries.

    `oldest_pending_ms` is when the oldest pending delivery began to wait; None if none waits. Deliveries that wait
    for a scheduled time or for the end of a quiet time do not count.
    """

    state: str
    pending: int
    dead: int
    oldest_pending_ms: int | None


class StoreFigures(Struct, frozen=True):
    """The size of each file that belongs to the state file, and the free space on the disk."""

    file_bytes: Mapping[str, int]
    free_bytes: int


class MetricsSnapshot(Struct, frozen=True):
    """All figures for one metrics page.

    `conditions` are the firing conditions. `readers` is the number of readers of the stream. `store_address` identifies
    the store. `store` has the figures of the state file (None: the store is in PostgreSQL). `evaluation_age_seconds` is
    the time since the daemon last evaluated its conditions (None: not yet). `alerts_undelivered_seconds` is how long
    the oldest undelivered alert has waited.
    """

    now_ms: int
    started_ms: int
    sources: Mapping[str, SourceFigures]
    destinations: Mapping[str, DestinationFigures]
    conditions: Sequence[ConditionKey]
    store_address: str
    store: StoreFigures | None
    readers: int
    evaluation_age_seconds: float | None = None
    alerts_undelivered_seconds: float = 0.0


class CachedPage:
    """Caches the latest page of metrics for CACHE_SECONDS."""

    def __init__(self) -> None:
        """Initialize without a page."""
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
