"""The history of a record as a JSON object, for `/v1/records/KEY` and `notifier explain`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from notifier.clock import iso_utc
from notifier.daemon.api.delivery import delivery_document
from notifier.daemon.api.record_sentences import (
    DETECTION_SENTENCES,
    HISTORY_SENTENCES,
    NEEDED_ANSWERS,
    UNCONFIRMED_CHANGES,
    UNSENT_SENTENCES,
    UnsentReason,
    reason_sentence,
    unjudged_sentence,
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


def known_histories(db: Database, key: str) -> list[RecordHistory]:
    """Return the history of a record at each source that has the record. Raises UnknownRecordError if none has it."""
    known = record_histories(db, key)
    if not known:
        seen = left_out.of_record(db, key) if can_be_stored(key) else {}
        raise UnknownRecordError(key, {source: record.problem for source, record in seen.items()})
    return known


def record_document(
    db: Database, key: str, subscriptions: Sequence[Subscription], confirm_after: Mapping[str, float]
) -> "RecordDocument":
    """Return the JSON object of `/v1/records/KEY`. Raises UnknownRecordError if no source has the record.

    `subscriptions` are the present filters of all destinations. `confirm_after` maps each source to the number of
    seconds after which a second request checks a change.
    """
    return {
        "key": key,
        "sources": {
            history.source: history_document(history, subscriptions, confirm_after.get(history.source))
            for history in known_histories(db, key)
        },
    }


class WithheldChange(Struct, frozen=True):
    """An unreported change of a record; times are Unix milliseconds."""

    kind: str
    """Why there is no report yet. `held_arrivals`, `held_changes`: too many changes came at once. `unreadable`: the
    record cannot be read. Any other value is the kind of second look that must confirm the change.
    """
    why: str
    """The reason in words."""
    missing: str
    """What must happen before the report."""
    since_ms: int | None = None
    not_before_ms: int | None = None
    """The earliest time of the report; None if unknown."""


def withheld_changes(history: RecordHistory, confirm_after: float | None) -> list[WithheldChange]:
    """Return the changes of a record that are not reported yet. Pure.

    `confirm_after` is the number of seconds after which a second request checks a change; None if the source is not
    configured.
    """
    found = []
    if history.held:
        found.append(
            _held_change(history.source, Direction.ARRIVALS, "it appeared together with many others", history.seen_ms)
        )
    if history.held_field is not None:
        why_held = f"its `{history.held_field}` changed, at the same time as in many other records"
        found.append(_held_change(history.source, Direction.CHANGES, why_held))
    if history.unreadable is not None:
        reason = f"it is in the list, but its present content cannot be read: {history.unreadable.problem}"
        found.append(WithheldChange("unreadable", reason, "content that can be read: correct the record in KPA Flex"))
    if look := history.look:
        reason = UNCONFIRMED_CHANGES[look.kind]
        not_before_ms = None
        if look.since_ms is None:
            reason = (
                f"{reason}; a later answer contradicted this, so the wait starts again with the next answer that"
                " shows it"
            )
        elif confirm_after is not None:
            not_before_ms = look.since_ms + round(confirm_after * 1000)
        found.append(WithheldChange(look.kind, reason, NEEDED_ANSWERS[look.kind], look.since_ms, not_before_ms))
    return found


def _held_change(source: str, direction: Direction, reason: str, since_ms: int | None = None) -> WithheldChange:
    release = (
        f"your decision: `notifier release {source} {direction}`, with `--silently` to accept it without reporting"
    )
    return WithheldChange(f"held_{direction}", f"{reason}, and is held back", release, since_ms)


def deleted_revisions(history: RecordHistory) -> tuple[int, ...]:
    """Return the numbers of the revisions whose events have been deleted. Pure.

    Every revision without an event had one once, except revision 1 of a record that was first stored silently.
    """
    unreported = {1} if history.reason in HISTORY_SENTENCES else set()
    return tuple(revision for revision in history.revisions_without_event if revision not in unreported)


def unsent_reasons(source: str, event: EventHistory, subscriptions: Sequence[Subscription]) -> dict[str, UnsentReason]:
    """Return the names of the destinations to which an event is not sent, each with the reason. Pure."""
    sent_to = {history.delivery.destination for history in event.deliveries}
    return {
        it.destination: UnsentReason(
            it.rejecting_filter(event.type, source, event.training_id, event.user_id, event.known)
            or UnsentReason.CONFIGURED_LATER
        )
        for it in subscriptions
        if it.destination not in sent_to
    }


def unjudged_filters(event: EventHistory, subscriptions: Sequence[Subscription]) -> dict[str, tuple[Filter, ...]]:
    """For each destination that an event was sent to, return the filters that could not be applied to the event. Pure.

    A filter could not be applied if the data that it checks was unknown when the event was written. `subscriptions` are
    the present filters of all destinations.
    """
    sent_to = {history.delivery.destination for history in event.deliveries}
    found = {
        it.destination: it.undecided_filters(event.user_id, event.known)
        for it in subscriptions
        if it.destination in sent_to
    }
    return {destination: filters for destination, filters in found.items() if filters}


def history_document(
    history: RecordHistory, subscriptions: Sequence[Subscription], confirm_after: float | None
) -> "LifeDocument":
    """Return the history of a record at one source as a JSON object.

    `confirm_after` is the number of seconds between a change and the second request that checks it. It is None if the
    source is not configured. The key `forgotten` of the result lists the revisions whose events have been deleted.
    """
    return {
        "source": history.source,
        "key": history.key,
        "user_id": history.user_id,
        "user_name": history.user_name,
        "training_id": history.training_id,
        "training_title": history.training_title,
        "completed_on": history.completed_on,
        "recorded_at": _iso_or_none(history.recorded_ms),
        "seen_at": iso_utc(history.seen_ms),
        "removed_at": _iso_or_none(history.removed_ms),
        "revision": history.revision,
        "in_view": not history.out_of_view,
        "withheld": [_withheld_document(one) for one in withheld_changes(history, confirm_after)],
        **_detection(history),
        "forgotten": deleted_revisions(history),
        "events": [_event_document(history.source, event, subscriptions) for event in history.events],
    }


def _withheld_document(change: WithheldChange) -> "WithheldDocument":
    return {
        "what": change.kind,
        "why": change.why,
        "missing": change.missing,
        "since": _iso_or_none(change.since_ms),
        "not_before": _iso_or_none(change.not_before_ms),
    }


def _event_document(source: str, event: EventHistory, subscriptions: Sequence[Subscription]) -> "LifeEventDocument":
    unsent, unjudged = unsent_reasons(source, event, subscriptions), unjudged_filters(event, subscriptions)
    return {
        "sequence": event.sequence,
        "id": event.id,
        "type": event.type,
        "revision": event.revision,
        "detected_at": iso_utc(event.detected_ms),
        **_detection(event),
        "changes": {name: {"old": change.old, "new": change.new} for name, change in event.changes.items()},
        "deliveries": [_delivery_document(history) for history in event.deliveries],
        "not_told": unsent,
        "not_told_why": {destination: UNSENT_SENTENCES[reason] for destination, reason in unsent.items()},
        "not_judged": unjudged,
        "not_judged_why": {destination: unjudged_sentence(filters) for destination, filters in unjudged.items()},
    }


def _detection(detected: RecordHistory | EventHistory) -> "FoundDocument":
    return {
        "net": detected.detected_by,
        "reason": detected.reason,
        "found": DETECTION_SENTENCES[detected.detected_by],
        "why": reason_sentence(detected.reason),
    }


def _delivery_document(history: DeliveryHistory) -> "DeliveryLifeDocument":
    """Return a delivery as a JSON object that includes its attempts."""
    return {
        **delivery_document(history.delivery),
        "attempt_log": [_attempt_document(attempt) for attempt in history.attempts],
    }


def _attempt_document(attempt: PastAttempt) -> "AttemptDocument":
    return {
        "attempted_at": iso_utc(attempt.attempted_ms),
        "milliseconds": attempt.milliseconds,
        "decision": attempt.decision,
        "reason": attempt.reason,
        "status": attempt.status,
        "detail": attempt.detail,
    }


def _iso_or_none(ms: int | None) -> str | None:
    return None if ms is None else iso_utc(ms)
