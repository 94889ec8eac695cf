"""The figures of the dashboard, however many people look at it."""

import asyncio
from collections.abc import Sequence
from typing import Final

from sqlite_utils import Database

from notifier.clock import Clock
from notifier.ledger import figures
from notifier.ledger.figures import Counts, GivenUp, LatestEvent
from notifier.ledger.ledger import Ledger
from notifier.web.control import Figures

KEPT: Final = 2.0
"""Seconds for which counts are shown again before they are read anew: their smallest unit is a quarter of an hour."""

_LATEST: Final = 20
_DEAD: Final = 5


class Overview:
    """Reads them from the ledger: what changes by the second each time, what was counted every KEPT seconds."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        """Take where they are read; nothing is read yet."""
        self._ledger = ledger
        self._clock = clock
        self._reading = asyncio.Lock()
        self._counts: Counts | None = None
        self._read_at = 0.0

    async def figures(self, destinations: Sequence[str]) -> Figures:
        """Return the figures; of dead deliveries those to these destinations. Raises LedgerError."""
        counts = await self._counted()
        latest, dead = await self._ledger.run(_newest, destinations)
        return Figures(self._clock.now_ms(), counts, latest, dead)

    async def _counted(self) -> Counts:
        async with self._reading:
            now = self._clock.monotonic()
            if self._counts is None or now - self._read_at >= KEPT:
                self._counts = await self._ledger.run(figures.counts, self._clock.now_ms())
                self._read_at = now
            return self._counts


def _newest(db: Database, destinations: Sequence[str]) -> tuple[list[LatestEvent], list[GivenUp]]:
    return figures.latest(db, _LATEST), figures.dead(db, destinations, _DEAD)
