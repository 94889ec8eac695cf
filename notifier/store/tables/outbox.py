"""The waiting deliveries, and the outcome of each attempt.

Each statement takes and returns a whole batch. SQLite then works without returning to Python for each row, which would
interrupt the event loop's thread.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, pairwise
from typing import Any, NamedTuple

import orjson

from notifier.events import Event
from notifier.store.database import Database, Engine
from notifier.store.tables import request_log, slots
from notifier.store.tables.request_log import LoggedRequest
from notifier.store.tables.rollups import count_delivered
from notifier.store.tables.slots import Gate

# SQLite uses a partial index only if the query repeats the index's condition word for word.
_UNFINISHED = "state <> 'delivered'"

LONGEST_RUN = 1000
"""The most deliveries in one row of `attempt_runs`; the view `attempts` looks back so far for a delivery's row."""

_BETWEEN_TEXTS = b"\x1e"
"""The record separator of RFC 7464, which never occurs in JSON."""


class DeliveryState(StrEnum):
    """The state of a delivery: it waits, it was delivered, or it was given up."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class Delivery(NamedTuple):
    """One event on its way to one destination, with the number of `attempts` so far.

    `tried_from_ms` is the value, at the first attempt, of the destination's trying clock, which runs while the daemon
    runs and the destination is enabled. `failures` counts the attempts that may have failed because of the event
    itself. `proven` means that this is certain, because other events were delivered since. `taken_by` are the receivers
    that have the event already, if the destination has several. `again` means that it was requested again. `slot_ms` is
    the slot of the destination's schedule that it belongs to (Unix ms).
    """

    event: Event
    destination: str
    attempts: int = 0
    tried_from_ms: int | None = None
    failures: int = 0
    proven: bool = False
    taken_by: frozenset[str] = frozenset()
    again: bool = False
    slot_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """The result of one attempt for deliveries with the same outcome: all or some of those in a request.

    `suspicious` means that the event may have caused the failure, `proven` that it did. `next_attempt_ms` is when the
    next attempt is due (Unix ms; 0: as soon as possible). `trying_ms` is the value of the destination's trying clock at
    this attempt. `taken_by` are the receivers that have the events now, if the destination has several. `detected_ms`
    is when the events were detected (Unix ms), without those that are sent again on request; they count as latencies.
    `logged` is the request for the log, if it is logged and this is its first settlement.
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
    proven: bool = False
    trying_ms: int = 0
    taken_by: frozenset[str] = frozenset()
    detected_ms: tuple[int, ...] = ()
    logged: LoggedRequest | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """The deliveries to attempt now, in order of detection.

    `next_due_ms` is when other deliveries become due (Unix ms). It is None if there are none, or if the limit was
    reached.
    """

    deliveries: tuple[Delivery, ...]
    next_due_ms: int | None


_COLUMNS = (
    "e.sequence, e.id, e.type, e.source, e.subject, e.detected_at, e.data, d.attempts, d.tried_from, d.suspicions,"
    " d.proven, d.taken_by, d.again, d.slot_at"
)
_PENDING = f"d.destination = :destination AND d.state = 'pending' AND d.{_UNFINISHED}"
_DUE = f"{_PENDING} AND d.next_attempt_at NOT BETWEEN :now + 1 AND :horizon"
_BEHIND = (
    "EXISTS (SELECT 1 FROM events b JOIN deliveries w ON w.sequence = b.sequence AND w.destination = :destination"
    " WHERE b.subject = e.subject AND b.source = e.source AND b.sequence < e.sequence AND w.state = 'pending'"
    " AND w.next_attempt_at BETWEEN :now + 1 AND :horizon)"
)
"""The condition that an earlier event of the same record waits for its next attempt."""
_BEHIND_ANY = _BEHIND.replace(" AND w.next_attempt_at BETWEEN :now + 1 AND :horizon", "")


def due(
    db: Database,
    destination: str,
    *,
    now_ms: int,
    horizon_ms: int,
    limit: int,
    in_flight: Collection[int],
    gate: Gate | None = None,
) -> Due:
    """Return up to `limit` deliveries that are due and that the gate lets through, without the events `in_flight`.

    A delivery that waits beyond `horizon_ms` was scheduled before the clock was set back, so it is due as well. An
    event is not due while an earlier one of the same record waits for another attempt.
    """
    # Most of the excluded numbers are one run. Reading what is before and after it is faster than looking each up.
    begin, end = max(_runs(in_flight), key=lambda run: run[1] - run[0], default=(0, 0))
    others = [sequence for sequence in in_flight if not begin <= sequence <= end]
    now: dict[str, int | str] = {"destination": destination, "now": now_ms, "horizon": horizon_ms}
    delayed = _next_due(db, now)
    deliveries: tuple[Delivery, ...] = ()
    for part in ("d.sequence < :begin", "d.sequence > :end"):
        deliveries += _read(
            db,
            f"WHERE {_DUE} AND {part}"
            f"{' AND d.sequence NOT IN (SELECT CAST(value AS BIGINT) FROM json_each(:others))' if others else ''}"
            f"{'' if delayed is None else f' AND NOT {_BEHIND}'}{_released(gate)}"
            " ORDER BY d.sequence LIMIT :limit",
            {
                **now,
                **_urgent(gate),
                "begin": begin,
                "end": end,
                "others": orjson.dumps(others).decode(),
                "limit": limit - len(deliveries),
            },
            has_slots=gate is not None,
        )
    return Due(deliveries, None if len(deliveries) == limit else delayed)


def candidates(
    db: Database,
    destination: str,
    spread: Callable[[int, int], Sequence[int]],
    *,
    now_ms: int,
    horizon_ms: int,
    busy: Collection[int],
    gate: Gate | None = None,
) -> Due:
    """Return due deliveries from different parts of the queue, in order: those at or after the numbers from `spread`.

    `spread` gets the first and the last waiting number. The numbers `busy` are left out, and so are events behind an
    earlier one of the same record.
    """
    now: dict[str, int | str] = {"destination": destination, "now": now_ms, "horizon": horizon_ms}
    first, last = db.execute(
        f"SELECT (SELECT d.sequence FROM deliveries d WHERE {_PENDING} ORDER BY d.sequence LIMIT 1),"
        f" (SELECT d.sequence FROM deliveries d WHERE {_PENDING} ORDER BY d.sequence DESC LIMIT 1)",
        now,
    ).fetchone()
    if first is None:
        return Due((), None)
    # The deliveries at the chosen places may not be due yet, so the first and the last due ones are always included.
    found = _read(
        db,
        f"WHERE d.destination = :destination AND d.sequence IN (SELECT (SELECT d.sequence FROM deliveries d"
        f" WHERE {_PENDING} AND d.sequence >= p.place ORDER BY d.sequence LIMIT 1)"
        " FROM (SELECT CAST(value AS BIGINT) AS place FROM json_each(:places)) AS p"
        f" UNION SELECT * FROM (SELECT d.sequence FROM deliveries d WHERE {_DUE} ORDER BY d.sequence LIMIT 8) AS first"
        f" UNION SELECT * FROM (SELECT d.sequence FROM deliveries d WHERE {_DUE} ORDER BY d.sequence DESC LIMIT 8)"
        " AS last)"
        f" AND {_DUE} AND NOT {_BEHIND_ANY}{_released(gate)}"
        " AND d.sequence NOT IN (SELECT CAST(value AS BIGINT) FROM json_each(:busy)) ORDER BY d.sequence",
        {
            **now,
            **_urgent(gate),
            "places": orjson.dumps(list(spread(first, last))).decode(),
            "busy": orjson.dumps(list(busy)).decode(),
        },
        has_slots=gate is not None,
    )
    return Due(found, _next_due(db, now))


def _released(gate: Gate | None) -> str:
    return "" if gate is None else slots.released(gate)


def _urgent(gate: Gate | None) -> dict[str, int | str]:
    return {} if gate is None or gate.is_open else {"urgent": orjson.dumps(sorted(gate.urgent)).decode()}


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
        Delivery(
            Event(sequence, id_, type_, source, subject, at, text),
            destination,
            attempts,
            tried_from,
            failures,
            bool(proven),
            frozenset(orjson.loads(taken_by)) if taken_by else _NOBODY,
            bool(again),
            slot_at if has_slots else None,
        )
        for (
            (
                sequence,
                id_,
                type_,
                source,
                subject,
                at,
                attempts,
                tried_from,
                failures,
                proven,
                taken_by,
                again,
                slot_at,
            ),
            text,
        ) in rows
    )


_Row = tuple[Sequence[Any], bytes]
"""The columns of a waiting delivery and its event, and the event's data."""


def _rows_by_name(db: Database, selected: str, values: dict[str, int | str]) -> Iterator[_Row]:
    for *event, data, attempts, tried_from, failures, proven, taken_by, again, slot_at in db.execute(selected, values):
        yield (*event, attempts, tried_from, failures, proven, taken_by, again, slot_at), data.encode()


def _rows_at_once(db: Database, selected: str, values: dict[str, int | str]) -> Iterator[_Row]:
    """Return the rows as SQLite makes them in one step, without returning to Python for each."""
    # Most of the text is the events' data, which is used as it is, so it is not embedded in JSON and parsed again.
    heads, data = db.execute(
        "SELECT json_group_array(json_array(sequence, id, type, source, subject, detected_at, attempts, tried_from,"
        f" suspicions, proven, taken_by, again, slot_at)), CAST(group_concat(data, char({_BETWEEN_TEXTS[0]})) AS BLOB)"
        f" FROM ({selected})",
        values,
    ).fetchone()
    return zip(orjson.loads(heads), data.split(_BETWEEN_TEXTS) if data else (), strict=True)


_NOBODY: frozenset[str] = frozenset()

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
    "proven",
    "trying",
    "taken_by",
)
_RUNS = "(SELECT * FROM temp.runs WHERE likelihood(first_sequence IS NOT NULL, 0.000001))"
"""The rows of a batch of settlements while it is stored: one for each run of deliveries with consecutive numbers.

The table is in memory, and empty outside of `settle`. SQLite takes a table without statistics for a large one, and
would read all deliveries instead of searching those of each row. The condition, always true, tells it of few rows.
"""

_AT_ONCE = (64, 16, 4, 1)
"""How many rows one statement adds: many, as each one interrupts the event loop; few sizes, as each is prepared."""

_PLACES = f"({', '.join('?' * len(_RUN))})"
_ADD = {count: f"INSERT INTO temp.runs VALUES {', '.join([_PLACES] * count)}" for count in _AT_ONCE}


def settle(db: Database, settlements: Sequence[Settlement]) -> None:
    """Store the results of a batch of attempts."""
    rows = [row for settlement in settlements for row in _rows(settlement)]
    if db.engine is Engine.SQLITE:
        _store_in_steps(db, rows)
    elif rows:
        db.execute(_STORE_AT_ONCE, [orjson.dumps([dict(zip(_RUN, row, strict=True)) for row in rows]).decode()])
    delivered: Counter[str] = Counter()
    for settlement in settlements:
        if settlement.state is DeliveryState.DELIVERED:
            delivered[settlement.destination] += len(settlement.sequences)
    for name, count in delivered.items():
        db.execute("UPDATE destinations SET delivered = delivered + ? WHERE name = ?", [count, name])
    count_delivered(
        db,
        [
            (it.destination, it.attempted_ms, it.milliseconds, len(it.sequences), it.detected_ms)
            for it in settlements
            if it.state is DeliveryState.DELIVERED
        ],
    )
    logged: defaultdict[str, list[LoggedRequest]] = defaultdict(list)
    for settlement in settlements:
        if settlement.logged is not None:
            logged[settlement.destination].append(settlement.logged)
    for name, requests in logged.items():
        request_log.write(db, name, requests)


_UPDATE = (
    "UPDATE deliveries SET state = runs.state, decision = runs.decision, reason = runs.reason,"
    " status = runs.status, detail = runs.detail, attempts = attempts + 1, suspicions = suspicions + suspicious,"
    " proven = max(deliveries.proven, runs.proven), taken_by = coalesce(runs.taken_by, deliveries.taken_by),"
    " tried_from = coalesce(tried_from, trying),"
    " first_attempt_at = coalesce(first_attempt_at, attempted_at), last_attempt_at = attempted_at,"
    " next_attempt_at = runs.next_attempt_at"
)
_INSERT = (
    "INSERT INTO attempt_runs (first_sequence, last_sequence, destination, decision, reason, status,"
    " detail, attempted_at, milliseconds) SELECT first_sequence, last_sequence, destination, decision, reason,"
    " status, detail, attempted_at, milliseconds"
)
_TEXTS = frozenset({"destination", "state", "decision", "reason", "detail", "taken_by"})
_STORE_AT_ONCE = (
    "WITH runs AS MATERIALIZED (SELECT * FROM jsonb_to_recordset(CAST(? AS jsonb)) AS _("
    + ", ".join(f"{name} {'text' if name in _TEXTS else 'bigint'}" for name in _RUN)
    + ")),"
    # Each number by itself: PostgreSQL would read the whole table to find those between two numbers of each row.
    " numbered AS MATERIALIZED (SELECT *, generate_series(first_sequence, last_sequence) AS number FROM runs),"
    f" updated AS ({_UPDATE} FROM numbered AS runs WHERE sequence = runs.number"
    f" AND deliveries.destination = runs.destination) {_INSERT} FROM runs"
)
"""The statement for PostgreSQL, which takes the rows as JSON: one round trip instead of several."""


def _store_in_steps(db: Database, rows: Sequence[tuple[str | int | None, ...]]) -> None:
    db.execute(f"CREATE TEMP TABLE IF NOT EXISTS runs ({', '.join(_RUN)})")
    _add_runs(db, rows)
    db.execute(
        f"{_UPDATE} FROM {_RUNS} AS runs"
        " WHERE sequence BETWEEN first_sequence AND last_sequence AND deliveries.destination = runs.destination"
    )
    db.execute(f"{_INSERT} FROM {_RUNS}")
    db.execute("DELETE FROM temp.runs")


def _add_runs(db: Database, rows: Sequence[tuple[str | int | None, ...]]) -> None:
    done = 0
    for count in _AT_ONCE:
        while len(rows) - done >= count:
            db.execute(_ADD[count], [*chain.from_iterable(rows[done : done + count])])
            done += count


def _rows(settlement: Settlement) -> list[tuple[str | int | None, ...]]:
    """Return a settlement as one or more rows with the columns of `_RUN`."""
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
        int(settlement.proven),
        settlement.trying_ms,
        orjson.dumps(sorted(settlement.taken_by)).decode() if settlement.taken_by else None,
    )
    if len(settlement.sequences) == 1:
        return [settlement.sequences * 2 + fate]
    return [
        (begin, min(begin + LONGEST_RUN - 1, last), *fate)
        for first, last in _runs(settlement.sequences)
        for begin in range(first, last + 1, LONGEST_RUN)
    ]


def _runs(sequences: Collection[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last number of each run of consecutive numbers."""
    numbers = sorted(sequences)
    begins = [place for place, number in enumerate(numbers) if not place or number != numbers[place - 1] + 1]
    for begin, end in pairwise([*begins, len(numbers)]):
        yield numbers[begin], numbers[end - 1]


def postpone_schedule(db: Database, by_ms: int) -> None:
    """Shift every scheduled attempt by `by_ms`, after the wall clock was set by that much."""
    db.execute(
        "UPDATE deliveries SET next_attempt_at = max(0, next_attempt_at + ?)"
        " WHERE state = 'pending' AND next_attempt_at > 0",
        [by_ms],
    )


def begin_patience(db: Database, destination: str) -> None:
    """Reset for how long waiting deliveries have been tried, because the address or the credentials have changed."""
    db.execute(
        "UPDATE deliveries SET suspicions = 0, proven = 0, tried_from = NULL, next_attempt_at = 0, taken_by = NULL"
        f" WHERE destination = ? AND state = 'pending' AND {_UNFINISHED}",
        [destination],
    )
