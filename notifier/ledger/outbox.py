"""Deliveries that wait, and what became of each attempt.

The statements take and give a whole batch at once: SQLite then works through it in a single step, and the event loop's
thread is not interrupted once for every row.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

import orjson
from sqlite_utils import Database

from notifier.completions import Event

# SQLite uses a partial index only where it finds the index's own words.
_UNFINISHED = "state <> 'delivered'"

LONGEST_RUN = 1000
"""Deliveries in one row of `attempt_runs`; the view `attempts` looks back so far for the run that a delivery is in."""

_BETWEEN_TEXTS = b"\x1e"
"""The record separator of RFC 7464: it stands in no JSON text."""


class DeliveryState(StrEnum):
    """What a delivery is waiting for, if for anything."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class Delivery(NamedTuple):
    """One event on its way to one destination; `attempts` made so far, the first one at `first_attempt_ms`.

    `suspicions` counts those that failed for what may be this event's fault.
    """

    event: Event
    destination: str
    attempts: int
    first_attempt_ms: int | None
    suspicions: int = 0


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of deliveries that shared an attempt and its fate: all that a request carried, or some of it.

    `suspicious`: that it failed may have been the fault of any of these events.

    `next_attempt_ms` is when the next attempt is due (Unix ms, 0: as soon as possible).
    """

    sequences: tuple[int, ...]
    destination: str
    state: DeliveryState
    decision: str
    reason: str
    status: int | None
    detail: str
    attempted_ms: int
    milliseconds: int
    next_attempt_ms: int
    suspicious: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    """Deliveries to attempt now, in the order of detection, and the moment (Unix ms) when others become due."""

    deliveries: tuple[Delivery, ...]
    next_due_ms: int | None


def due(db: Database, destination: str, *, now_ms: int, horizon_ms: int, limit: int, in_flight: Collection[int]) -> Due:
    """Return up to `limit` deliveries whose time has come, without those `in_flight` (sequences).

    One that waits beyond `horizon_ms` was scheduled by a clock that has been set back since: it is due as well.
    """
    begin, end = max(_runs(in_flight), key=lambda run: run[1] - run[0], default=(0, 0))
    # The events' data is most of it, and goes out as it is: it is not written into JSON and read from it once more.
    heads, data = db.execute(
        "SELECT json_group_array(json_array(sequence, id, type, source, subject, detected_at, attempts,"
        f" first_attempt_at, suspicions)), CAST(group_concat(data, char({_BETWEEN_TEXTS[0]})) AS BLOB)"
        " FROM (SELECT e.sequence, e.id, e.type, e.source, e.subject, e.detected_at, e.data,"
        " d.attempts, d.first_attempt_at, d.suspicions FROM deliveries d JOIN events e USING (sequence)"
        f" WHERE d.destination = :destination AND d.state = 'pending' AND d.{_UNFINISHED}"
        " AND d.next_attempt_at NOT BETWEEN :now + 1 AND :horizon"
        # Mostly one run: to look up each of thousands in a list would take as long as all the rest.
        " AND d.sequence NOT BETWEEN :begin AND :end AND d.sequence NOT IN (SELECT value FROM json_each(:others))"
        " ORDER BY d.sequence LIMIT :limit)",
        {
            "destination": destination,
            "now": now_ms,
            "horizon": horizon_ms,
            "begin": begin,
            "end": end,
            "others": orjson.dumps([sequence for sequence in in_flight if not begin <= sequence <= end]).decode(),
            "limit": limit,
        },
    ).fetchone()
    texts = data.split(_BETWEEN_TEXTS) if data else ()
    deliveries = tuple(
        Delivery(Event(sequence, id_, type_, source, subject, at, text), destination, *tried)
        for (sequence, id_, type_, source, subject, at, *tried), text in zip(orjson.loads(heads), texts, strict=True)
    )
    if len(deliveries) == limit:
        return Due(deliveries, None)
    later = db.execute(
        "SELECT min(next_attempt_at) FROM deliveries"
        f" WHERE destination = ? AND state = 'pending' AND {_UNFINISHED} AND next_attempt_at > ?",
        [destination, now_ms],
    ).fetchone()
    return Due(deliveries, later[0])


_RUN = (
    "first_sequence",
    "last_sequence",
    "destination",
    "state",
    "decision",
    "reason",
    "status",
    "detail",
    "attempted_at",
    "milliseconds",
    "next_attempt_at",
    "suspicious",
)
_RUN_COLUMNS = ", ".join(f"json_extract(value, '$[{place}]') AS {name}" for place, name in enumerate(_RUN))
_RUNS = f"WITH runs AS MATERIALIZED (SELECT {_RUN_COLUMNS} FROM json_each(?))"
"""A batch of settlements as rows, one for each run of deliveries that follow each other without a gap."""


def settle(db: Database, settlements: Sequence[Settlement]) -> None:
    """Write down what became of a batch of attempts."""
    batch = orjson.dumps([row for settlement in settlements for row in _rows(settlement)]).decode()
    db.execute(
        f"{_RUNS} UPDATE deliveries SET state = runs.state, decision = runs.decision, reason = runs.reason,"
        " status = runs.status, detail = runs.detail, attempts = attempts + 1, suspicions = suspicions + suspicious,"
        " first_attempt_at = coalesce(first_attempt_at, attempted_at), last_attempt_at = attempted_at,"
        " next_attempt_at = runs.next_attempt_at FROM runs"
        " WHERE sequence BETWEEN first_sequence AND last_sequence AND deliveries.destination = runs.destination",
        [batch],
    )
    db.execute(
        f"{_RUNS} INSERT INTO attempt_runs (first_sequence, last_sequence, destination, decision, reason, status,"
        " detail, attempted_at, milliseconds) SELECT first_sequence, last_sequence, destination, decision, reason,"
        " status, detail, attempted_at, milliseconds FROM runs",
        [batch],
    )
    delivered: Counter[str] = Counter()
    for settlement in settlements:
        if settlement.state is DeliveryState.DELIVERED:
            delivered[settlement.destination] += len(settlement.sequences)
    for name, count in delivered.items():
        db.execute("UPDATE destinations SET delivered = delivered + ? WHERE name = ?", [count, name])


def _rows(settlement: Settlement) -> list[tuple[str | int | None, ...]]:
    """Return a settlement as one or more rows in the order of `_RUN`."""
    fate = (
        settlement.destination,
        settlement.state,
        settlement.decision,
        settlement.reason,
        settlement.status,
        settlement.detail or None,
        settlement.attempted_ms,
        settlement.milliseconds,
        settlement.next_attempt_ms,
        int(settlement.suspicious),
    )
    return [
        (begin, min(begin + LONGEST_RUN - 1, last), *fate)
        for first, last in _runs(settlement.sequences)
        for begin in range(first, last + 1, LONGEST_RUN)
    ]


def _runs(sequences: Collection[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of numbers that follow each other without a gap, run by run."""
    numbers = sorted(sequences)
    begins = [place for place, number in enumerate(numbers) if not place or number != numbers[place - 1] + 1]
    for begin, end in pairwise([*begins, len(numbers)]):
        yield numbers[begin], numbers[end - 1]


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
