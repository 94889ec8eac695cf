"""One record's life as `/v1/records/KEY` and `notifier explain` tell it: one object for each source that knows it."""

from collections.abc import Sequence
from typing import Any

from sqlite_utils import Database

from notifier.clock import iso_utc
from notifier.daemon.sentences import FOUND, HISTORY, NOT_TOLD, NotTold, why
from notifier.ledger.lives import DeliveryLife, EventLife, Life, PastAttempt, lives
from notifier.ledger.subscriptions import Subscription
from notifier.web.control import UnknownRecordError


def known_lives(db: Database, key: str) -> list[Life]:
    """Return the record's life at every source that knows it. Raises UnknownRecordError when none does."""
    known = lives(db, key)
    if not known:
        raise UnknownRecordError(key)
    return known


def record_document(db: Database, key: str, subscriptions: Sequence[Subscription]) -> dict[str, Any]:
    """Return the object of `/v1/records/KEY`. Raises UnknownRecordError when no source knows the record.

    `subscriptions` are those of the destinations that the configuration has now.
    """
    return {"key": key, "sources": {life.source: life_document(life, subscriptions) for life in known_lives(db, key)}}


def forgotten(life: Life) -> tuple[int, ...]:
    """Return the revisions that were told and whose event is no longer kept. Pure.

    That is every one without an event but the first of a record that was learned as history.
    """
    never_told = {1} if life.reason in HISTORY else set()
    return tuple(revision for revision in life.revisions_without_event if revision not in never_told)


def not_told(source: str, event: EventLife, subscriptions: Sequence[Subscription]) -> dict[str, NotTold]:
    """Return why each destination that has no delivery of an event has none. Pure."""
    told = {life.delivery.destination for life in event.deliveries}
    return {
        it.destination: NotTold(
            it.objection(event.type, source, event.training_id, event.user_id) or NotTold.CONFIGURED_LATER
        )
        for it in subscriptions
        if it.destination not in told
    }


def life_document(life: Life, subscriptions: Sequence[Subscription]) -> dict[str, Any]:
    """Describe what one source knows; `forgotten` lists the revisions whose events are no longer kept."""
    return {
        "source": life.source,
        "key": life.key,
        "user_id": life.user_id,
        "user_name": life.user_name,
        "training_id": life.training_id,
        "training_title": life.training_title,
        "completed_on": life.completed_on,
        "recorded_at": _moment(life.recorded_ms),
        "seen_at": iso_utc(life.seen_ms),
        "removed_at": _moment(life.removed_ms),
        "revision": life.revision,
        **_found(life),
        "forgotten": forgotten(life),
        "events": [_event(life.source, event, subscriptions) for event in life.events],
    }


def _event(source: str, event: EventLife, subscriptions: Sequence[Subscription]) -> dict[str, Any]:
    untold = not_told(source, event, subscriptions)
    return {
        "sequence": event.sequence,
        "id": event.id,
        "type": event.type,
        "revision": event.revision,
        "detected_at": iso_utc(event.detected_ms),
        **_found(event),
        "changes": {name: {"old": change.old, "new": change.new} for name, change in event.changes.items()},
        "deliveries": [_delivery(life) for life in event.deliveries],
        "not_told": untold,
        "not_told_why": {destination: NOT_TOLD[reason] for destination, reason in untold.items()},
    }


def _found(what: Life | EventLife) -> dict[str, Any]:
    return {"net": what.net, "reason": what.reason, "found": FOUND[what.net], "why": why(what.reason)}


def _delivery(life: DeliveryLife) -> dict[str, Any]:
    """Describe a delivery as `notifier deliveries --json` does, and each attempt of it."""
    return {**life.delivery.document(), "attempt_log": [_attempt(attempt) for attempt in life.attempts]}


def _attempt(attempt: PastAttempt) -> dict[str, Any]:
    return {
        "attempted_at": iso_utc(attempt.attempted_ms),
        "milliseconds": attempt.milliseconds,
        "decision": attempt.decision,
        "reason": attempt.reason,
        "status": attempt.status,
        "detail": attempt.detail,
    }


def _moment(ms: int | None) -> str | None:
    return None if ms is None else iso_utc(ms)
