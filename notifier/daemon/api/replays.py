"""The JSON objects of the HTTP interface about replays: the plan of a replay, and the progress of replays."""

from typing import TYPE_CHECKING, Final

from notifier.clock import iso_utc
from notifier.config import Settings
from notifier.delivery.replay import MAX_WAITING
from notifier.store.database import Database
from notifier.store.tables import destinations, replays, requeue
from notifier.store.tables.destinations import HealthState
from notifier.store.tables.replays import ReplayRun, ReplayState, ReplayTarget
from notifier.store.tables.requeue import ReplayPlan, ReplayRange
from notifier.web.requests import ReplaySelection

if TYPE_CHECKING:
    from notifier.web.response_models.deliveries import (
        PlanDocument,
        ReplayDocument,
        ReplayProgressDocument,
        ReplayTargetDocument,
    )

_SHORT_PAUSE_MS: Final = 60_000
"""A replay is shown as paused if a new event has waited for more than this many milliseconds.

New events are sent before the events of a replay.
"""

_NO_REPLAY: Final["ReplayDocument"] = {
    "id": None,
    "state": None,
    "events": 0,
    "deliveries": 0,
    "queued": 0,
    "waits_for": [],
    "goes_on_since": None,
    "since": None,
    "until": None,
    "source": None,
    "type": None,
    "begun_at": None,
    "ended_at": None,
    "destinations": {},
}


def replay_range(db: Database, request: ReplaySelection, now_ms: int) -> ReplayRange:
    """Return the range of stored events to replay.

    The range ends with the newest event that is stored now. The result also has the number of the newest attempt. If a
    later attempt delivers an event, the replay does not send this event again.
    """
    until_ms = now_ms if request.until_ms is None else request.until_ms
    newest, newest_attempt = requeue.newest_event_number(db), requeue.newest_attempt_number(db)
    return ReplayRange(request.since_ms, until_ms, newest, request.source, request.type, newest_attempt)


def deleted_before_ms(settings: Settings, past: ReplayRange, now_ms: int) -> int | None:
    """Return the time (Unix ms) before which events may have been deleted. Pure.

    `past` is the range of a replay. If no event in the range can be that old, return None.
    """
    bound_ms = now_ms - round(settings.store.retention * 1000)
    return bound_ms if past.since_ms < bound_ms else None


def plan_document(plan: ReplayPlan, deleted_before_ms: int | None) -> "PlanDocument":
    """Return the plan of a replay as a JSON object; events before `deleted_before_ms` may have been deleted."""
    return {
        "events": plan.events,
        "deliveries": sum(plan.deliveries.values()),
        "destinations": dict(plan.deliveries),
        "forgotten_before": None if deleted_before_ms is None else iso_utc(deleted_before_ms),
    }


def replays_document(db: Database, now_ms: int) -> "ReplayProgressDocument":
    """Return the JSON object of `GET /v1/replay`.

    The object describes the latest replay. `previous` is the replay before it. `others` are all older replays that are
    not finished.
    Without any replay, counts are 0, lists and objects are empty, and all other keys are null.
    """
    documents = [_replay_document(db, memory, now_ms) for memory in replays.latest(db)]
    newest, previous = (*documents, None, None)[:2]
    return {**(newest or _NO_REPLAY), "previous": previous, "others": documents[2:]}


def _replay_document(db: Database, replay: ReplayRun, now_ms: int) -> "ReplayDocument":
    """Return a replay as a JSON object.

    `goes_on_since` is the detection time of the first event that is not queued yet; null if nothing is left. A new
    replay that begins at this time would do the rest of this replay.
    """
    behind = min((part.reached for part in replay.unfinished), default=None)
    behind_ms = None if behind is None else requeue.next_detected_ms(db, behind)
    return {
        "id": replay.id,
        "state": replay.state,
        "events": replay.events,
        "deliveries": replay.planned,
        "queued": replay.queued,
        "waits_for": [part.destination for part in replay.unfinished],
        "goes_on_since": None if behind_ms is None else iso_utc(behind_ms),
        "since": iso_utc(replay.past.since_ms),
        "until": iso_utc(replay.past.until_ms),
        "source": replay.past.source,
        "type": replay.past.type,
        "begun_at": iso_utc(replay.begun_ms),
        "ended_at": None if replay.ended_ms is None else iso_utc(replay.ended_ms),
        "destinations": {part.destination: _target_document(db, part, now_ms) for part in replay.parts},
    }


def _target_document(db: Database, target: ReplayTarget, now_ms: int) -> "ReplayTargetDocument":
    return {
        "state": target.state,
        "deliveries": target.planned,
        "queued": target.queued,
        "waits": _pause_reason(db, target, now_ms),
    }


def _pause_reason(db: Database, target: ReplayTarget, now_ms: int) -> str | None:
    """Return a sentence that says why a replay has paused for `target`; None if it has not paused."""
    if target.state is not ReplayState.RUNNING:
        return None
    name = target.destination
    health = destinations.read_health(db, name)
    if health.state is HealthState.DISABLED:
        return f"`{name}` is disabled; `notifier enable {name}` enables it"
    is_full = requeue.count_due(db, name, now_ms, MAX_WAITING) >= MAX_WAITING
    if not is_full and not requeue.has_new_event(db, name, target.reached, now_ms, now_ms - _SHORT_PAUSE_MS):
        return None
    if health.state is HealthState.RETRYING:
        return f"no delivery to `{name}` succeeds ({health.reason})"
    return f"{MAX_WAITING:,} events already wait for `{name}`" if is_full else f"`{name}` gets new events first"
