"""What is told of replays: how much one sends, and how far it has come."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from sqlite_utils import Database

from notifier.clock import iso_utc
from notifier.config import Settings
from notifier.ledger import again, replays
from notifier.ledger.again import Past, Plan
from notifier.ledger.replays import Part, ReplayMemory

_NONE_YET: Final[Mapping[str, Any]] = MappingProxyType(
    {"id": None, "state": None, "events": 0, "deliveries": 0, "queued": 0, "waits_for": (), "goes_on_since": None}
)


def forgotten_before_ms(settings: Settings, past: Past, now_ms: int) -> int | None:
    """Return before when past events may be forgotten already, if the past that is meant reaches there. Pure."""
    bound_ms = now_ms - round(settings.store.retention * 1000)
    return bound_ms if past.since_ms < bound_ms else None


def plan_document(plan: Plan, forgotten_ms: int | None) -> dict[str, Any]:
    """Say how much a replay sends, and before when what was delivered may be forgotten."""
    return {
        "events": plan.events,
        "deliveries": sum(plan.deliveries.values()),
        "destinations": dict(plan.deliveries),
        "forgotten_before": None if forgotten_ms is None else iso_utc(forgotten_ms),
    }


def replays_document(db: Database) -> dict[str, Any]:
    """Return the object of `GET /v1/replay`: the latest replay, and as `previous` the one before it.

    Without any, all there is to tell is that there was none: its `state` is null.
    """
    told = [_document(db, memory) for memory in replays.latest(db)]
    newest, previous = (*told, None, None)[:2]
    return {**(newest or _NONE_YET), "previous": previous}


def _document(db: Database, memory: ReplayMemory) -> dict[str, Any]:
    """Describe a replay; `goes_on_since` is the moment from which another one would go on."""
    behind = min((part.reached for part in memory.unfinished), default=None)
    behind_ms = None if behind is None else again.detected_ms(db, behind)
    return {
        "id": memory.id,
        "state": memory.state,
        "events": memory.events,
        "deliveries": memory.planned,
        "queued": memory.queued,
        "waits_for": [part.destination for part in memory.unfinished],
        "goes_on_since": None if behind_ms is None else iso_utc(behind_ms),
        "since": iso_utc(memory.past.since_ms),
        "until": iso_utc(memory.past.until_ms),
        "source": memory.past.source,
        "type": memory.past.type,
        "begun_at": iso_utc(memory.begun_ms),
        "ended_at": None if memory.ended_ms is None else iso_utc(memory.ended_ms),
        "destinations": _parts(memory.parts),
    }


def _parts(parts: Sequence[Part]) -> dict[str, dict[str, Any]]:
    return {
        part.destination: {"state": part.state, "deliveries": part.planned, "queued": part.queued} for part in parts
    }
