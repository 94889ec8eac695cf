"""What is remembered of each source: when it was first met, how far it was read, when it must be left alone."""

from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database


@dataclass(frozen=True, slots=True)
class SourceMemory:
    """A source as the last run left it; times in Unix milliseconds.

    `met_at_ms` is None before the first answer, `swept_at_ms` before a sweep has reached the end of the list.
    `head_until` is the page (of the largest size) down to which the head must be read, known ground or not, since a
    head poll broke off before it; None when none did. `records` counts the known records that exist; the API may for
    good have `uncounted` more, and the last sweep had left a difference of `left_over`. `held` suspected removals are
    held back. Since `gap_since_ms` it cannot be proven that everything was seen, after a long outage. Where records
    were lost with a damaged file, all that was entered before `told_until_ms` had been read, and is no news.
    """

    met_at_ms: int | None = None
    swept_at_ms: int | None = None
    head_until: int | None = None
    records: int = 0
    last_success_ms: int | None = None
    silent_until_ms: int | None = None
    silent_reason: str | None = None
    error: "SourceError | None" = None
    uncounted: int = 0
    left_over: int | None = None
    held: int = 0
    gap_since_ms: int | None = None
    told_until_ms: int | None = None

    @property
    def expected(self) -> int:
        """How many records the API has if nothing has changed out of sight."""
        return self.records + self.uncounted


@dataclass(frozen=True, slots=True)
class SourceError:
    """The last failure of a source."""

    reason: str
    message: str
    at_ms: int


_COLUMNS = (
    "met_at, swept_at, head_until, records, last_success, silent_until, silent_reason,"
    " error_reason, error_message, error_at, uncounted, left_over, held, gap_since, told_until"
)


def recall(db: Database, name: str) -> SourceMemory:
    """Return what is remembered of a source, making an empty row for one never heard of."""
    db.execute("INSERT INTO sources (name) VALUES (?) ON CONFLICT DO NOTHING", [name])
    return _memory(db.execute(f"SELECT {_COLUMNS} FROM sources WHERE name = ?", [name]).fetchone())


def everything(db: Database) -> dict[str, SourceMemory]:
    """Return what is remembered of every source, by name."""
    rows = db.execute(f"SELECT name, {_COLUMNS} FROM sources ORDER BY name")
    return {row[0]: _memory(row[1:]) for row in rows}


def _memory(row: tuple[Any, ...]) -> SourceMemory:
    met, swept, head_until, known, success, silent_until, silent_for, reason, message, at_ms, *counts = row
    error = SourceError(reason, message, at_ms) if reason else None
    return SourceMemory(met, swept, head_until, known, success, silent_until, silent_for, error, *counts)


def meet(db: Database, name: str, met_at_ms: int) -> None:
    """Fix the moment of the first meeting; a later call changes nothing."""
    db.execute("UPDATE sources SET met_at = coalesce(met_at, ?) WHERE name = ?", [met_at_ms, name])


def read_head_until(db: Database, name: str, page: int) -> None:
    """Note that the head must be read at least down to this page, until a round succeeds."""
    db.execute("UPDATE sources SET head_until = max(coalesce(head_until, 0), ?) WHERE name = ?", [page, name])


def succeed(
    db: Database, name: str, now_ms: int, *, ends_silence: bool = True, longest_outage_ms: int | None = None
) -> SourceMemory:
    """Remember a successful round, which has reached known ground; the last error stays to be read.

    `ends_silence` is False where another request has been told, meanwhile, to leave the source alone. After more than
    `longest_outage_ms` since the last success, it can no longer be proven that everything was seen.
    """
    db.execute(
        "UPDATE sources SET last_success = ?, head_until = NULL,"
        " gap_since = CASE WHEN ? - last_success > ? THEN coalesce(gap_since, ?) ELSE gap_since END WHERE name = ?",
        [now_ms, now_ms, longest_outage_ms, now_ms, name],
    )
    if ends_silence:
        db.execute("UPDATE sources SET silent_until = NULL, silent_reason = NULL WHERE name = ?", [name])
    return recall(db, name)


def fail(db: Database, name: str, error: SourceError, silent_until_ms: int | None) -> SourceMemory:
    """Remember a failed round and, where there is one, the moment before which the source is left alone.

    Without one, a silence that an earlier failure began goes on.
    """
    db.execute(
        "UPDATE sources SET error_reason = ?, error_message = ?, error_at = ? WHERE name = ?",
        [error.reason, error.message, error.at_ms, name],
    )
    if silent_until_ms is not None:
        db.execute(
            "UPDATE sources SET silent_until = ?, silent_reason = ? WHERE name = ?",
            [silent_until_ms, error.reason, name],
        )
    return recall(db, name)


def settle_count(db: Database, name: str, *, uncounted: int, left_over: int) -> SourceMemory:
    """Remember by how many the API's count differs for good, and what the last sweep had left unexplained."""
    db.execute("UPDATE sources SET uncounted = ?, left_over = ? WHERE name = ?", [uncounted, left_over, name])
    return recall(db, name)


def hold(db: Database, name: str, removals: int) -> SourceMemory:
    """Remember how many suspected removals are held back; 0: none."""
    db.execute("UPDATE sources SET held = ? WHERE name = ?", [removals, name])
    return recall(db, name)
