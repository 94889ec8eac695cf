"""Conditions that fire: what is remembered of each, and the one transaction that notes a turn and tells of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import orjson
from sqlite_utils import Database

from notifier.clock import iso_utc
from notifier.completions import Event, EventType, notice_id


class ConditionState(StrEnum):
    """Whether a condition holds or has passed, as a notice says it."""

    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Standing:
    """A condition that fires; times in Unix milliseconds.

    `name` is a plain word: another version of the program may know other conditions. `told_ms` is when a notice last
    said so, None as long as none has.
    """

    name: str
    subject: str
    summary: str
    since_ms: int
    told_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """A turn that a condition has taken: how it stands now, why that is noted, and the destination that is told.

    `destination` is None where nobody is told. Of a condition that is resolved, `standing` is its last.
    """

    state: ConditionState
    standing: Standing
    reason: str
    destination: str | None


def everything(db: Database) -> tuple[Standing, ...]:
    """Return what fires, the longest first."""
    rows = db.execute("SELECT name, subject, summary, since, told_at FROM conditions ORDER BY since, name, subject")
    return tuple(Standing(*row) for row in rows.fetchall())


def write(db: Database, notices: Sequence[Notice], now_ms: int) -> list[Event]:
    """Note how conditions stand, and write an event with its one delivery for each that is told, all or nothing.

    Returns the events written, in order. An event whose id is there already is not written again.
    """
    for notice in notices:
        _remember(db, notice)
    return [event for notice in notices if (event := _tell(db, notice, now_ms)) is not None]


def _remember(db: Database, notice: Notice) -> None:
    standing = notice.standing
    if notice.state is ConditionState.RESOLVED:
        db.execute("DELETE FROM conditions WHERE name = ? AND subject = ?", [standing.name, standing.subject])
        return
    db.execute(
        "INSERT INTO conditions (name, subject, summary, since, told_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (name, subject) DO UPDATE SET summary = excluded.summary, since = excluded.since,"
        " told_at = excluded.told_at",
        [standing.name, standing.subject, standing.summary, standing.since_ms, standing.told_ms],
    )


def _tell(db: Database, notice: Notice, now_ms: int) -> Event | None:
    if notice.destination is None:
        return None
    standing = notice.standing
    identifier = notice_id(standing.name, standing.subject, notice.state, standing.since_ms, now_ms)
    data = _data(notice)
    # A notice comes from the notifier itself: from no source, no record's revision, and none of the nets.
    cursor = db.execute(
        "INSERT INTO events (id, type, source, subject, revision, net, reason, detected_at, data)"
        " VALUES (?, ?, '', ?, 0, '', ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        [identifier, EventType.ALERT, standing.subject, notice.reason, now_ms, data.decode()],
    )
    if cursor.rowcount == 0 or cursor.lastrowid is None:
        return None
    sequence = cursor.lastrowid
    db.execute("INSERT INTO deliveries (sequence, destination) VALUES (?, ?)", [sequence, notice.destination])
    return Event(sequence, identifier, EventType.ALERT, "", standing.subject, now_ms, data)


def _data(notice: Notice) -> bytes:
    standing = notice.standing
    return orjson.dumps(
        {
            "condition": standing.name,
            "state": notice.state,
            "subject": standing.subject,
            "summary": standing.summary,
            "since": iso_utc(standing.since_ms),
        }
    )
