"""The figures of the dashboard, cached so that many viewers cost as little as one."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from notifier.clock import Clock
from notifier.store.database import Database
from notifier.store.reader import StoreReader
from notifier.web.daemon_api import DashboardFigures

if TYPE_CHECKING:
    from notifier.store.queries.dashboard import DashboardCounts, DeadDelivery, LatestEvent

KEPT_SECONDS: Final = 2.0
"""Seconds for which counts are cached; the delay does not matter, as each count covers at least 15 minutes."""

_LATEST: Final = 20
_DEAD: Final = 5


class Overview:
    """Reads the dashboard's figures from the store; counts are cached for KEPT_SECONDS."""

    def __init__(self, reader: StoreReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._reading = asyncio.Lock()
        self._counts: DashboardCounts | None = None
        self._read_at = 0.0

    async def figures(self, destinations: Sequence[str]) -> DashboardFigures:
        """Return the figures; dead deliveries are listed for these destinations only. Raises StoreError."""
        counts = await self._counted()
        latest, dead = await self._reader.run(_newest, destinations)
        return DashboardFigures(self._clock.now_ms(), counts, latest, dead)

    async def _counted(self) -> "DashboardCounts":
        # Imported here and below, because most of the time nobody looks at the dashboard.
        from notifier.store.queries import dashboard  # noqa: PLC0415

        async with self._reading:
            now = self._clock.monotonic()
            if self._counts is None or now - self._read_at >= KEPT_SECONDS:
                self._counts = await self._reader.run(dashboard.read_counts, self._clock.now_ms())
                self._read_at = now
            return self._counts


def _newest(db: Database, destinations: Sequence[str]) -> "tuple[list[LatestEvent], list[DeadDelivery]]":
    from notifier.store.queries import dashboard  # noqa: PLC0415

    return dashboard.latest_events(db, _LATEST), dashboard.dead_deliveries(db, destinations, _DEAD)
