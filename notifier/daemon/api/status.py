"""The JSON object of `/v1/status`, built from the store and the running parts of the daemon."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from notifier import __version__
from notifier.alerts.evaluation import Evaluation
from notifier.clock import Clock, iso_utc
from notifier.delivery.health import ServiceSnapshot, state_to_show
from notifier.kpa.rate_limiter import Priority, Usage
from notifier.store.database import Database, Engine
from notifier.store.tables import destinations, holds, replays, sweeps
from notifier.store.tables.conditions import StoredCondition
from notifier.store.tables.destinations import DestinationMemory, Health, HealthState, LastError
from notifier.store.tables.holds import HeldExamples
from notifier.store.tables.replays import ReplayRun, ReplayState
from notifier.store.tables.second_looks import LookKind
from notifier.store.tables.sources import SourceError, SourceMemory
from notifier.store.tables.sweeps import Sweep
from notifier.watch.observations import RequestCategory, RequestFailure
from notifier.watch.source_health import SourceState

if TYPE_CHECKING:
    from notifier.web.response_models.status import (
        BudgetDocument,
        ConditionDocument,
        DestinationDocument,
        EvaluationDocument,
        LastErrorDocument,
        ReplayUnderWayDocument,
        SourceDocument,
        StatusDocument,
        StoreDocument,
        SweepDocument,
        UnreadableDocument,
    )


class StoredStatus(Struct, frozen=True):
    """Data for the status, read from the store. The keys of each mapping are names of sources or of destinations."""

    destinations: Mapping[str, DestinationMemory]
    replays: Sequence[ReplayRun]
    sweeps: Mapping[str, Sweep]
    examples: Mapping[str, HeldExamples]


def read_stored_status(db: Database, holding: Collection[str]) -> StoredStatus:
    """Read data for the status from the store. Examples of held records are read only for the sources in `holding`."""
    return StoredStatus(
        destinations.read_all(db),
        replays.running(db),
        sweeps.latest_of_each(db),
        {name: holds.examples(db, name) for name in holding},
    )


def _iso_or_none(ms: int | None) -> str | None:
    return None if ms is None else iso_utc(ms)


def _error_document(error: SourceError | LastError | None) -> "LastErrorDocument | None":
    return None if error is None else {"reason": error.reason, "message": error.message, "at": iso_utc(error.at_ms)}


def sweep_status(sweep: Sweep | None, *, running: bool) -> "SweepDocument | None":
    """Return the JSON object of a source's latest sweep; None if there was no sweep yet."""
    if sweep is None:
        return None
    return {
        "running": running,
        "started_at": iso_utc(sweep.started_ms),
        "finished_at": _iso_or_none(sweep.finished_ms),
        "next_page": sweep.next_page,
        "last_page": sweep.last_page,
        "records": sweep.records,
        "changes": sweep.changes,
    }


def source_status(
    memory: SourceMemory,
    *,
    state: SourceState,
    next_poll_ms: int | None,
    usage: Usage | None,
    searching: bool,
    sweep: "SweepDocument | None",
    waiting: Mapping[LookKind, int],
    examples: HeldExamples,
    request_failures: Mapping[RequestCategory, RequestFailure],
) -> "SourceDocument":
    """Return the JSON object of one source.

    `usage` is None without a running daemon. `waiting` counts the records with an unconfirmed change, by kind of second
    look. `request_failures` has the kinds of requests to the API that fail now.
    """
    return {
        "state": state,
        "records": memory.records,
        "unreadable": memory.unreadable,
        "unreadable_example": _unreadable_document(memory),
        "unexplained": memory.unexplained,
        "count_offset": memory.count_offset,
        "held": {
            "removals": {"records": memory.held},
            "arrivals": {"records": memory.held_arrivals, "example": examples.arrival},
            "changes": {"records": memory.held_changes, "field": memory.held_field, "example": examples.change},
        },
        "waiting": {
            "removal": waiting.get(LookKind.REMOVAL, 0),
            "return": waiting.get(LookKind.RETURN, 0),
            "earlier_form": waiting.get(LookKind.EARLIER_FORM, 0),
        },
        "last_success": _iso_or_none(memory.last_success_ms),
        "next_poll": _iso_or_none(next_poll_ms),
        "requests": usage.total if usage else 0,
        "budget": _budget_document(usage),
        "searching": searching,
        "last_error": _error_document(memory.error),
        "failing": {
            it.value: {"reason": failure.reason, "message": failure.message} for it, failure in request_failures.items()
        },
        "sweep": sweep,
        "last_sweep": _iso_or_none(memory.swept_at_ms),
    }


def _unreadable_document(memory: SourceMemory) -> "UnreadableDocument | None":
    """Return the JSON object of an example of an unreadable record; None if all records can be read."""
    if not memory.unreadable:
        return None
    return {
        "record": memory.unreadable_key,
        "field": memory.unreadable_field,
        "problem": memory.unreadable_problem,
    }


def _budget_document(usage: Usage | None) -> "BudgetDocument":
    """Return the numbers of requests as a JSON object; all are null without a running daemon.

    `configured` and `allowed` are limits per minute. `used` counts the requests of the last minute, and `by` counts the
    same requests for each purpose. `waiting` counts the requests that the limit delays.
    """
    return {
        "configured": None if usage is None else usage.configured,
        "allowed": None if usage is None else usage.allowed,
        "used": None if usage is None else usage.used,
        "waiting": None if usage is None else usage.waiting,
        "by": {
            "head": _used_by(usage, Priority.HEAD),
            "count": _used_by(usage, Priority.COUNT),
            "confirm": _used_by(usage, Priority.CONFIRM),
            "search": _used_by(usage, Priority.SEARCH),
            "sweep": _used_by(usage, Priority.SWEEP),
            "names": _used_by(usage, Priority.NAMES),
        },
    }


def _used_by(usage: Usage | None, purpose: Priority) -> int | None:
    return None if usage is None else usage.by.get(purpose.label, 0)


def destination_status(memory: DestinationMemory, serving: ServiceSnapshot | None) -> "DestinationDocument":
    """Return the JSON object of one destination.

    `memory` is the destination's state in the store. `serving` is the present state of the destination's worker; None
    without a running daemon.
    """
    health = memory.health if serving is None else serving.health
    learned = memory.learned if serving is None else serving.learned
    is_draining = serving is not None and serving.is_draining
    return {
        "state": state_to_show(
            health, memory.pending - memory.scheduled, is_draining=is_draining, was_tried=memory.was_tried
        ),
        "reason": health.reason,
        "pending": memory.pending,
        "delivered": memory.delivered,
        "dead": memory.dead,
        "oldest_pending": _iso_or_none(memory.oldest_pending_ms),
        "next_attempt": _iso_or_none(
            _next_attempt(memory, health, None if serving is None else serving.waits_until_ms)
        ),
        # The events of a disabled destination wait until the destination is enabled, not until a scheduled time.
        "scheduled": 0 if health.state is HealthState.DISABLED else memory.scheduled,
        "scheduled_for": None if health.state is HealthState.DISABLED else _iso_or_none(memory.scheduled_for_ms),
        "learned": {"rate": learned.rate, "batch_size": learned.batch_limit},
        "last_error": _error_document(memory.last_error),
    }


def _next_attempt(memory: DestinationMemory, health: Health, waits_until_ms: int | None) -> int | None:
    """Return the time of the destination's next attempt (Unix ms).

    If the attempt is due now, if no delivery waits, or if the destination is disabled, return None.
    """
    if not memory.pending or health.state is HealthState.DISABLED:
        return None
    return max(waits_until_ms or health.retry_at_ms or 0, memory.next_attempt_ms or 0) or None


def condition_status(condition: StoredCondition) -> "ConditionDocument":
    """Return the JSON object of one firing condition."""
    return {
        "condition": condition.name,
        "subject": condition.subject,
        "summary": condition.summary,
        "since": iso_utc(condition.since_ms),
        "net": condition.category or None,
        "cause": condition.cause or None,
        "remedy": condition.remedy or None,
        "lived_seconds": round(condition.seen_ms / 1000),
    }


def evaluation_status(evaluation: Evaluation | None, now: float, alerts_to: str = "") -> "EvaluationDocument":
    """Return the JSON object of the latest evaluation of conditions; `evaluation` is None if no daemon runs.

    `alerts_to` is the destination of alerts. If there is none, `alerts_to` is "heartbeat" if a heartbeat is configured,
    otherwise "".
    """
    if evaluation is None:
        return {
            "at": None,
            "age_seconds": None,
            "well": False,
            "alerts_to": alerts_to or None,
            "undelivered_seconds": None,
        }
    return {
        "at": iso_utc(evaluation.at_ms),
        "age_seconds": round(max(0.0, now - evaluation.at_seconds), 1),
        "well": evaluation.is_healthy(now),
        "alerts_to": alerts_to or None,
        "undelivered_seconds": None
        if evaluation.undelivered_seconds is None
        else round(evaluation.undelivered_seconds, 1),
    }


def replays_status(under_way: Iterable[ReplayRun]) -> "list[ReplayUnderWayDocument]":
    """Return the progress of unfinished replays: one JSON object for each replay and destination."""
    return [
        {"id": it.id, "destination": part.destination, "deliveries": part.planned, "queued": part.queued}
        for it in under_way
        for part in it.parts
        if part.state is ReplayState.RUNNING
    ]


def file_status() -> "StoreDocument":
    """Return the JSON object of a state file. Only `kind` is not null: the other keys are about a database."""
    return {"kind": "file", "holder": None, "since": None, "clock_ahead_seconds": None}


def store_status(db: Database, clock: Clock) -> "StoreDocument":
    """Return the JSON object of the store: its kind and, for a database, the process that holds it."""
    if db.engine is Engine.SQLITE:
        return file_status()
    # Imported here, because a state file needs no library of PostgreSQL.
    from notifier.store.postgres import holders, server_clock  # noqa: PLC0415

    holder = holders.latest_holder(db)
    ahead_seconds = server_clock.server_clock_ahead_ms(db, clock.now_ms) / 1000
    if holder is None or holder.until_ms is not None:
        return {"kind": "postgres", "holder": None, "since": None, "clock_ahead_seconds": ahead_seconds}
    since = iso_utc(holder.since_ms)
    return {"kind": "postgres", "holder": holder.name, "since": since, "clock_ahead_seconds": ahead_seconds}


def status_document(
    started_ms: int | None,
    sources: "Mapping[str, SourceDocument]",
    destinations: "Mapping[str, DestinationDocument]",
    conditions: Iterable[StoredCondition],
    evaluation: "EvaluationDocument",
    replays: Iterable[ReplayRun],
    store: "StoreDocument",
) -> "StatusDocument":
    """Return the JSON object of `/v1/status`."""
    return {
        "version": __version__,
        "started_at": _iso_or_none(started_ms),
        "sources": dict(sources),
        "destinations": dict(destinations),
        "evaluation": evaluation,
        "conditions": [condition_status(standing) for standing in conditions],
        "replays": replays_status(replays),
        "store": store,
    }
