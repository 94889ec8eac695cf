"""Deliveries that wait, and what became of each attempt.

The statements take and give a whole batch at once: SQLite then works through it in a single step, and the event loop's
thread is not interrupted once for every row.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

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


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one destination; `attempts` made so far, the first one at `first_attempt_ms`."""

    event: Event
    destination: str
    attempts: int
    first_attempt_ms: int | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of deliveries that shared an attempt and its fate: all that a request carried, or some of it.

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


@dataclass(frozen=True, slots=True)
class Due:
    """Deliveries to attempt now, in the order of detection, and the moment (Unix ms) when others become due."""

    deliveries: tuple[Delivery, ...]
    next_due_ms: int | None


def due(db: Database, destination: str, *, now_ms: int, horizon_ms: int, limit: int, in_flight: Collection[int]) -> Due:
    """Return up to `limit` deliveries whose time has come, without those `in_flight` (sequences).

    One that waits beyond `horizon_ms` was scheduled by a clock that has been set back since: it is due as well.
    """
    # The events' data is most of it, and goes out as it is: it is not written into JSON and read from it once more.
    heads, data = db.execute(
        "SELECT json_group_array(json_array(sequence, id, type, source, subject, detected_at, attempts,"
        f" first_attempt_at)), CAST(group_concat(data, char({_BETWEEN_TEXTS[0]})) AS BLOB)"
        " FROM (SELECT e.sequence, e.id, e.type, e.source, e.subject, e.detected_at, e.data,"
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
    texts = data.split(_BETWEEN_TEXTS) if data else ()
    deliveries = tuple(
        Delivery(Event(sequence, id_, type_, source, subject, at, text), destination, attempts, first)
        for (sequence, id_, type_, source, subject, at, attempts, first), text in zip(
            orjson.loads(heads), texts, strict=True
        )
    )
    if len(deliveries) == limit:
        return Due(deliveries, None)
    later = db.execute(
        "SELECT min(next_attempt_at) FROM deliveries"
        f" WHERE destination = ? AND state = 'pending' AND {_UNFINISHED} AND next_attempt_at > ?",
        [destination, now_ms],
    ).fetchone()
    return Due(deliveries, later[0])


_RUNS = "WITH runs AS MATERIALIZED (SELECT {} FROM json_each(?)) ".format(
    ", ".join(
        f"json_extract(value, '$[{place}]') AS {name}"
        for place, name in enumerate(
            (
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
            )
        )
    )
)
"""A batch of settlements as rows, one for each run of deliveries that follow each other without a gap."""


def settle(db: Database, settlements: Iterable[Settlement]) -> None:
    """Write down what became of a batch of attempts."""
    batch = orjson.dumps([run for settlement in settlements for run in _runs(settlement)]).decode()
    db.execute(
        f"{_RUNS} UPDATE deliveries SET state = runs.state, decision = runs.decision, reason = runs.reason,"
        " status = runs.status, detail = runs.detail, attempts = attempts + 1,"
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
    db.execute(
        f"{_RUNS} UPDATE destinations SET delivered = delivered + fresh.deliveries FROM"
        " (SELECT destination AS name, sum(last_sequence - first_sequence + 1) AS deliveries FROM runs"
        f" WHERE state = '{DeliveryState.DELIVERED}' GROUP BY 1) AS fresh WHERE destinations.name = fresh.name",
        [batch],
    )


def _runs(settlement: Settlement) -> Iterator[tuple[str | int | None, ...]]:
    """Yield a settlement once for each run of its deliveries, with the run's first and last sequence."""
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
    )
    sequences = sorted(settlement.sequences)
    first = 0
    for place, sequence in enumerate(sequences, start=1):
        if place == len(sequences) or sequences[place] != sequence + 1 or place - first == LONGEST_RUN:
            yield (sequences[first], sequence, *fate)
            first = place


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
