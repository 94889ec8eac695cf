"""Collects the data of the page `/metrics` from the store, the running parts and the counters."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from notifier.alerts import disk_rules
from notifier.alerts.evaluation import Evaluation
from notifier.clock import Clock
from notifier.daemon.sources import SourceRegistry
from notifier.delivery.dispatcher import Dispatcher
from notifier.delivery.health import ServiceSnapshot, state_to_show
from notifier.store.database import Database
from notifier.store.reader import StoreReader
from notifier.store.tables import destinations, sources, sweeps
from notifier.store.tables.destinations import DestinationMemory
from notifier.store.tables.sources import SourceMemory
from notifier.store.tables.sweeps import Sweep
from notifier.web.metrics.counters import Counters
from notifier.web.metrics.snapshot import DestinationFigures, MetricsSnapshot, StoreFigures


class MetricsCollector:
    """Creates the page `/metrics` for each request."""

    def __init__(
        self,
        counts: Counters,
        reader: StoreReader,
        store_address: str,
        state_file: Path | None,
        dispatcher: Dispatcher,
        clock: Clock,
        stream_readers: Callable[[], int],
        evaluation: Callable[[], Evaluation | None] = lambda: None,
    ) -> None:
        """Initialise with the parts that the figures come from.

        `stream_readers` returns the number of connected readers of the event stream. `evaluation` returns the latest
        evaluation of conditions.
        """
        self._counts = counts
        self._reader = reader
        self._store_address = store_address
        self._state_file = state_file
        self._dispatcher = dispatcher
        self._clock = clock
        self._stream_readers = stream_readers
        self._evaluation = evaluation

    async def page(self, started_ms: int, registry: SourceRegistry) -> bytes:
        """Return the page `/metrics` as bytes. Raises StoreError."""
        known_sources, known_sweeps, known_destinations = await self._reader.run(_read_stored)
        store = None if self._state_file is None else await _file_figures(self._state_file)
        serving, evaluation = self._dispatcher.snapshots(), self._evaluation()
        figures = MetricsSnapshot(
            now_ms=self._clock.now_ms(),
            started_ms=started_ms,
            sources=registry.figures(known_sources, known_sweeps),
            destinations={
                name: destination_figures(known_destinations[name], it)
                for name, it in serving.items()
                if name in known_destinations
            },
            conditions=[] if evaluation is None else [it.key for it in evaluation.firing],
            evaluation_age_seconds=None if evaluation is None else self._clock.monotonic() - evaluation.at_seconds,
            alerts_undelivered_seconds=0.0 if evaluation is None else evaluation.undelivered_seconds or 0.0,
            store_address=self._store_address,
            store=store,
            readers=self._stream_readers(),
        )
        # A page with a thousand sources takes almost a second to create.
        return await asyncio.to_thread(_render, figures, self._counts)


def destination_figures(memory: DestinationMemory, serving: ServiceSnapshot) -> DestinationFigures:
    """Return the figures of one destination.

    `memory` is the destination's state in the store. `serving` is the present state of the destination's worker.
    """
    state = state_to_show(
        serving.health,
        memory.pending - memory.scheduled,
        is_draining=serving.is_draining,
        was_tried=memory.was_tried,
    )
    return DestinationFigures(state, memory.pending, memory.dead, memory.oldest_due_ms)


def _render(figures: MetricsSnapshot, counts: Counters) -> bytes:
    # Imported here, because only a process whose metrics are requested needs Prometheus's library.
    from notifier.web.metrics.page import render  # noqa: PLC0415

    return render(figures, counts.series())


async def _file_figures(state_file: Path) -> StoreFigures:
    room = await disk_rules.measure_free_space(state_file)
    return StoreFigures(await asyncio.to_thread(file_sizes, state_file), room.free_bytes)


def file_sizes(state_file: Path) -> dict[str, int]:
    """Return the sizes in bytes of the state file and of its write-ahead log; a missing file has the size 0."""
    paths = {"database": state_file, "wal": state_file.with_name(f"{state_file.name}-wal")}
    return {name: _size(path) for name, path in paths.items()}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _read_stored(
    db: Database,
) -> tuple[Mapping[str, SourceMemory], Mapping[str, Sweep], Mapping[str, DestinationMemory]]:
    return (
        sources.read_all(db),
        sweeps.latest_of_each(db),
        destinations.read_all(db),
    )
