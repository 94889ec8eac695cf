"""The history of each condition, and the one transaction that stores a change of conditions with its notices."""

from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Any, Final

import orjson
from msgspec import Struct
from msgspec.structs import astuple, replace

from notifier.clock import iso_utc
from notifier.events import Event, EventType, alert_event_id
from notifier.store.database import Database
from notifier.wording.sentences import Sentence, is_known

_MOST_TOGETHER: Final = 100
"""The most conditions in one message, so that the message can name the subject of each."""


class ConditionState(StrEnum):
    """The state in a notice: the condition holds, was resolved, or was withdrawn although it may not be resolved."""

    FIRING = "firing"
    RESOLVED = "resolved"
    WITHDRAWN = "withdrawn"


class Phase(StrEnum):
    """The phase of a condition.

    `BEGUN`: it holds, but not for long enough to be reported. `FIRING`: it holds and can be reported. `OVER`: it has
    ended, but is the same condition if it returns soon.
    """

    BEGUN = "begun"
    FIRING = "firing"
    OVER = "over"


class FiringCondition(Struct, frozen=True):
    """The stored history of a condition; times in Unix milliseconds.

    `name` is plain text, because another version of the program may have other conditions. `told_ms` is when a notice
    last reported that it fires, None if none did; `told_to` is the destination of that notice. The condition was seen
    for `lived_ms` in all, in one or more processes, and has now been absent for `well_ms`. It ends when it was absent
    for `ends_after_ms`; `ending` says why it ended. `messages` counts its notices in the day that began at
    `counted_from_ms`. `returns` counts how often it came back soon after its end. `texts` is the JSON of what `summary`
    and `remedy` are made of, "" if it is not known.
    """

    name: str
    subject: str
    summary: str
    since_ms: int
    told_ms: int | None = None
    phase: Phase = Phase.FIRING
    net: str = ""
    cause: str = ""
    remedy: str = ""
    lived_ms: int = 0
    well_ms: int = 0
    ends_after_ms: int = 0
    ended_ms: int | None = None
    ending: str = ""
    told_to: str = ""
    messages: int = 0
    counted_from_ms: int = 0
    returns: int = 0
    texts: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """The identity of the condition."""
        return self.name, self.subject


class Notice(Struct, frozen=True):
    """A change of a condition: its new state, the reason for recording it, and the destination of the notice.

    `destination` is None if no notice is sent. `is_forgotten` means that the history of the condition is deleted.
    """

    state: ConditionState
    standing: FiringCondition
    reason: str
    destination: str | None
    is_forgotten: bool = False


class Handover(Struct, frozen=True):
    """The last message to destination `old`: the firing conditions, and who gets notices now (`new`; "": nobody)."""

    old: str
    new: str
    lives: Sequence[FiringCondition]


ALERTS_MOVED: Final = "alerts_moved"
"""The value of `condition` in the last message to a former destination; no condition has this name."""


class Written(Struct, frozen=True):
    """What the writing of notices has changed.

    `events` are those of the notices, in order. `withdrawn` are the destinations for which notices were waiting that
    are not sent any more.
    """

    events: Sequence[Event] = ()
    withdrawn: frozenset[str] = frozenset()


_COLUMNS: Final = (
    "name, subject, summary, since, told_at, phase, net, cause, remedy, lived, well, ends_after, ended_at, ending,"
    " told_to, messages, counted_from, returns, texts"
)
_PLACES: Final = ", ".join("?" * len(_COLUMNS.split(", ")))
_REPLACED: Final = ", ".join(f"{column} = excluded.{column}" for column in _COLUMNS.split(", ")[2:])


def everything(db: Database) -> tuple[FiringCondition, ...]:
    """Return the firing conditions, the longest lasting first."""
    return tuple(life for life in lives(db) if life.phase is Phase.FIRING)


def lives(db: Database) -> tuple[FiringCondition, ...]:
    """Return the histories of all conditions, the longest lasting first."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM conditions ORDER BY since, name, subject")
    return tuple(replace(FiringCondition(*row), phase=Phase(row[5])) for row in rows.fetchall())


def write(db: Database, notices: Sequence[Notice], now_ms: int, handovers: Sequence[Handover] = ()) -> Written:
    """Store conditions, and write the events of their notices with one delivery each, all or nothing.

    Conditions with the same name and cause share an event. A waiting notice is withdrawn if a later one about the same
    conditions replaces it. An event whose id already exists is not written again.
    """
    for notice in notices:
        _remember(db, notice)
    events: list[Event] = []
    withdrawn = set()
    for together in grouped(notices):
        event, outdated = _tell(db, together, now_ms)
        events += [] if event is None else [event]
        withdrawn |= {str(together[0].destination)} if outdated else set()
    for handover in handovers:
        event, outdated = _hand_over(db, handover, now_ms)
        events += [] if event is None else [event]
        withdrawn |= {handover.old} if outdated else set()
    return Written(tuple(events), frozenset(withdrawn))


def grouped(notices: Sequence[Notice]) -> list[Sequence[Notice]]:
    """Return the notices in groups that share a message: conditions of one name, cause and kind of subject."""
    groups: dict[tuple[str, ...], list[Notice]] = {}
    for notice in notices:
        if notice.destination is not None:
            it = notice.standing
            kind, _, name = it.subject.partition("/")
            key = (notice.state, notice.reason, it.name, it.cause, kind, notice.destination, "" if name else it.subject)
            groups.setdefault(key, []).append(notice)
    return [group[at : at + _MOST_TOGETHER] for group in groups.values() for at in range(0, len(group), _MOST_TOGETHER)]


_UNDELIVERED: Final = (
    "FROM deliveries d JOIN events e USING (sequence)"
    " WHERE d.destination = :name AND d.state <> 'delivered' AND e.type = :type"
    " AND (d.state = 'pending' OR NOT EXISTS (SELECT 1 FROM deliveries l JOIN events n USING (sequence)"
    " WHERE l.destination = :name AND l.state = 'delivered' AND n.type = :type AND l.sequence > d.sequence))"
)
"""Undelivered notices to a destination: those that wait, and given-up ones after which none was delivered."""


def undelivered_since(db: Database, destination: str) -> int | None:
    """Return since when a notice to this destination is undelivered (Unix ms); None if none is."""
    (since_ms,) = db.execute(
        f"SELECT min(coalesce(d.queued_at, e.detected_at)) {_UNDELIVERED}",
        {"name": destination, "type": EventType.ALERT},
    ).fetchone()
    return None if since_ms is None else int(since_ms)


def refusal(db: Database, destination: str, reasons: Collection[str]) -> str | None:
    """Return the latest of `reasons` for which a notice was refused, with the HTTP status; None if none was."""
    rows = db.execute(
        f"SELECT d.reason, d.status {_UNDELIVERED} AND d.reason IS NOT NULL ORDER BY d.last_attempt_at DESC",
        {"name": destination, "type": EventType.ALERT},
    )
    found = next(((reason, status) for reason, status in rows if reason in reasons), None)
    if found is None:
        return None
    reason, status = found
    return str(reason) if status is None else f"{reason}, HTTP {status}"


def _remember(db: Database, notice: Notice) -> None:
    it = notice.standing
    if notice.is_forgotten:
        db.execute("DELETE FROM conditions WHERE name = ? AND subject = ?", [it.name, it.subject])
        return
    db.execute(
        f"INSERT INTO conditions ({_COLUMNS}) VALUES ({_PLACES}) ON CONFLICT (name, subject) DO UPDATE SET {_REPLACED}",
        [*astuple(it)],
    )


def _tell(db: Database, together: Sequence[Notice], now_ms: int) -> tuple[Event | None, int]:
    """Write the event of notices that share a message; return it, and how many waiting notices it replaces.

    The event is None if it exists already.
    """
    first = together[0]
    destination = str(first.destination)
    subject = subject_of(together)
    since_ms = min(notice.standing.since_ms for notice in together)
    names = ",".join(notice.standing.subject for notice in together)
    identifier = alert_event_id(first.standing.name, names, first.state, since_ms, now_ms)
    event = _written(db, identifier, subject, first.reason, notice_data(together), now_ms)
    if event is None:
        return None, 0
    waited = _withdraw(db, first.standing.name, {notice.standing.subject for notice in together}, destination)
    _queue(db, event, destination, min(waited, default=None))
    return event, len(waited)


def _hand_over(db: Database, handover: Handover, now_ms: int) -> tuple[Event | None, int]:
    """Write the last message to a destination; return it, and how many waiting notices it replaces.

    The message lists only conditions for which a notice was delivered there. If there are none, the event is None.
    """
    heard = [life for life in handover.lives if _has_heard(db, handover.old, life)]
    waited = [
        since_ms
        for name, subjects in _by_name(handover.lives).items()
        for since_ms in _withdraw(db, name, set(subjects), handover.old)
    ]
    if not heard:
        return None, len(waited)
    told = ",".join(f"{life.name} {life.subject}" for life in heard)
    identifier = alert_event_id(ALERTS_MOVED, f"{handover.old}>{handover.new}:{told}", "withdrawn", now_ms, now_ms)
    data = _handover_data(replace(handover, lives=heard), now_ms)
    event = _written(db, identifier, "alerts", "handed_over", data, now_ms)
    if event is not None:
        _queue(db, event, handover.old, None)
    return event, len(waited)


def _has_heard(db: Database, destination: str, life: FiringCondition) -> bool:
    """Return whether a notice about this condition was delivered to a destination."""
    rows = db.execute(
        "SELECT e.subject, e.data FROM events e JOIN deliveries d USING (sequence) WHERE d.destination = ?"
        " AND d.state = 'delivered' AND e.type = ? AND e.detected_at >= ? AND json_extract(e.data, '$.condition') = ?",
        [destination, EventType.ALERT, life.since_ms, life.name],
    )
    return any(life.subject in orjson.loads(data).get("subjects", [subject]) for subject, data in rows)


def _written(db: Database, identifier: str, subject: str, reason: str, data: bytes, now_ms: int) -> Event | None:
    """Write a notice as an event; return None if the event exists already."""
    # A notice has no source, no revision and no detection method.
    row = db.execute(
        "INSERT INTO events (id, type, source, subject, revision, net, reason, detected_at, data)"
        " VALUES (?, ?, '', ?, 0, '', ?, ?, ?) ON CONFLICT (id) DO NOTHING RETURNING sequence",
        [identifier, EventType.ALERT, subject, reason, now_ms, data.decode()],
    ).fetchone()
    return None if row is None else Event(row[0], identifier, EventType.ALERT, "", subject, now_ms, data)


def _queue(db: Database, event: Event, destination: str, queued_ms: int | None) -> None:
    db.execute(
        "INSERT INTO deliveries (sequence, destination, queued_at) VALUES (?, ?, ?)",
        [event.sequence, destination, queued_ms],
    )


def _withdraw(db: Database, name: str, subjects: set[str], destination: str) -> list[int]:
    """Remove waiting notices about these conditions and no others from the queue; return since when each waited."""
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


def subject_of(together: Sequence[Notice]) -> str:
    """Return the subject of notices that share a message: their only subject, or the kind of the subjects."""
    subject = together[0].standing.subject
    return subject if len(together) == 1 else subject.partition("/")[0]


def notice_data(together: Sequence[Notice]) -> bytes:
    """Return the JSON of an event's `data` for notices that share a message."""
    first = together[0]
    it = first.standing
    return orjson.dumps(
        {
            "condition": it.name,
            "state": first.state,
            "subject": subject_of(together),
            "subjects": [notice.standing.subject for notice in together],
            "summary": _summary(together),
            "since": iso_utc(min(notice.standing.since_ms for notice in together)),
            "cause": it.cause,
            "net": it.net,
            "remedy": it.remedy,
            "ending": it.ending,
            **_texts(together),
        }
    )


def _handover_data(handover: Handover, now_ms: int) -> bytes:
    """Return the JSON of an event's `data` for the last message to a destination."""
    now_go = f"alerts now go to {handover.new}" if handover.new else "alerts now go to nobody"
    shown = handover.lives[:_MOST_TOGETHER]
    stands: Any = [_in_words(name, subjects) for name, subjects in _by_name(shown).items()]
    if more := len(handover.lives) - len(shown):
        stands = Sentence("alerts_moved.more", conditions=stands, count=more)
    if handover.new:
        summary = Sentence("alerts_moved.elsewhere", new=handover.new, conditions=stands)
    else:
        summary = Sentence("alerts_moved.nowhere", conditions=stands)
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
            "conditions": [{"condition": life.name, "subject": life.subject} for life in handover.lives],
        }
    )


def _in_words(name: str, subjects: Sequence[str]) -> str:
    """Return what is wrong, with the names of the sources or destinations concerned."""
    # Another version may have had other conditions.
    title = Sentence(f"{name}.title") if is_known(f"{name}.title") else name.replace("_", " ")
    names = [whose for subject in subjects if (whose := subject.partition("/")[2])]
    return Sentence("alerts_moved.condition", names=", ".join(names), title=title) if names else title


def _by_name(lives: Sequence[FiringCondition]) -> dict[str, list[str]]:
    """Return the subjects of conditions, by the conditions' names."""
    found: dict[str, list[str]] = {}
    for life in lives:
        found.setdefault(life.name, []).append(life.subject)
    return found


def _summary(together: Sequence[Notice]) -> str:
    first = together[0].standing
    return first.summary if len(together) == 1 else _about_several(together, first.summary)


def _about_several(together: Sequence[Notice], first: str) -> Sentence:
    kind = together[0].standing.subject.partition("/")[0]
    names = ", ".join(notice.standing.subject.partition("/")[2] for notice in together)
    return Sentence(f"general.{kind}", count=len(together), names=names, first=first)


def _texts(together: Sequence[Notice]) -> dict[str, Any]:
    """Return what the sentences of notices that share a message are made of, if it is known."""
    text = together[0].standing.texts
    if not text:
        return {}
    known: dict[str, Any] = orjson.loads(text)
    if len(together) > 1:
        about = _about_several(together, "").document()
        about["values"]["first"] = known["summary"]
        known["summary"] = about
    return {"texts": known}
