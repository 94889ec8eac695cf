"""The JSON object of `/v1/status` while no daemon runs, built only from the store."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from notifier.clock import Clock
from notifier.daemon.api.status import (
    destination_status,
    evaluation_status,
    source_status,
    status_document,
    store_status,
    sweep_status,
)
from notifier.kpa.errors import ApiErrorReason
from notifier.store.database import Database
from notifier.store.tables import conditions, destinations, holds, replays, second_looks, sources, sweeps
from notifier.store.tables.destinations import DestinationMemory, Health
from notifier.store.tables.sources import SourceMemory
from notifier.watch.source_health import SourceState

if TYPE_CHECKING:
    from notifier.web.response_models.status import StatusDocument


def stored_status_document(
    db: Database, source_names: Collection[str], destination_names: Collection[str], clock: Clock
) -> "StatusDocument":
    """Return the JSON object of `/v1/status` for the given sources and destinations.

    Without stored state, a source is shown as `starting`, and a destination is shown as `untried`.
    """
    now_ms = clock.now_ms()
    known_sources = sources.read_all(db)
    known_destinations = destinations.read_all(db)
    described_sources = {}
    for name in source_names:
        memory = known_sources.get(name, SourceMemory())
        sweep = sweep_status(sweeps.latest(db, name), running=False)
        state = stored_source_state(memory, now_ms)
        described_sources[name] = source_status(
            memory,
            state=state,
            next_poll_ms=None,
            usage=None,
            searching=False,
            sweep=sweep,
            waiting=second_looks.count_waiting(db, name),
            examples=holds.examples(db, name),
            request_failures={},
        )
    described_destinations = {}
    for name in destination_names:
        known = known_destinations.get(name, DestinationMemory(Health()))
        described_destinations[name] = destination_status(known, None)
    return status_document(
        None,
        described_sources,
        described_destinations,
        conditions.read_firing(db),
        evaluation_status(None, 0.0),
        replays.running(db),
        store_status(db, clock),
    )


def stored_source_state(memory: SourceMemory, now_ms: int) -> SourceState:
    """Return the state of a source according to the data in the store. Pure."""
    if memory.silent_until_ms is not None and now_ms < memory.silent_until_ms:
        limited = memory.silent_reason == ApiErrorReason.RATE_LIMIT_EXCEEDED
        return SourceState.RATE_LIMITED if limited else SourceState.FAILING
    if memory.error is not None and memory.error.at_ms > (memory.last_success_ms or 0):
        return SourceState.FAILING
    return SourceState.STARTING if memory.last_success_ms is None else SourceState.OK
