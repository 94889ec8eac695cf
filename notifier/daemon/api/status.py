"""The JSON object of `/v1/status`, made from the store and the running parts."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from notifier import __version__
from notifier.clock import iso_utc
from notifier.delivery.health import Serving, told_state
from notifier.kpa.rate_limiter import Priority, Usage
from notifier.store.tables import destinations, holds, replays, sweeps
from notifier.store.tables.conditions import FiringCondition
from notifier.store.tables.destinations import DestinationMemory, Health, HealthState, LastError
from notifier.store.tables.holds import HeldExamples
from notifier.store.tables.replays import ReplayRun, ReplayState
from notifier.store.tables.second_looks import LookKind
from notifier.store.tables.sources import SourceError, SourceMemory
from notifier.store.tables.sweeps import Sweep
from notifier.watch.observations import Question, Trouble


@dataclass(frozen=True, slots=True)
class RememberedStatus:
    """The part of the status that the store holds, read at one moment; by name of source or destination."""

    destinations: Mapping[str, DestinationMemory]
    replays: Sequence[ReplayRun]
    sweeps: Mapping[str, Sweep]
    examples: Mapping[str, HeldExamples]


def remembered_status(db: Database, holding: Collection[str]) -> RememberedStatus:
    """Read the store's part of the status, with examples of held records for the sources in `holding`."""
    return RememberedStatus(
        destinations.everything(db),
        replays.under_way(db),
        sweeps.latest_of_each(db),
        {name: holds.examples(db, name) for name in holding},
    )


def _moment(ms: int | None) -> str | None:
    return None if ms is None else iso_utc(ms)


def _error(error: SourceError | LastError | None) -> dict[str, Any] | None:
    return None if error is None else {"reason": error.reason, "message": error.message, "at": iso_utc(error.at_ms)}


def sweep_status(sweep: Sweep | None, *, running: bool) -> dict[str, Any] | None:
    """Return the description of a source's newest sweep; None if there was none yet."""
    if sweep is None:
        return None
    return {
        "running": running,
        "started_at": iso_utc(sweep.started_ms),
        "finished_at": _moment(sweep.finished_ms),
        "next_page": sweep.next_page,
        "last_page": sweep.last_page,
        "records": sweep.records,
        "changes": sweep.changes,
    }


def source_status(
    memory: SourceMemory,
    *,
    state: str,
    next_poll_ms: int | None,
    usage: Usage | None,
    searching: bool,
    sweep: dict[str, Any] | None,
    waiting: Mapping[LookKind, int],
    examples: HeldExamples,
    troubles: Mapping[Question, Trouble],
) -> dict[str, Any]:
    """Return the description of one source.

    `usage` is None without a running daemon. `waiting` counts the records that wait for a second look, by kind.
    `troubles` are the questions to the API that fail now.
    """
    return {
        "state": state,
        "records": memory.records,
        "unreadable": memory.unreadable,
        "unreadable_example": _unreadable(memory),
        "unexplained": memory.unexplained,
        "count_offset": memory.count_offset,
        "held": {
            "removals": {"records": memory.held},
            "arrivals": {"records": memory.held_arrivals, "example": examples.arrival},
            "changes": {"records": memory.held_changes, "field": memory.held_field, "example": examples.change},
        },
        "waiting": {kind.value: waiting.get(kind, 0) for kind in LookKind},
        "last_success": _moment(memory.last_success_ms),
        "next_poll": _moment(next_poll_ms),
        "requests": usage.total if usage else 0,
        "budget": _budget(usage),
        "searching": searching,
        "last_error": _error(memory.error),
        "failing": {
            it.value: {"reason": trouble.reason, "message": trouble.message} for it, trouble in troubles.items()
        },
        "sweep": sweep,
        "last_sweep": _moment(memory.swept_at_ms),
    }


def _unreadable(memory: SourceMemory) -> dict[str, Any] | None:
    """Return the description of one unreadable record; None if all records can be read."""
    if not memory.unreadable:
        return None
    return {
        "record": memory.unreadable_key,
        "field": memory.unreadable_field,
        "problem": memory.unreadable_problem,
    }


def _budget(usage: Usage | None) -> dict[str, Any]:
    """Return the requests per minute that are configured, allowed now, used (by purpose), and the number waiting."""
    return {
        "configured": usage and usage.configured,
        "allowed": usage and usage.allowed,
        "used": usage and usage.used,
        "waiting": usage and usage.waiting,
        "by": {urgency.label: usage and usage.by.get(urgency.label, 0) for urgency in Priority},
    }


def destination_status(memory: DestinationMemory, serving: Serving | None) -> dict[str, Any]:
    """Return the description of one destination; `serving` comes from its worker and is more recent than `memory`."""
    health = memory.health if serving is None else serving.health
    learned = memory.learned if serving is None else serving.learned
    is_draining = serving is not None and serving.is_draining
    return {
        "state": told_state(health, memory.pending, is_draining=is_draining, was_tried=memory.was_tried),
        "reason": health.reason,
        "pending": memory.pending,
        "delivered": memory.delivered,
        "dead": memory.dead,
        "oldest_pending": _moment(memory.oldest_pending_ms),
        "next_attempt": _moment(_next_attempt(memory, health, None if serving is None else serving.waits_until_ms)),
        "learned": {"rate": learned.rate, "batch_size": learned.batch_limit},
        "last_error": _error(memory.last_error),
    }


def _next_attempt(memory: DestinationMemory, health: Health, waits_until_ms: int | None) -> int | None:
    """Return when the next waiting delivery is tried (Unix ms); None if it is tried at once, or none waits."""
    if not memory.pending or health.state is HealthState.DISABLED:
        return None
    return max(waits_until_ms or health.retry_at_ms or 0, memory.next_attempt_ms or 0) or None


def condition_status(standing: FiringCondition) -> dict[str, Any]:
    """Return the description of one condition that fires."""
    return {
        "condition": standing.name,
        "subject": standing.subject,
        "summary": standing.summary,
        "since": iso_utc(standing.since_ms),
        "net": standing.net or None,
        "cause": standing.cause or None,
        "remedy": standing.remedy or None,
        "lived_seconds": round(standing.lived_ms / 1000),
    }


def replays_status(under_way: Iterable[ReplayRun]) -> list[dict[str, Any]]:
    """Return the progress of the replays that are not finished, one object per destination."""
    return [
        {"id": it.id, "destination": part.destination, "deliveries": part.planned, "queued": part.queued}
        for it in under_way
        for part in it.parts
        if part.state is ReplayState.RUNNING
    ]


def status_document(
    started_ms: int | None,
    sources: Mapping[str, dict[str, Any]],
    destinations: Mapping[str, dict[str, Any]],
    conditions: Iterable[FiringCondition],
    evaluation: Mapping[str, Any],
    replays: Iterable[ReplayRun],
) -> dict[str, Any]:
    """Return the JSON object of `/v1/status`."""
    return {
        "version": __version__,
        "started_at": _moment(started_ms),
        "sources": dict(sources),
        "destinations": dict(destinations),
        "evaluation": dict(evaluation),
        "conditions": [condition_status(standing) for standing in conditions],
        "replays": replays_status(replays),
    }
