"""How far the sweeps of each source have come, so that a restart goes on where the last run stopped."""

from dataclasses import dataclass

from sqlite_utils import Database


@dataclass(frozen=True, slots=True)
class Sweep:
    """One reading of a whole list; `next_page` is the first page not yet written down. Times in Unix ms.

    `records` are those down to the last page read. `counted` is how many records the API had when
    `counted_page` was the last page read; both are None before the first count.
    """

    id: int
    source: str
    started_ms: int
    finished_ms: int | None
    next_page: int
    last_page: int | None
    records: int
    changes: int
    counted: int | None = None
    counted_page: int | None = None

    @property
    def progress(self) -> float:
        """How far it has come, from 0 to 1."""
        if self.finished_ms is not None:
            return 1.0
        return min((self.next_page - 1) / self.last_page, 1.0) if self.last_page else 0.0


@dataclass(frozen=True, slots=True)
class SweptPage:
    """A page that a sweep has read: written in the page's own transaction.

    `records` are those down to its end, `unreadable` those on it that cannot be read. `marks` says whether to note
    which known records it held: what no page held may be gone.
    """

    sweep: int
    number: int
    last_page: int | None
    records: int
    unreadable: int
    marks: bool


_COLUMNS = "id, source, started_at, finished_at, next_page, last_page, records, changes, counted, counted_page"


def latest(db: Database, source: str) -> Sweep | None:
    """Return the source's newest sweep, finished or not."""
    row = db.execute(
        f"SELECT {_COLUMNS} FROM sweeps WHERE source = ? ORDER BY id DESC LIMIT 1",
        [source],
    ).fetchone()
    return Sweep(*row) if row else None


def latest_of_each(db: Database) -> dict[str, Sweep]:
    """Return the newest sweep of every source that was ever swept, by the source's name."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM sweeps WHERE id IN (SELECT max(id) FROM sweeps GROUP BY source)")
    return {sweep.source: sweep for sweep in (Sweep(*row) for row in rows)}


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


def advance(db: Database, page: SweptPage, *, changes: int, ids: bytes) -> None:
    """Count one page that has been read and written; `ids` are those of its known records, 64 bits each."""
    db.execute(
        "UPDATE sweeps SET next_page = ?, last_page = ?, records = ?, changes = changes + ? WHERE id = ?",
        [page.number + 1, page.last_page, page.records, changes, page.sweep],
    )
    db.execute(
        "INSERT OR REPLACE INTO sweep_pages (sweep, page, unreadable, ids) VALUES (?, ?, ?, ?)",
        [page.sweep, page.number, page.unreadable, ids if page.marks else b""],
    )


def count(db: Database, sweep: int, counted: int, page: int) -> None:
    """Remember how many records the API had when `page` was the last page read."""
    db.execute("UPDATE sweeps SET counted = ?, counted_page = ? WHERE id = ?", [counted, page, sweep])


def step_back(db: Database, sweep: int, page: int) -> None:
    """Go on from an earlier page than was meant to come next: the list moved."""
    db.execute("UPDATE sweeps SET next_page = min(next_page, ?) WHERE id = ?", [page, sweep])


def add_changes(db: Database, sweep: int, changes: int) -> None:
    """Count changes that were found by what the sweep led to."""
    db.execute("UPDATE sweeps SET changes = changes + ? WHERE id = ?", [changes, sweep])


def marks(db: Database, sweep: int, after_page: int, limit: int) -> tuple[list[bytes], int | None]:
    """Return the ids of the known records that up to `limit` pages behind one held, and the last page's number."""
    rows = db.execute(
        "SELECT ids, page FROM sweep_pages WHERE sweep = ? AND page > ? ORDER BY page LIMIT ?",
        [sweep, after_page, limit],
    ).fetchall()
    return [ids for ids, _ in rows], rows[-1][1] if rows else None


def unreadable(db: Database, sweep: int) -> int:
    """Count the records that could not be read."""
    row = db.execute("SELECT coalesce(sum(unreadable), 0) FROM sweep_pages WHERE sweep = ?", [sweep]).fetchone()
    return int(row[0])


def finish(db: Database, sweep: Sweep, now_ms: int) -> None:
    """Note that the end of the list was reached."""
    db.execute("UPDATE sweeps SET finished_at = ? WHERE id = ?", [now_ms, sweep.id])
    db.execute("DELETE FROM sweep_pages WHERE sweep = ?", [sweep.id])
    db.execute(
        "UPDATE sources SET swept_at = ?, gap_since = CASE WHEN gap_since > ? THEN gap_since END WHERE name = ?",
        [now_ms, sweep.started_ms, sweep.source],
    )
