"""How far the sweeps of each source have come, so that a restart goes on where the last run stopped."""

from dataclasses import dataclass

from sqlite_utils import Database


@dataclass(frozen=True, slots=True)
class Sweep:
    """One reading of a whole list; `next_page` is the first page not yet written down. Times in Unix ms."""

    id: int
    source: str
    started_ms: int
    finished_ms: int | None
    next_page: int
    last_page: int | None
    records: int
    changes: int


_COLUMNS = "id, source, started_at, finished_at, next_page, last_page, records, changes"


def latest(db: Database, source: str) -> Sweep | None:
    """Return the source's newest sweep, finished or not."""
    row = db.execute(
        f"SELECT {_COLUMNS} FROM sweeps WHERE source = ? ORDER BY id DESC LIMIT 1",
        [source],
    ).fetchone()
    return Sweep(*row) if row else None


def resume(db: Database, source: str, now_ms: int) -> Sweep:
    """Return the source's unfinished sweep, or begin a new one at the first page."""
    unfinished = latest(db, source)
    if unfinished is not None and unfinished.finished_ms is None:
        return unfinished
    row = db.execute(
        f"INSERT INTO sweeps (source, started_at) VALUES (?, ?) RETURNING {_COLUMNS}",
        [source, now_ms],
    ).fetchone()
    return Sweep(*row)


def advance(db: Database, sweep: int, *, next_page: int, last_page: int | None, records: int, changes: int) -> None:
    """Count one page that has been read and written."""
    db.execute(
        "UPDATE sweeps SET next_page = ?, last_page = ?, records = records + ?, changes = changes + ? WHERE id = ?",
        [next_page, last_page, records, changes, sweep],
    )


def finish(db: Database, sweep: Sweep, now_ms: int) -> None:
    """Note that the end of the list was reached."""
    db.execute("UPDATE sweeps SET finished_at = ? WHERE id = ?", [now_ms, sweep.id])
    db.execute("UPDATE sources SET swept_at = ? WHERE name = ?", [now_ms, sweep.source])
