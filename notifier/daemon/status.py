"""The state of things as `/v1/status` tells it: one object, made of what the ledger and the living parts know."""

from collections.abc import Iterable, Mapping
from typing import Any

from notifier import __version__
from notifier.clock import iso_utc
from notifier.kpa.budget import Usage
from notifier.ledger.conditions import Standing
from notifier.ledger.destinations import DestinationMemory, Health, LastError
from notifier.ledger.sources import SourceError, SourceMemory
from notifier.ledger.sweeps import Sweep


def _moment(ms: int | None) -> str | None:
    return None if ms is None else iso_utc(ms)


def _error(error: SourceError | LastError | None) -> dict[str, Any] | None:
    return None if error is None else {"reason": error.reason, "message": error.message, "at": iso_utc(error.at_ms)}


def sweep_status(sweep: Sweep | None, *, running: bool) -> dict[str, Any] | None:
    """Describe a source's newest sweep; None when there was none yet."""
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
) -> dict[str, Any]:
    """Describe one source; `usage` is None when no daemon asks for anything."""
    return {
        "state": state,
        "records": memory.records,
        "last_success": _moment(memory.last_success_ms),
        "next_poll": _moment(next_poll_ms),
        "requests": usage.total if usage else 0,
        "budget": _budget(usage),
        "searching": searching,
        "last_error": _error(memory.error),
        "sweep": sweep,
    }


def _budget(usage: Usage | None) -> dict[str, Any]:
    """Describe requests per minute: what is configured, allowed now, and was used in the last one; and what waits."""
    return {
        "configured": usage and usage.configured,
        "allowed": usage and usage.allowed,
        "used": usage and usage.used,
        "waiting": usage and usage.waiting,
    }


def destination_status(memory: DestinationMemory, health: Health) -> dict[str, Any]:
    """Describe one destination; `health` is newer than the ledger's where a worker is alive."""
    return {
        "state": health.state,
        "reason": health.reason,
        "pending": memory.pending,
        "delivered": memory.delivered,
        "dead": memory.dead,
        "oldest_pending": _moment(memory.oldest_pending_ms),
        "last_error": _error(memory.last_error),
    }


def condition_status(standing: Standing) -> dict[str, Any]:
    """Describe one condition that fires."""
    return {
        "condition": standing.name,
        "subject": standing.subject,
        "summary": standing.summary,
        "since": iso_utc(standing.since_ms),
    }


def status_document(
    started_ms: int | None,
    sources: Mapping[str, dict[str, Any]],
    destinations: Mapping[str, dict[str, Any]],
    conditions: Iterable[Standing],
) -> dict[str, Any]:
    """Put the object of `/v1/status` together."""
    return {
        "version": __version__,
        "started_at": _moment(started_ms),
        "sources": dict(sources),
        "destinations": dict(destinations),
        "conditions": [condition_status(standing) for standing in conditions],
    }
