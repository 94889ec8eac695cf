"""Keeps the state file small and quick over years: what nobody needs any more goes, and its room is given back."""

import os
from pathlib import Path
from typing import Final

from sqlite_utils import Database

SWEEPS_KEPT: Final = 30
"""Finished sweeps that are remembered of each source; only the newest is ever asked for, the others are for people."""

REBUILDS_KEPT: Final = 20

TOLD_BEFORE_FOR: Final = 30 * 86_400_000
"""Milliseconds for which a rebuilt file remembers what the damaged one had told: many sweeps."""

FREE_PAGES_KEPT: Final = 250
"""Pages of 4 KiB that stay free in the file, for what comes next."""

_PAGES_AT_ONCE: Final = 1000
_ROWS_LOOKED_AT: Final = 1000


def prune(db: Database, now_ms: int) -> None:
    """Forget what grows beside events and records: old sweeps and their marks, and what an old rebuild remembers."""
    db.execute(
        "DELETE FROM sweeps WHERE finished_at IS NOT NULL AND (SELECT count(*) FROM sweeps AS later"
        " WHERE later.source = sweeps.source AND later.id > sweeps.id) >= ?",
        [SWEEPS_KEPT],
    )
    db.execute("DELETE FROM sweep_pages WHERE sweep NOT IN (SELECT id FROM sweeps WHERE finished_at IS NULL)")
    db.execute("DELETE FROM told_before WHERE at < ?", [now_ms - TOLD_BEFORE_FOR])
    db.execute(
        "DELETE FROM rebuilds WHERE at NOT IN (SELECT at FROM rebuilds ORDER BY at DESC LIMIT ?)", [REBUILDS_KEPT]
    )


def give_back(db: Database) -> bool:
    """Give some free pages back to the disk, and tell whether there are more. In no transaction.

    Pages move, so that it takes a moment.
    """
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    surplus = int(free) - FREE_PAGES_KEPT
    if surplus > 0:
        # execute() would stop after the first page: the statement returns, for each, a row without columns.
        db.conn.executescript(f"PRAGMA incremental_vacuum({min(surplus, _PAGES_AT_ONCE)})")
    return surplus > _PAGES_AT_ONCE


def checkpoint(db: Database) -> None:
    """Bring the write-ahead log into the file and cut it off, as far as no reader is in the way. In no transaction."""
    (patience,) = db.execute("PRAGMA busy_timeout").fetchone()
    # A reader that is slow would hold up everybody else; the next time it may be gone.
    db.execute("PRAGMA busy_timeout = 0")
    try:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        db.execute(f"PRAGMA busy_timeout = {patience}")


def optimize(db: Database) -> None:
    """Let SQLite look at some rows of tables that have changed much, for its choice of indexes. In no transaction."""
    db.execute(f"PRAGMA analysis_limit = {_ROWS_LOOKED_AT}").fetchall()
    db.execute("PRAGMA optimize").fetchall()


def log_size(state_file: Path) -> int:
    """Return how large the write-ahead log is, in bytes (this blocks); 0 when there is none."""
    real = Path(os.path.realpath(state_file))
    try:
        return real.with_name(real.name + "-wal").stat().st_size
    except OSError:
        return 0
