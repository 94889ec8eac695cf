"""The object of `/v1/status` while no daemon runs: what the state file remembers."""

from collections.abc import Collection
from typing import Any

from sqlite_utils import Database

from notifier.daemon.status import destination_status, source_status, status_document, sweep_status
from notifier.kpa.failures import Reason
from notifier.ledger import conditions, destinations, sources, sweeps
from notifier.ledger.destinations import DestinationMemory, Health
from notifier.ledger.sources import SourceMemory
from notifier.watch.health import SourceState


def remembered_status(
    db: Database, source_names: Collection[str], destination_names: Collection[str], now_ms: int
) -> dict[str, Any]:
    """Describe the configured sources and destinations, and what fires; those never heard of have not begun."""
    known_sources = sources.everything(db)
    known_destinations = destinations.everything(db)
    described_sources = {}
    for name in source_names:
        memory = known_sources.get(name, SourceMemory())
        sweep = sweep_status(sweeps.latest(db, name), running=False)
        state = remembered_state(memory, now_ms)
        described_sources[name] = source_status(
            memory, state=state, next_poll_ms=None, usage=None, searching=False, sweep=sweep
        )
    described_destinations = {}
    for name in destination_names:
        known = known_destinations.get(name, DestinationMemory(Health()))
        described_destinations[name] = destination_status(known, known.health)
    return status_document(None, described_sources, described_destinations, conditions.everything(db))


def remembered_state(memory: SourceMemory, now_ms: int) -> SourceState:
    """Tell how a source was doing when it was last looked at. Pure."""
    if memory.silent_until_ms is not None and now_ms < memory.silent_until_ms:
        limited = memory.silent_reason == Reason.RATE_LIMIT_EXCEEDED
        return SourceState.RATE_LIMITED if limited else SourceState.FAILING
    if memory.error is not None and memory.error.at_ms > (memory.last_success_ms or 0):
        return SourceState.FAILING
    return SourceState.STARTING if memory.last_success_ms is None else SourceState.OK
