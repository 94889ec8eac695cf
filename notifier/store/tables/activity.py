"""The request counts of each source and destination, by quarter of an hour, and the changes of their states."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from msgspec import Struct

from notifier.store.database import Database
from notifier.store.tables.rollups import QUARTER_MS

COUNTS_KEPT_MS: Final = 2 * 86_400_000
"""Milliseconds for which counts are kept, longer than the 24 hours that are shown."""

STATES_KEPT: Final = 50
"""The number of latest changes of state that are kept for each source and destination."""

STATES_KEPT_MS: Final = 90 * 86_400_000
"""Milliseconds for which changes of state are kept; the latest of each source or destination is never deleted."""


class ActivityKind(StrEnum):
    """Whether requests go to a source or to a destination."""

    SOURCE = "source"
    DESTINATION = "destination"


class ActivitySubject(NamedTuple):
    """A source or a destination."""

    kind: ActivityKind
    name: str


class RequestCount(Struct, frozen=True):
    """Counts of requests, the `milliseconds` that they took together, and the milliseconds of the slowest one."""

    requests: int = 0
    failed: int = 0
    milliseconds: int = 0
    slowest_ms: int = 0

    def __add__(self, other: "RequestCount") -> "RequestCount":
        """Return the sum of both counts; `slowest_ms` is the higher of the two."""
        return RequestCount(
            self.requests + other.requests,
            self.failed + other.failed,
            self.milliseconds + other.milliseconds,
            max(self.slowest_ms, other.slowest_ms),
        )


class StateChange(Struct, frozen=True):
    """The new state of a source or destination, the reason, and when the new state was first seen (Unix ms)."""

    at_ms: int
    state: str
    reason: str | None = None


Counts = Mapping[tuple[ActivitySubject, int], RequestCount]
"""Request counts by source or destination, and by quarter of an hour; quarters are numbered from 1970."""


def add_requests(db: Database, counts: Counts) -> None:
    """Add requests to the stored counts."""
    db.executemany(
        "INSERT INTO request_counts (kind, name, quarter, requests, failed, milliseconds, slowest)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (kind, name, quarter) DO UPDATE SET"
        " requests = request_counts.requests + excluded.requests, failed = request_counts.failed + excluded.failed,"
        " milliseconds = request_counts.milliseconds + excluded.milliseconds,"
        " slowest = max(request_counts.slowest, excluded.slowest)",
        [
            (*subject, quarter, it.requests, it.failed, it.milliseconds, it.slowest_ms)
            for (subject, quarter), it in counts.items()
        ],
    )


def store_state_changes(db: Database, changes: Mapping[ActivitySubject, StateChange]) -> None:
    """Store changes of state; for each source or destination that changed, keep only the last STATES_KEPT changes."""
    for subject, change in changes.items():
        db.execute(
            "INSERT INTO state_changes (kind, name, at, state, reason) VALUES (?, ?, ?, ?, ?)",
            [*subject, change.at_ms, change.state, change.reason],
        )
        db.execute(
            "DELETE FROM state_changes WHERE kind = ? AND name = ? AND id <= coalesce((SELECT kept.id FROM"
            " state_changes kept WHERE kept.kind = ? AND kept.name = ? ORDER BY kept.id DESC LIMIT 1 OFFSET ?), 0)",
            [*subject, *subject, STATES_KEPT],
        )


def latest_states(db: Database) -> dict[ActivitySubject, StateChange]:
    """Return the latest stored state of every source and destination."""
    rows = db.execute(
        "SELECT kind, name, at, state, reason FROM state_changes"
        " WHERE id IN (SELECT max(id) FROM state_changes GROUP BY kind, name)"
    ).fetchall()
    return {ActivitySubject(ActivityKind(kind), name): StateChange(*rest) for kind, name, *rest in rows}


def request_counts(db: Database, subject: ActivitySubject, quarter: int) -> dict[int, RequestCount]:
    """Return a subject's request counts by quarter of an hour, starting with the quarter numbered `quarter`."""
    rows = db.execute(
        "SELECT quarter, requests, failed, milliseconds, slowest FROM request_counts"
        " WHERE kind = ? AND name = ? AND quarter >= ?",
        [*subject, quarter],
    ).fetchall()
    return {number: RequestCount(*rest) for number, *rest in rows}


def latest_changes(db: Database, subject: ActivitySubject, limit: int) -> Sequence[StateChange]:
    """Return the latest changes of a subject's state, up to `limit`, newest first."""
    rows = db.execute(
        "SELECT at, state, reason FROM state_changes WHERE kind = ? AND name = ? ORDER BY id DESC LIMIT ?",
        [*subject, limit],
    ).fetchall()
    return [StateChange(*row) for row in rows]


def delete_old(db: Database, now_ms: int) -> None:
    """Delete the counts older than COUNTS_KEPT_MS, and the changes of state older than STATES_KEPT_MS.

    The latest change of each source or destination is kept.
    """
    db.execute("DELETE FROM request_counts WHERE quarter < ?", [(now_ms - COUNTS_KEPT_MS) // QUARTER_MS])
    db.execute(
        "DELETE FROM state_changes WHERE at < ? AND id NOT IN (SELECT max(id) FROM state_changes GROUP BY kind, name)",
        [now_ms - STATES_KEPT_MS],
    )
