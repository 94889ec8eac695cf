"""Alerts about conditions: stores changed conditions together with the events and deliveries of their alerts."""

from collections.abc import Collection, Sequence
from typing import Any, Final

import orjson
from msgspec import Struct
from msgspec.structs import replace

from notifier.clock import iso_utc
from notifier.events import Event, EventType, alert_event_id
from notifier.store.database import Database
from notifier.store.tables import events
from notifier.store.tables.conditions import ConditionChange, ConditionState, StoredCondition, store_change
from notifier.wording.sentences import Sentence, has_text

_MAX_PER_ALERT: Final = 100
"""Maximum number of conditions in one alert, so that the alert can name the subject of each."""


class Handover(Struct, frozen=True):
    """The move of all alerts from the destination `old` to the destination `new`.

    If `new` is "", alerts have no destination any more. A last alert to `old` lists the firing `conditions`.
    """

    old: str
    new: str
    conditions: Sequence[StoredCondition]


ALERTS_MOVED: Final = "alerts_moved"
"""The value of `condition` in the last alert to the `old` destination of a Handover; no condition has this name."""


class WrittenAlerts(Struct, frozen=True):
    """The result of writing alerts.

    `events` are the events of the alerts, in order. `withdrawn` are the destinations for which waiting alerts were
    withdrawn.
    """

    events: Sequence[Event] = ()
    withdrawn: frozenset[str] = frozenset()


def write(
    db: Database, changes: Sequence[ConditionChange], now_ms: int, handovers: Sequence[Handover] = ()
) -> WrittenAlerts:
    """Store changed conditions, and write the events of their alerts; all or nothing. Each event gets one delivery.

    Conditions with the same name and cause share an event. A waiting alert is withdrawn if a newer one about the same
    conditions replaces it. An event whose id exists is not written again.
    """
    for change in changes:
        store_change(db, change)
    written: list[Event] = []
    withdrawn = set()
    for group in group_by_alert(changes):
        event, outdated = _write_alert(db, group, now_ms)
        written += [] if event is None else [event]
        withdrawn |= {str(group[0].destination)} if outdated else set()
    for handover in handovers:
        event, outdated = _write_handover(db, handover, now_ms)
        written += [] if event is None else [event]
        withdrawn |= {handover.old} if outdated else set()
    return WrittenAlerts(tuple(written), frozenset(withdrawn))


def group_by_alert(changes: Sequence[ConditionChange]) -> list[Sequence[ConditionChange]]:
    """Return the changes in groups that share an alert: conditions of one name, cause and kind of subject."""
    groups: dict[tuple[str, ...], list[ConditionChange]] = {}
    for change in changes:
        if change.destination is not None:
            it = change.condition
            kind, _, name = it.subject.partition("/")
            key = (change.state, change.reason, it.name, it.cause, kind, change.destination, "" if name else it.subject)
            groups.setdefault(key, []).append(change)
    return [group[at : at + _MAX_PER_ALERT] for group in groups.values() for at in range(0, len(group), _MAX_PER_ALERT)]


_UNDELIVERED: Final = (
    "FROM deliveries d JOIN events e USING (sequence)"
    " WHERE d.destination = :name AND d.state <> 'delivered' AND e.type = :type"
    " AND (d.state = 'pending' OR NOT EXISTS (SELECT 1 FROM deliveries l JOIN events n USING (sequence)"
    " WHERE l.destination = :name AND l.state = 'delivered' AND n.type = :type AND l.sequence > d.sequence))"
)
"""Undelivered alerts to a destination: waiting ones, and given-up ones if no later alert was delivered."""


def oldest_undelivered_ms(db: Database, destination: str) -> int | None:
    """Return when the oldest undelivered alert to a destination was queued (Unix ms); None if there is none."""
    (since_ms,) = db.execute(
        f"SELECT min(coalesce(d.queued_at, e.detected_at)) {_UNDELIVERED}",
        {"name": destination, "type": EventType.ALERT},
    ).fetchone()
    return None if since_ms is None else int(since_ms)


def latest_refusal(db: Database, destination: str, reasons: Collection[str]) -> str | None:
    """Return the reason, and the HTTP status if any, of the latest refusal of an alert that is still undelivered.

    Only refusals by this destination for one of these `reasons` count. If there are none, return None.
    """
    rows = db.execute(
        f"SELECT d.reason, d.status {_UNDELIVERED} AND d.reason IS NOT NULL ORDER BY d.last_attempt_at DESC",
        {"name": destination, "type": EventType.ALERT},
    )
    found = next(((reason, status) for reason, status in rows if reason in reasons), None)
    if found is None:
        return None
    reason, status = found
    return str(reason) if status is None else f"{reason}, HTTP {status}"


def _write_alert(db: Database, group: Sequence[ConditionChange], now_ms: int) -> tuple[Event | None, int]:
    """Write the event of changes that share an alert.

    Returns the event, and how many waiting alerts it replaces. If the event exists already, nothing is written: return
    None and 0.
    """
    first = group[0]
    destination = str(first.destination)
    subject = common_subject(group)
    since_ms = min(change.condition.since_ms for change in group)
    names = ",".join(change.condition.subject for change in group)
    identifier = alert_event_id(first.condition.name, names, first.state, since_ms, now_ms)
    event = _insert_alert(db, identifier, subject, first.reason, alert_data(group), now_ms)
    if event is None:
        return None, 0
    waited = _withdraw_waiting(db, first.condition.name, {change.condition.subject for change in group}, destination)
    events.insert_deliveries(db, event, [destination], queued_ms=min(waited, default=None))
    return event, len(waited)


def _write_handover(db: Database, handover: Handover, now_ms: int) -> tuple[Event | None, int]:
    """Write the last alert to `handover.old`; return its event, and how many waiting alerts it replaces.

    The last alert lists only the conditions about which that destination received an alert. Without such conditions,
    no last alert is written, and the event is None.
    """
    alerted = [it for it in handover.conditions if _was_alerted(db, handover.old, it)]
    waited = [
        since_ms
        for name, subjects in _subjects_by_name(handover.conditions).items()
        for since_ms in _withdraw_waiting(db, name, set(subjects), handover.old)
    ]
    if not alerted:
        return None, len(waited)
    names = ",".join(f"{it.name} {it.subject}" for it in alerted)
    identifier = alert_event_id(ALERTS_MOVED, f"{handover.old}>{handover.new}:{names}", "withdrawn", now_ms, now_ms)
    data = _handover_data(replace(handover, conditions=alerted), now_ms)
    event = _insert_alert(db, identifier, "alerts", "handed_over", data, now_ms)
    if event is not None:
        events.insert_deliveries(db, event, [handover.old])
    return event, len(waited)


def _was_alerted(db: Database, destination: str, condition: StoredCondition) -> bool:
    """Return whether an alert about this condition was delivered to a destination."""
    rows = db.execute(
        "SELECT e.subject, e.data FROM events e JOIN deliveries d USING (sequence) WHERE d.destination = ?"
        " AND d.state = 'delivered' AND e.type = ? AND e.detected_at >= ? AND json_extract(e.data, '$.condition') = ?",
        [destination, EventType.ALERT, condition.since_ms, condition.name],
    )
    return any(condition.subject in orjson.loads(data).get("subjects", [subject]) for subject, data in rows)


def _insert_alert(db: Database, identifier: str, subject: str, reason: str, data: bytes, now_ms: int) -> Event | None:
    """Insert the event of an alert; return None if the event exists already."""
    # An alert has no source, no revision and no detection method.
    return events.insert(db, Event(0, identifier, EventType.ALERT, "", subject, now_ms, data), reason=reason)


def _withdraw_waiting(db: Database, name: str, subjects: set[str], destination: str) -> list[int]:
    """Delete the waiting alerts whose subjects are all among `subjects`; return when each was queued (Unix ms)."""
    rows = db.execute(
        "SELECT d.sequence, coalesce(d.queued_at, e.detected_at), e.subject, e.data FROM deliveries d"
        " JOIN events e USING (sequence) WHERE d.destination = ? AND d.state = 'pending' AND d.state <> 'delivered'"
        " AND e.type = ? AND json_extract(e.data, '$.condition') = ?",
        [destination, EventType.ALERT, name],
    ).fetchall()
    outdated = [
        (sequence, since_ms)
        for sequence, since_ms, subject, data in rows
        if set(orjson.loads(data).get("subjects", [subject])) <= subjects
    ]
    for sequence, _ in outdated:
        db.execute("DELETE FROM deliveries WHERE sequence = ? AND destination = ?", [sequence, destination])
    return [since_ms for _, since_ms in outdated]


def common_subject(group: Sequence[ConditionChange]) -> str:
    """Return the subject of an alert. For one change, it is the change's subject; for several, the kind of subject."""
    subject = group[0].condition.subject
    return subject if len(group) == 1 else subject.partition("/")[0]


def alert_data(group: Sequence[ConditionChange]) -> bytes:
    """Return the JSON of an event's `data` for changes that share an alert."""
    first = group[0]
    it = first.condition
    return orjson.dumps(
        {
            "condition": it.name,
            "state": first.state,
            "subject": common_subject(group),
            "subjects": [change.condition.subject for change in group],
            "summary": _summary(group),
            "since": iso_utc(min(change.condition.since_ms for change in group)),
            "cause": it.cause,
            "net": it.category,
            "remedy": it.remedy,
            "ending": it.ending,
            **_texts(group),
        }
    )


def _handover_data(handover: Handover, now_ms: int) -> bytes:
    """Return the JSON of an event's `data` for the last alert to a destination."""
    now_go = f"alerts now go to {handover.new}" if handover.new else "alerts now go to nobody"
    shown = handover.conditions[:_MAX_PER_ALERT]
    described: Any = [_describe(name, subjects) for name, subjects in _subjects_by_name(shown).items()]
    if more := len(handover.conditions) - len(shown):
        described = Sentence("alerts_moved.more", conditions=described, count=more)
    if handover.new:
        summary = Sentence("alerts_moved.elsewhere", new=handover.new, conditions=described)
    else:
        summary = Sentence("alerts_moved.nowhere", conditions=described)
    return orjson.dumps(
        {
            "condition": ALERTS_MOVED,
            "state": ConditionState.WITHDRAWN,
            "subject": "alerts",
            "subjects": ["alerts"],
            "summary": str(summary),
            "since": iso_utc(now_ms),
            "cause": "",
            "net": "",
            "remedy": "",
            "ending": now_go,
            "texts": {"summary": summary.document()},
            "conditions": [{"condition": it.name, "subject": it.subject} for it in handover.conditions],
        }
    )


def _describe(name: str, subjects: Sequence[str]) -> str:
    """Return a text that says what is wrong, with the names of the affected sources or destinations."""
    # Another version may have had other conditions.
    title = Sentence(f"{name}.title") if has_text(f"{name}.title") else name.replace("_", " ")
    names = [whose for subject in subjects if (whose := subject.partition("/")[2])]
    return Sentence("alerts_moved.condition", names=", ".join(names), title=title) if names else title


def _subjects_by_name(conditions: Sequence[StoredCondition]) -> dict[str, list[str]]:
    """Return the subjects of conditions, by the conditions' names."""
    found: dict[str, list[str]] = {}
    for condition in conditions:
        found.setdefault(condition.name, []).append(condition.subject)
    return found


def _summary(group: Sequence[ConditionChange]) -> str:
    first = group[0].condition
    return first.summary if len(group) == 1 else _group_summary(group, first.summary)


def _group_summary(group: Sequence[ConditionChange], first: str) -> Sentence:
    kind = group[0].condition.subject.partition("/")[0]
    names = ", ".join(change.condition.subject.partition("/")[2] for change in group)
    return Sentence(f"general.{kind}", count=len(group), names=names, first=first)


def _texts(group: Sequence[ConditionChange]) -> dict[str, Any]:
    """Return the translatable sentences for an alert's data, as a dict with the key `texts`; {} if there are none."""
    text = group[0].condition.texts
    if not text:
        return {}
    known: dict[str, Any] = orjson.loads(text)
    if len(group) > 1:
        about = _group_summary(group, "").document()
        about["values"]["first"] = known["summary"]
        known["summary"] = about
    return {"texts": known}
