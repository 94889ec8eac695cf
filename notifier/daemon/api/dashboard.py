"""The figures of the dashboard, read from the store. The slow counts are cached, so that many viewers cost little."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from notifier.clock import Clock
from notifier.store.database import Database
from notifier.store.reader import StoreReader
from notifier.web.daemon_api import DashboardFigures

if TYPE_CHECKING:
    from notifier.store.queries.dashboard import DashboardCounts, DeadDelivery, LatestEvent

CACHE_SECONDS: Final = 2.0
"""Seconds for which counts are cached. The delay does not matter, because each count covers at least 15 minutes."""

_MAX_EVENTS: Final = 20
_MAX_DEAD_DELIVERIES: Final = 5


class DashboardReader:
    """Reads the figures of the dashboard from the store; counts are cached for CACHE_SECONDS."""

    def __init__(self, reader: StoreReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._count_lock = asyncio.Lock()
        self._counts: DashboardCounts | None = None
        self._read_at = 0.0

    async def figures(self, destinations: Sequence[str]) -> DashboardFigures:
        """Return the figures. Dead deliveries are listed only for the given `destinations`. Raises StoreError."""
        counts = await self._cached_counts()
        latest, dead = await self._reader.run(_read_latest, destinations)
        return DashboardFigures(self._clock.now_ms(), counts, latest, dead)

    async def _cached_counts(self) -> "DashboardCounts":
        # Imported here and below, because the dashboard is rarely open.
        from notifier.store.queries import dashboard  # noqa: PLC0415

        async with self._count_lock:
            now = self._clock.monotonic()
            if self._counts is None or now - self._read_at >= CACHE_SECONDS:
                self._counts = await self._reader.run(dashboard.read_counts, self._clock.now_ms())
                self._read_at = now
            return self._counts


def _read_latest(db: Database, destinations: Sequence[str]) -> "tuple[list[LatestEvent], list[DeadDelivery]]":
    from notifier.store.queries import dashboard  # noqa: PLC0415

    return dashboard.latest_events(db, _MAX_EVENTS), dashboard.dead_deliveries(db, destinations, _MAX_DEAD_DELIVERIES)
