"""Reads the waiting deliveries that are due.

Each statement returns a whole batch. If SQLite returned to Python for each row, it would interrupt the event loop's
thread each time.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Any

import orjson
from msgspec import Struct

from notifier.events import Event
from notifier.store.database import Database, Engine, json_list
from notifier.store.tables import slots
from notifier.store.tables.slots import Gate

# SQLite uses a partial index only if the query repeats the index's condition word for word.
_UNFINISHED = "state <> 'delivered'"

_BETWEEN_TEXTS = b"\x1e"
"""The record separator of RFC 7464, which never occurs in JSON."""


class DeliveryState(StrEnum):
    """The state of a delivery: it waits, it was delivered, or it was given up."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class Delivery(Struct, frozen=True):
    """One event on its way to one destination, with the number of `attempts` so far."""

    event: Event
    destination: str
    attempts: int = 0
    tried_from_ms: int | None = None
    """The value of the destination's trying clock at the first attempt.

    That clock runs only while the daemon is running and is allowed to send to the destination.
    """
    failures: int = 0
    """The number of attempts that may have failed because of the event itself."""
    proven: bool = False
    """Whether an attempt has certainly failed because of the event.

    This is certain if, for example, other events were delivered after the first failed attempt.
    """
    taken_by: frozenset[str] = frozenset()
    """The receivers that have the event already, if the destination has several."""
    again: bool = False
    """Whether an operator has requested the delivery again."""
    slot_ms: int | None = None
    """The slot of the destination's schedule in which the delivery is sent (Unix ms)."""


class DueDeliveries(Struct, frozen=True):
    """The deliveries to attempt now, in order of detection.

    `next_due_ms` is when the first of the deliveries that are not due yet becomes due (Unix ms). It is None if all are
    due, or if the limit was reached.
    """

    deliveries: tuple[Delivery, ...]
    next_due_ms: int | None


_COLUMNS = (
    "e.sequence, e.id, e.type, e.source, e.subject, e.detected_at, e.data, d.attempts, d.tried_from, d.suspicions,"
    " d.proven, d.taken_by, d.again, d.slot_at"
)
_PENDING = f"d.destination = :destination AND d.state = 'pending' AND d.{_UNFINISHED}"
_DUE = f"{_PENDING} AND d.next_attempt_at NOT BETWEEN :now + 1 AND :horizon"
IS_BLOCKED = (
    "EXISTS (SELECT 1 FROM events b JOIN deliveries w ON w.sequence = b.sequence AND w.destination = :destination"
    " WHERE b.subject = e.subject AND b.source = e.source AND b.sequence < e.sequence AND w.state = 'pending'"
    " AND w.next_attempt_at BETWEEN :now + 1 AND :horizon)"
)
"""The SQL condition for event `e`: an earlier event of its record waits for the next attempt."""
_HAS_EARLIER = IS_BLOCKED.replace(" AND w.next_attempt_at BETWEEN :now + 1 AND :horizon", "")


def read_due(
    db: Database,
    destination: str,
    *,
    now_ms: int,
    horizon_ms: int,
    limit: int,
    in_flight: Collection[int],
    gate: Gate | None = None,
) -> DueDeliveries:
    """Return up to `limit` deliveries that are due and that the gate lets through, except those of events `in_flight`.

    An event is not due while an earlier event of its record waits for another attempt. If an attempt is scheduled for a
    time after `horizon_ms`, the clock must have been set back. Such an attempt is due at once.
    """
    # Most of the excluded numbers form one run. Reading before and after it is faster than excluding each number.
    begin, end = max(consecutive_runs(in_flight), key=lambda run: run[1] - run[0], default=(0, 0))
    is_one_run = end - begin + 1 == len(in_flight)
    others = [] if is_one_run else [sequence for sequence in in_flight if not begin <= sequence <= end]
    now: dict[str, int | str] = {"destination": destination, "now": now_ms, "horizon": horizon_ms}
    delayed = _next_due(db, now)
    deliveries: tuple[Delivery, ...] = ()
    for part in ("d.sequence < :begin", "d.sequence > :end"):
        deliveries += _read(
            db,
            f"WHERE {_DUE} AND {part}"
            f"{' AND d.sequence NOT IN (SELECT CAST(value AS BIGINT) FROM json_each(:others))' if others else ''}"
            f"{'' if delayed is None else f' AND NOT {IS_BLOCKED}'}{_release_condition(gate)}"
            " ORDER BY d.sequence LIMIT :limit",
            {
                **now,
                **_gate_parameters(gate),
                "begin": begin,
                "end": end,
                "others": json_list(others),
                "limit": limit - len(deliveries),
            },
            has_slots=gate is not None,
        )
    return DueDeliveries(deliveries, None if len(deliveries) == limit else delayed)


def read_spread_due(
    db: Database,
    destination: str,
    spread: Callable[[int, int], Sequence[int]],
    *,
    now_ms: int,
    horizon_ms: int,
    busy: Collection[int],
    gate: Gate | None = None,
) -> DueDeliveries:
    """Return due deliveries from different parts of the queue, in order.

    `spread` gets the numbers of the first and the last waiting event, and returns numbers between them. For each
    returned number, the first waiting event from there on is chosen. A few due events from both ends of the queue are
    added. An event is left out if it is not due, if it is `busy`, or if an earlier event of its record waits.
    """
    now: dict[str, int | str] = {"destination": destination, "now": now_ms, "horizon": horizon_ms}
    first, last = db.execute(
        f"SELECT (SELECT d.sequence FROM deliveries d WHERE {_PENDING} ORDER BY d.sequence LIMIT 1),"
        f" (SELECT d.sequence FROM deliveries d WHERE {_PENDING} ORDER BY d.sequence DESC LIMIT 1)",
        now,
    ).fetchone()
    if first is None:
        return DueDeliveries((), None)
    # The deliveries at the chosen places may not be due yet, so the first and the last due ones are always included.
    found = _read(
        db,
        f"WHERE d.destination = :destination AND d.sequence IN (SELECT (SELECT d.sequence FROM deliveries d"
        f" WHERE {_PENDING} AND d.sequence >= p.place ORDER BY d.sequence LIMIT 1)"
        " FROM (SELECT CAST(value AS BIGINT) AS place FROM json_each(:places)) AS p"
        f" UNION SELECT * FROM (SELECT d.sequence FROM deliveries d WHERE {_DUE} ORDER BY d.sequence LIMIT 8) AS first"
        f" UNION SELECT * FROM (SELECT d.sequence FROM deliveries d WHERE {_DUE} ORDER BY d.sequence DESC LIMIT 8)"
        " AS last)"
        f" AND {_DUE} AND NOT {_HAS_EARLIER}{_release_condition(gate)}"
        " AND d.sequence NOT IN (SELECT CAST(value AS BIGINT) FROM json_each(:busy)) ORDER BY d.sequence",
        {
            **now,
            **_gate_parameters(gate),
            "places": json_list(spread(first, last)),
            "busy": json_list(busy),
        },
        has_slots=gate is not None,
    )
    return DueDeliveries(found, _next_due(db, now))


def _release_condition(gate: Gate | None) -> str:
    return "" if gate is None else slots.release_condition(gate)


def _gate_parameters(gate: Gate | None) -> dict[str, int | str]:
    return {} if gate is None or gate.is_open else {"urgent": json_list(sorted(gate.urgent))}


def _next_due(db: Database, now: dict[str, int | str]) -> int | None:
    next_ms: int | None = db.execute(
        "SELECT min(next_attempt_at) FROM deliveries WHERE destination = :destination AND state = 'pending'"
        " AND next_attempt_at > 0 AND next_attempt_at > :now",
        now,
    ).fetchone()[0]
    return next_ms


def _read(db: Database, where: str, values: dict[str, int | str], *, has_slots: bool = False) -> tuple[Delivery, ...]:
    destination = str(values["destination"])
    selected = f"SELECT {_COLUMNS} FROM deliveries d JOIN events e USING (sequence) {where}"
    rows = _rows_at_once(db, selected, values) if db.engine is Engine.SQLITE else _rows_by_name(db, selected, values)
    return tuple(
        [
            Delivery(
                Event(*(*event, text)),
                destination,
                attempts,
                tried_from,
                failures,
                bool(proven),
                frozenset(orjson.loads(taken_by)) if taken_by else _NOBODY,
                bool(again),
                slot_at if has_slots else None,
            )
            for (event, attempts, tried_from, failures, proven, taken_by, again, slot_at), text in rows
        ]
    )


_Row = tuple[Sequence[Any], bytes]
"""The columns of a waiting delivery, and the data of its event.

The first of the columns is itself a list: the event's other columns.
"""


def _rows_by_name(db: Database, selected: str, values: dict[str, int | str]) -> Iterator[_Row]:
    for *event, data, attempts, tried_from, failures, proven, taken_by, again, slot_at in db.execute(selected, values):
        yield (event, attempts, tried_from, failures, proven, taken_by, again, slot_at), data.encode()


def _rows_at_once(db: Database, selected: str, values: dict[str, int | str]) -> Iterator[_Row]:
    """Return the selected rows. SQLite collects them into one result row: one call for each row is slower."""
    # Most of the text is the events' data, which is used as it is, so it is not embedded in JSON and parsed again.
    heads, data = db.execute(
        "SELECT json_group_array(json_array(json_array(sequence, id, type, source, subject, detected_at), attempts,"
        " tried_from, suspicions, proven, taken_by, again, slot_at)),"
        f" CAST(group_concat(data, char({_BETWEEN_TEXTS[0]})) AS BLOB) FROM ({selected})",
        values,
    ).fetchone()
    return zip(orjson.loads(heads), data.split(_BETWEEN_TEXTS) if data else (), strict=True)


_NOBODY: frozenset[str] = frozenset()


def consecutive_runs(sequences: Collection[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last number of each run of consecutive numbers; no number may occur twice."""
    numbers = sorted(sequences)
    if not numbers:
        return
    is_one_run = numbers[-1] - numbers[0] == len(numbers) - 1
    gaps = () if is_one_run else enumerate(pairwise(numbers), 1)
    begins = [0, *(place for place, (one, following) in gaps if following != one + 1), len(numbers)]
    for begin, end in pairwise(begins):
        yield numbers[begin], numbers[end - 1]


def shift_attempts(db: Database, by_ms: int) -> None:
    """Shift every scheduled attempt by `by_ms`, after the wall clock was set by that much."""
    db.execute(
        "UPDATE deliveries SET next_attempt_at = max(0, next_attempt_at + ?)"
        " WHERE state = 'pending' AND next_attempt_at > 0",
        [by_ms],
    )


def reset_retries(db: Database, destination: str) -> None:
    """Reset failures, waits and trying time of the waiting deliveries after a change of address or credentials."""
    db.execute(
        "UPDATE deliveries SET suspicions = 0, proven = 0, tried_from = NULL, next_attempt_at = 0, taken_by = NULL"
        f" WHERE destination = ? AND state = 'pending' AND {_UNFINISHED}",
        [destination],
    )
