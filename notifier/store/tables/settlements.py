"""Stores the outcomes of attempts.

Each statement takes a whole batch. With a statement for each row, SQLite would return to Python after each row, and
thereby interrupt the event loop's thread.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import chain

import orjson
from msgspec import Struct

from notifier.store.database import Database, Engine, json_list
from notifier.store.tables import request_log
from notifier.store.tables.outbox import DeliveryState, consecutive_runs
from notifier.store.tables.request_log import LoggedRequest
from notifier.store.tables.rollups import count_delivered

LONGEST_RUN = 1000
"""Maximum number of deliveries in one row of `attempt_runs`.

The view `attempts` relies on this maximum: a row never begins LONGEST_RUN or more events before one of its deliveries.
"""


class Settlement(Struct, frozen=True):
    """The result of one request for a group of its deliveries: those with the same outcome."""

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
    """When the next attempt is due (Unix ms); 0: as soon as possible."""
    suspicious: bool = False
    """Whether the event may have caused the failure."""
    proven: bool = False
    """Whether the event has caused the failure."""
    trying_ms: int = 0
    """The value of the destination's trying clock at this attempt."""
    taken_by: frozenset[str] = frozenset()
    """The receivers that have the events now, if the destination has several."""
    detected_ms: tuple[int, ...] = ()
    """When the events were detected (Unix ms), to compute latencies. Events sent again on request are left out."""
    logged: LoggedRequest | None = None
    """The request's entry for the log of requests; None if the request is not logged.

    If the request has several settlements, only one of them has the entry.
    """


_RUN_COLUMNS = (
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
_RUNS_SUBQUERY = "(SELECT * FROM temp.runs WHERE likelihood(first_sequence IS NOT NULL, 0.000001))"
"""A subquery for the temporary table `runs`, which holds the settlements that `store_settlements` is storing.

The table has one row for each run of deliveries with consecutive numbers. The `likelihood` condition is always true; it
tells SQLite to expect few rows. Otherwise, SQLite would read all deliveries instead of using the index.
"""

_ROWS_PER_INSERT = (64, 16, 4, 1)
"""The numbers of rows that one INSERT statement can add.

Large numbers are used first, because each statement interrupts the event loop. Each number needs its own prepared
statement, so there are only a few.
"""

_PLACES = f"({', '.join('?' * len(_RUN_COLUMNS))})"
_ADD = {count: f"INSERT INTO temp.runs VALUES {', '.join([_PLACES] * count)}" for count in _ROWS_PER_INSERT}


def store_settlements(db: Database, settlements: Sequence[Settlement]) -> None:
    """Store the results of a batch of attempts."""
    rows = [row for settlement in settlements for row in _to_rows(settlement)]
    if db.engine is Engine.SQLITE:
        _store_in_steps(db, rows)
    elif rows:
        db.execute(_STORE_ALL, [orjson.dumps([dict(zip(_RUN_COLUMNS, row, strict=True)) for row in rows]).decode()])
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
_STORE_ALL = (
    "WITH runs AS MATERIALIZED (SELECT * FROM jsonb_to_recordset(CAST(? AS jsonb)) AS _("
    + ", ".join(f"{name} {'text' if name in _TEXTS else 'bigint'}" for name in _RUN_COLUMNS)
    + ")),"
    # One row for each number, because for a range of numbers PostgreSQL would read the whole table.
    " numbered AS MATERIALIZED (SELECT *, generate_series(first_sequence, last_sequence) AS number FROM runs),"
    f" updated AS ({_UPDATE} FROM numbered AS runs WHERE sequence = runs.number"
    f" AND deliveries.destination = runs.destination) {_INSERT} FROM runs"
)
"""The statement that stores all rows in PostgreSQL. It takes them as JSON: one round trip instead of several."""


def _store_in_steps(db: Database, rows: Sequence[tuple[str | int | None, ...]]) -> None:
    db.execute(f"CREATE TEMP TABLE IF NOT EXISTS runs ({', '.join(_RUN_COLUMNS)})")
    _add_runs(db, rows)
    db.execute(
        f"{_UPDATE} FROM {_RUNS_SUBQUERY} AS runs"
        " WHERE sequence BETWEEN first_sequence AND last_sequence AND deliveries.destination = runs.destination"
    )
    db.execute(f"{_INSERT} FROM {_RUNS_SUBQUERY}")
    db.execute("DELETE FROM temp.runs")


def _add_runs(db: Database, rows: Sequence[tuple[str | int | None, ...]]) -> None:
    done = 0
    for count in _ROWS_PER_INSERT:
        while len(rows) - done >= count:
            db.execute(_ADD[count], [*chain.from_iterable(rows[done : done + count])])
            done += count


def _to_rows(settlement: Settlement) -> list[tuple[str | int | None, ...]]:
    """Return a settlement as one or more rows with the columns `_RUN_COLUMNS`."""
    outcome = (
        settlement.destination,
        # SQLite would look for an adapter of an enum for each row.
        str(settlement.state),
        str(settlement.decision),
        str(settlement.reason),
        settlement.status,
        settlement.detail or None,
        settlement.attempted_ms,
        settlement.milliseconds,
        settlement.next_attempt_ms,
        int(settlement.suspicious),
        int(settlement.proven),
        settlement.trying_ms,
        json_list(sorted(settlement.taken_by)) if settlement.taken_by else None,
    )
    if len(settlement.sequences) == 1:
        return [settlement.sequences * 2 + outcome]
    return [
        (begin, min(begin + LONGEST_RUN - 1, last), *outcome)
        for first, last in consecutive_runs(settlement.sequences)
        for begin in range(first, last + 1, LONGEST_RUN)
    ]
