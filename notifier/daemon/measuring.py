"""What `/metrics` says: gathered from the ledger in one look, from the living parts, and from what was counted."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sqlite_utils import Database

from notifier.clock import Clock
from notifier.conditions import Key
from notifier.daemon import disk
from notifier.daemon.sources import Sources
from notifier.deliver.dispatcher import Dispatcher
from notifier.ledger import conditions, destinations, sources, sweeps
from notifier.ledger.destinations import DestinationMemory
from notifier.ledger.ledger import Ledger
from notifier.ledger.sources import SourceMemory
from notifier.ledger.sweeps import Sweep
from notifier.web.metrics.counts import Counts
from notifier.web.metrics.figures import DestinationFigures, Figures, StoreFigures


class Measuring:
    """Writes the page, at the moment when it is asked for."""

    def __init__(
        self, counts: Counts, ledger: Ledger, dispatcher: Dispatcher, clock: Clock, readers: Callable[[], int]
    ) -> None:
        """Take what has counted and those who know how things stand; `readers` tells how many the stream has."""
        self._counts = counts
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._clock = clock
        self._readers = readers

    async def page(self, started_ms: int, watched: Sources) -> bytes:
        """Return the page. Raises LedgerError."""
        known_sources, known_sweeps, known_destinations, firing = await self._ledger.run(_remembered)
        room = await disk.room_beside(self._ledger.path)
        files = await asyncio.to_thread(file_sizes, self._ledger.path)
        health = self._dispatcher.health()
        figures = Figures(
            now_ms=self._clock.now_ms(),
            started_ms=started_ms,
            sources=watched.figures(known_sources, known_sweeps),
            destinations={
                name: destination_figures(known_destinations[name], health[name].state)
                for name in health
                if name in known_destinations
            },
            conditions=firing,
            store=StoreFigures(files, room.free),
            readers=self._readers(),
        )
        # A page of a thousand sources takes a good part of a second to write.
        return await asyncio.to_thread(self._counts.page, figures)


def destination_figures(memory: DestinationMemory, state: str) -> DestinationFigures:
    """Describe one destination; `state` is newer than the ledger's."""
    return DestinationFigures(state, memory.pending, memory.dead, memory.delivered, memory.oldest_pending_ms)


def file_sizes(state_file: Path) -> dict[str, int]:
    """Return the bytes of the state file and its write-ahead log, which may not be there."""
    paths = {"database": state_file, "wal": state_file.with_name(f"{state_file.name}-wal")}
    return {name: _size(path) for name, path in paths.items()}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _remembered(
    db: Database,
) -> tuple[Mapping[str, SourceMemory], Mapping[str, Sweep], Mapping[str, DestinationMemory], Sequence[Key]]:
    return (
        sources.everything(db),
        sweeps.latest_of_each(db),
        destinations.everything(db),
        [(standing.name, standing.subject) for standing in conditions.everything(db)],
    )
