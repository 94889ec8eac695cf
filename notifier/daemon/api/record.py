"""A record's history for `/v1/records/KEY` and `notifier explain`: one object for each source with the record."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from notifier.clock import iso_utc
from notifier.daemon.api.delivery import delivery_document
from notifier.daemon.api.record_sentences import (
    FOUND,
    HISTORY,
    MISSING,
    NOT_TOLD,
    WAITS_FOR,
    NotTold,
    not_judged_why,
    why,
)
from notifier.store.database import Database
from notifier.store.queries.record_history import (
    DeliveryHistory,
    EventHistory,
    PastAttempt,
    RecordHistory,
    can_be_stored,
    record_histories,
)
from notifier.store.subscriptions import Filter, Subscription
from notifier.store.tables import left_out
from notifier.watch.detection.holds import Direction
from notifier.web.daemon_api import UnknownRecordError

if TYPE_CHECKING:
    from notifier.web.response_models.records import (
        AttemptDocument,
        DeliveryLifeDocument,
        FoundDocument,
        LifeDocument,
        LifeEventDocument,
        RecordDocument,
        WithheldDocument,
    )


def known_lives(db: Database, key: str) -> list[RecordHistory]:
    """Return a record's histories, one for each source with the record. Raises UnknownRecordError if there is none."""
    known = record_histories(db, key)
    if not known:
        seen = left_out.of_record(db, key) if can_be_stored(key) else {}
        raise UnknownRecordError(key, {source: record.problem for source, record in seen.items()})
    return known


def record_document(
    db: Database, key: str, subscriptions: Sequence[Subscription], confirm_after: Mapping[str, float]
) -> "RecordDocument":
    """Return the object of `/v1/records/KEY`. Raises UnknownRecordError if no source knows the record.

    `subscriptions` are the filters of the destinations that are configured now. `confirm_after` is, by source, the
    number of seconds after which a second request checks a change.
    """
    return {
        "key": key,
        "sources": {
            life.source: life_document(life, subscriptions, confirm_after.get(life.source))
            for life in known_lives(db, key)
        },
    }


class Withheld(Struct, frozen=True):
    """A change of a record that is not reported yet, and the reason; times are Unix milliseconds.

    `what` is the kind of second look (a request that has to confirm the change), the kind of change of which too many
    came at once, or `unreadable`. `missing` says what has to happen before the report. `not_before_ms` is the earliest
    time of the report; None if the wait has to begin again, if somebody has to release or correct the record, or if the
    source is not configured.
    """

    what: str
    why: str
    missing: str
    since_ms: int | None = None
    not_before_ms: int | None = None


def withheld(life: RecordHistory, confirm_after: float | None) -> list[Withheld]:
    """Return the changes of a record that are not reported yet; `confirm_after` is in seconds. Pure."""
    found = []
    if life.held:
        found.append(_held(life.source, Direction.ARRIVALS, "it appeared together with many others", life.seen_ms))
    if life.held_field is not None:
        why_held = f"its `{life.held_field}` changed, at the same time as in many other records"
        found.append(_held(life.source, Direction.CHANGES, why_held))
    if life.unreadable is not None:
        reason = f"it is in the list, but its present content cannot be read: {life.unreadable.problem}"
        found.append(Withheld("unreadable", reason, "content that can be read: correct the record in KPA Flex"))
    if look := life.look:
        reason = WAITS_FOR[look.kind]
        not_before_ms = None
        if look.since_ms is None:
            reason = (
                f"{reason}; a later answer contradicted this, so the wait starts again with the next answer that"
                " shows it"
            )
        elif confirm_after is not None:
            not_before_ms = look.since_ms + round(confirm_after * 1000)
        found.append(Withheld(look.kind, reason, MISSING[look.kind], look.since_ms, not_before_ms))
    return found


def _held(source: str, what: Direction, reason: str, since_ms: int | None = None) -> Withheld:
    release = f"your decision: `notifier release {source} {what}`, with `--silently` to accept it without reporting"
    return Withheld(f"held_{what}", f"{reason}, and is held back", release, since_ms)


def forgotten(life: RecordHistory) -> tuple[int, ...]:
    """Return the revisions that were reported and whose events have been deleted since. Pure.

    These are all revisions without an event, except the first revision of a record that was stored silently.
    """
    never_told = {1} if life.reason in HISTORY else set()
    return tuple(revision for revision in life.revisions_without_event if revision not in never_told)


def not_told(source: str, event: EventHistory, subscriptions: Sequence[Subscription]) -> dict[str, NotTold]:
    """Return the reason for each destination to which this event is not sent, by the destination's name. Pure."""
    told = {life.delivery.destination for life in event.deliveries}
    return {
        it.destination: NotTold(
            it.rejecting_filter(event.type, source, event.training_id, event.user_id, event.known)
            or NotTold.CONFIGURED_LATER
        )
        for it in subscriptions
        if it.destination not in told
    }


def not_judged(event: EventHistory, subscriptions: Sequence[Subscription]) -> dict[str, tuple[Filter, ...]]:
    """Return, by destination to which this event was sent, the filters that could not be judged. Pure.

    A filter cannot be judged if what it compares was unknown when the event was written. The filters are the present
    ones.
    """
    told = {life.delivery.destination for life in event.deliveries}
    found = {
        it.destination: it.undecided_filters(event.user_id, event.known)
        for it in subscriptions
        if it.destination in told
    }
    return {destination: filters for destination, filters in found.items() if filters}


def life_document(
    life: RecordHistory, subscriptions: Sequence[Subscription], confirm_after: float | None
) -> "LifeDocument":
    """Return the record's history at one source as a JSON object.

    `confirm_after` is the number of seconds after which a second request checks a change; None if the source is not
    configured. In the object, `forgotten` lists the revisions whose events have been deleted.
    """
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
        "in_view": not life.out_of_view,
        "withheld": [_withheld(one) for one in withheld(life, confirm_after)],
        **_found(life),
        "forgotten": forgotten(life),
        "events": [_event(life.source, event, subscriptions) for event in life.events],
    }


def _withheld(one: Withheld) -> "WithheldDocument":
    return {
        "what": one.what,
        "why": one.why,
        "missing": one.missing,
        "since": _moment(one.since_ms),
        "not_before": _moment(one.not_before_ms),
    }


def _event(source: str, event: EventHistory, subscriptions: Sequence[Subscription]) -> "LifeEventDocument":
    untold, unjudged = not_told(source, event, subscriptions), not_judged(event, subscriptions)
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
        "not_judged": unjudged,
        "not_judged_why": {destination: not_judged_why(filters) for destination, filters in unjudged.items()},
    }


def _found(what: RecordHistory | EventHistory) -> "FoundDocument":
    return {"net": what.net, "reason": what.reason, "found": FOUND[what.net], "why": why(what.reason)}


def _delivery(life: DeliveryHistory) -> "DeliveryLifeDocument":
    """Return a delivery as `notifier deliveries --json` prints it, with all its attempts."""
    return {**delivery_document(life.delivery), "attempt_log": [_attempt(attempt) for attempt in life.attempts]}


def _attempt(attempt: PastAttempt) -> "AttemptDocument":
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
