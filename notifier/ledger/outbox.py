"""Deliveries that wait, and what became of each attempt.

The statements take and give a whole batch as one piece of JSON: SQLite then works through it in a single step, and the
event loop's thread is not interrupted once for every row.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

import orjson
from sqlite_utils import Database

from notifier.completions import Event
from notifier.ledger.counts import count_delivered

# SQLite uses a partial index only where it finds the index's own words.
_UNFINISHED = "state <> 'delivered'"


class DeliveryState(StrEnum):
    """What a delivery is waiting for, if for anything."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one destination; `attempts` made so far, the first one at `first_attempt_ms`."""

    event: Event
    destination: str
    attempts: int
    first_attempt_ms: int | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of one attempt, and when the next one is due (`next_attempt_ms`, 0: as soon as possible)."""

    sequence: int
    destination: str
    state: DeliveryState
    decision: str
    reason: str
    status: int | None
    detail: str
    attempted_ms: int
    milliseconds: int
    next_attempt_ms: int


@dataclass(frozen=True, slots=True)
class Due:
    """Deliveries to attempt now, in the order of detection, and the moment (Unix ms) when others become due."""

    deliveries: tuple[Delivery, ...]
    next_due_ms: int | None


def due(db: Database, destination: str, *, now_ms: int, horizon_ms: int, limit: int, in_flight: Collection[int]) -> Due:
    """Return up to `limit` deliveries whose time has come, without those `in_flight` (sequences).

    One that waits beyond `horizon_ms` was scheduled by a clock that has been set back since: it is due as well.
    """
    batch = db.execute(
        "SELECT json_group_array(json_array(sequence, id, type, source, subject, detected_at, data, attempts,"
        " first_attempt_at)) FROM (SELECT e.sequence, e.id, e.type, e.source, e.subject, e.detected_at, e.data,"
        " d.attempts, d.first_attempt_at FROM deliveries d JOIN events e USING (sequence)"
        f" WHERE d.destination = :destination AND d.state = 'pending' AND d.{_UNFINISHED}"
        " AND d.next_attempt_at NOT BETWEEN :now + 1 AND :horizon"
        " AND d.sequence NOT IN (SELECT value FROM json_each(:in_flight))"
        " ORDER BY d.sequence LIMIT :limit)",
        {
            "destination": destination,
            "now": now_ms,
            "horizon": horizon_ms,
            "in_flight": orjson.dumps(list(in_flight)).decode(),
            "limit": limit,
        },
    ).fetchone()
    deliveries = tuple(
        Delivery(Event(sequence, id_, type_, source, subject, at, data.encode()), destination, attempts, first)
        for sequence, id_, type_, source, subject, at, data, attempts, first in orjson.loads(batch[0])
    )
    if len(deliveries) == limit:
        return Due(deliveries, None)
    later = db.execute(
        "SELECT min(next_attempt_at) FROM deliveries"
        f" WHERE destination = ? AND state = 'pending' AND {_UNFINISHED} AND next_attempt_at > ?",
        [destination, now_ms],
    ).fetchone()
    return Due(deliveries, later[0])


def settle(db: Database, settlements: Sequence[Settlement]) -> None:
    """Write down what became of a batch of attempts."""
    batch = orjson.dumps(
        [
            (
                s.sequence,
                s.destination,
                s.state,
                s.decision,
                s.reason,
                s.status,
                s.detail or None,
                s.attempted_ms,
                s.milliseconds,
                s.next_attempt_ms,
            )
            for s in settlements
        ]
    ).decode()
    db.execute(
        "UPDATE deliveries SET"
        " state = json_extract(value, '$[2]'), decision = json_extract(value, '$[3]'),"
        " reason = json_extract(value, '$[4]'), status = json_extract(value, '$[5]'),"
        " detail = json_extract(value, '$[6]'), attempts = attempts + 1,"
        " first_attempt_at = coalesce(first_attempt_at, json_extract(value, '$[7]')),"
        " last_attempt_at = json_extract(value, '$[7]'), next_attempt_at = json_extract(value, '$[9]')"
        " FROM json_each(?)"
        " WHERE sequence = json_extract(value, '$[0]') AND destination = json_extract(value, '$[1]')",
        [batch],
    )
    db.execute(
        "INSERT INTO attempts (sequence, destination, decision, reason, status, detail, attempted_at, milliseconds)"
        " SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[3]'),"
        " json_extract(value, '$[4]'), json_extract(value, '$[5]'), json_extract(value, '$[6]'),"
        " json_extract(value, '$[7]'), json_extract(value, '$[8]') FROM json_each(?)",
        [batch],
    )
    db.execute(
        "UPDATE destinations SET delivered = delivered + fresh.deliveries FROM"
        " (SELECT json_extract(value, '$[1]') AS name, count(*) AS deliveries FROM json_each(?)"
        " WHERE json_extract(value, '$[2]') = 'delivered' GROUP BY 1) AS fresh WHERE destinations.name = fresh.name",
        [batch],
    )
    count_delivered(db, batch)


def postpone_schedule(db: Database, by_ms: int) -> None:
    """Move every scheduled attempt by `by_ms`, after the wall clock was set by that much."""
    db.execute(
        "UPDATE deliveries SET next_attempt_at = max(0, next_attempt_at + ?)"
        " WHERE state = 'pending' AND next_attempt_at > 0",
        [by_ms],
    )


def stop_give_up_clock(db: Database, destination: str, by_ms: int) -> None:
    """Leave the time that a destination was parked out of the age of what waited for it."""
    db.execute(
        "UPDATE deliveries SET first_attempt_at = first_attempt_at + ? WHERE destination = ? AND state = 'pending'",
        [by_ms, destination],
    )
