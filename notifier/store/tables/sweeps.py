"""The progress of each source's sweeps, so that a sweep can continue after a restart."""

from msgspec import Struct

from notifier.store.database import Database


class Sweep(Struct, frozen=True):
    """One reading of a whole list; times in Unix milliseconds."""

    id: int
    source: str
    started_ms: int
    finished_ms: int | None
    next_page: int
    """The first page that is not yet stored."""
    last_page: int | None
    records: int
    """The number of records down to the last page read."""
    changes: int
    counted: int | None = None
    """The API's number of records when `counted_page` was the last page read; both None before the first count."""
    counted_page: int | None = None
    first_new_id: int | None = None
    """Records with this or a higher id became known after the sweep began."""
    whole: bool = True
    """Whether all pages so far were complete."""
    marks: bool = True
    """Whether the sweep stores which known records each page has, to find missing ones. A first sweep needs no marks.
    """

    @property
    def progress(self) -> float:
        """The part of the list that was read, from 0 to 1."""
        if self.finished_ms is not None:
            return 1.0
        return min((self.next_page - 1) / self.last_page, 1.0) if self.last_page else 0.0


class SweptPage(Struct, frozen=True):
    """A page that a sweep has read; stored in the same transaction as the page's records."""

    sweep: int
    number: int
    last_page: int | None
    records: int
    """The number of records from the beginning of the list to the end of this page."""
    unreadable: int
    """The number of records of this page that cannot be read."""
    marks: bool
    """Whether the ids of this page's known records are stored, to find the known records that are on no page."""


_COLUMNS = (
    "id, source, started_at, finished_at, next_page, last_page, records, changes, counted, counted_page,"
    " first_new_id, whole, marks"
)


def latest(db: Database, source: str) -> Sweep | None:
    """Return the source's newest sweep, finished or not; None if there is none."""
    row = db.execute(
        f"SELECT {_COLUMNS} FROM sweeps WHERE source = ? ORDER BY id DESC LIMIT 1",
        [source],
    ).fetchone()
    return Sweep(*row) if row else None


def latest_of_each(db: Database) -> dict[str, Sweep]:
    """Return the newest sweep of every source that has one, by the source's name."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM sweeps WHERE id IN (SELECT max(id) FROM sweeps GROUP BY source)")
    return {sweep.source: sweep for sweep in (Sweep(*row) for row in rows)}


def start_of(db: Database, source: str, finished_ms: int) -> int:
    """Return when the sweep that ended at `finished_ms` began; `finished_ms` if that sweep is not stored any more."""
    row = db.execute(
        "SELECT started_at FROM sweeps WHERE source = ? AND finished_at = ? ORDER BY id DESC LIMIT 1",
        [source, finished_ms],
    ).fetchone()
    return finished_ms if row is None else int(row[0])


def resume_or_start(db: Database, source: str, now_ms: int) -> Sweep:
    """Return the source's unfinished sweep, or start a new one at the first page."""
    unfinished = latest(db, source)
    if unfinished is not None and unfinished.finished_ms is None:
        return unfinished
    row = db.execute(
        "INSERT INTO sweeps (source, started_at, first_new_id, marks)"
        " VALUES (?, ?, (SELECT coalesce(max(id), 0) + 1 FROM records),"
        " CASE WHEN EXISTS (SELECT 1 FROM sources WHERE name = ? AND (swept_at IS NOT NULL OR left_over IS NOT NULL))"
        " THEN 1 ELSE 0 END)"
        f" RETURNING {_COLUMNS}",
        [source, now_ms, source],
    ).fetchone()
    return Sweep(*row)


def advance(db: Database, page: SweptPage, *, changes: int, ids: bytes) -> None:
    """Store that a page was read, and add `changes` to the number of changes that the sweep has found.

    If the page has `marks`, `ids` is stored: the ids of its known records, as 64-bit numbers.
    """
    db.execute(
        "UPDATE sweeps SET next_page = ?, last_page = ?, records = ?, changes = changes + ? WHERE id = ?",
        [page.number + 1, page.last_page, page.records, changes, page.sweep],
    )
    db.execute(
        "INSERT INTO sweep_pages (sweep, page, unreadable, ids) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (sweep, page) DO UPDATE SET unreadable = excluded.unreadable, ids = excluded.ids",
        [page.sweep, page.number, page.unreadable, ids if page.marks else b""],
    )


def store_count(db: Database, sweep: int, counted: int, page: int) -> None:
    """Store how many records the API counts, and that `page` was the last page read at that moment."""
    db.execute("UPDATE sweeps SET counted = ?, counted_page = ? WHERE id = ?", [counted, page, sweep])


def step_back(db: Database, sweep: int, page: int) -> None:
    """Continue the sweep from an earlier page, because the list has moved."""
    db.execute("UPDATE sweeps SET next_page = min(next_page, ?) WHERE id = ?", [page, sweep])


def add_changes(db: Database, sweep: int, changes: int) -> None:
    """Add to the number of changes that the sweep has found."""
    db.execute("UPDATE sweeps SET changes = changes + ? WHERE id = ?", [changes, sweep])


def read_page_ids(db: Database, sweep: int, after_page: int, limit: int) -> tuple[list[bytes], int | None]:
    """Return the ids of the known records of each page, for the next `limit` pages after `after_page`.

    The second value is the number of the last page returned; None if there is no page after `after_page`.
    """
    rows = db.execute(
        "SELECT ids, page FROM sweep_pages WHERE sweep = ? AND page > ? ORDER BY page LIMIT ?",
        [sweep, after_page, limit],
    ).fetchall()
    return [ids for ids, _ in rows], rows[-1][1] if rows else None


def count_unreadable(db: Database, sweep: int) -> int:
    """Return how many records the sweep could not read."""
    row = db.execute("SELECT coalesce(sum(unreadable), 0) FROM sweep_pages WHERE sweep = ?", [sweep]).fetchone()
    return int(row[0])


def mark_incomplete(db: Database, sweep: int) -> None:
    """Store that a page of the sweep was incomplete: records that it lacks may still exist."""
    db.execute("UPDATE sweeps SET whole = 0 WHERE id = ?", [sweep])


def finish(db: Database, sweep: Sweep, now_ms: int) -> None:
    """Store that the sweep has read the list to its end."""
    db.execute("UPDATE sweeps SET finished_at = ? WHERE id = ?", [now_ms, sweep.id])
    db.execute("DELETE FROM sweep_pages WHERE sweep = ?", [sweep.id])


def store_proof(db: Database, sweep: Sweep) -> None:
    """Store that a finished sweep has read everything that the API counts.

    Every record that was entered before the sweep is therefore known. If a gap (`SourceMemory.gap_since_ms`) was found
    before the sweep began, the gap is closed.
    """
    db.execute(
        "UPDATE sources SET swept_at = ?, gap_since = CASE WHEN gap_since > ? THEN gap_since END WHERE name = ?",
        [sweep.finished_ms, sweep.started_ms, sweep.source],
    )


def delete_unfinished(db: Database, source: str) -> None:
    """Delete a source's unfinished sweep, whose pages no longer count."""
    db.execute(
        "DELETE FROM sweep_pages WHERE sweep IN (SELECT id FROM sweeps WHERE source = ? AND finished_at IS NULL)",
        [source],
    )
    db.execute("DELETE FROM sweeps WHERE source = ? AND finished_at IS NULL", [source])
