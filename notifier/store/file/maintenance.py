"""Keeps the state file small and fast over years: returns free space to the disk, and truncates the write-ahead log."""

import os
from pathlib import Path
from typing import Final

from notifier.store.file.connection import FileDatabase

FREE_PAGES_KEPT: Final = 250
"""Number of free pages of 4 KiB that stay in the file for new data."""

_PAGES_AT_ONCE: Final = 1000
_ANALYZED_ROWS: Final = 1000


def release_pages(db: FileDatabase) -> bool:
    """Give some of the file's free pages back to the disk. Runs outside of transactions.

    Each call releases a limited number of pages, because SQLite must first move other pages, which takes time. Returns
    whether another call can release more.
    """
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    surplus = int(free) - FREE_PAGES_KEPT
    if surplus > 0:
        # execute() would stop after the first page, because the statement returns an empty row for each page.
        db.conn.executescript(f"PRAGMA incremental_vacuum({min(surplus, _PAGES_AT_ONCE)})")
    return surplus > _PAGES_AT_ONCE


def checkpoint(db: FileDatabase) -> bool:
    """Checkpoint and truncate the write-ahead log, if no reader prevents it; return whether the log is empty now.

    Runs outside of transactions.
    """
    (busy_timeout_ms,) = db.execute("PRAGMA busy_timeout").fetchone()
    # Waiting for a slow reader would delay all other work. The reader may have finished by the next checkpoint.
    db.execute("PRAGMA busy_timeout = 0")
    try:
        (is_blocked, *_) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not is_blocked
    finally:
        db.execute(f"PRAGMA busy_timeout = {busy_timeout_ms}")


def optimize(db: FileDatabase) -> None:
    """Let SQLite update its statistics of tables that have changed a lot. Runs outside of transactions."""
    db.execute(f"PRAGMA analysis_limit = {_ANALYZED_ROWS}").fetchall()
    db.execute("PRAGMA optimize").fetchall()


def release_memory(db: FileDatabase) -> None:
    """Free SQLite's cache of pages, which a scan fills. Runs outside of transactions."""
    db.execute("PRAGMA shrink_memory").fetchall()


def log_size(state_file: Path) -> int:
    """Return the size of the write-ahead log in bytes, 0 if there is none. Blocks."""
    real = Path(os.path.realpath(state_file))
    try:
        return real.with_name(real.name + "-wal").stat().st_size
    except OSError:
        return 0
