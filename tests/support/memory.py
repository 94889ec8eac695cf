"""Measures this process's memory, and makes a store use much memory."""

import os
from pathlib import Path

from notifier.store.database import Database


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def fill(db: Database, megabytes: int) -> None:
    """Write large rows into a store: this many megabytes in all."""
    for number in range(megabytes * 50):
        db.execute(
            "INSERT OR REPLACE INTO people (source, id, name, employee_number) VALUES ('acme', ?, ?, NULL)",
            [str(number), "x" * 20_000],
        )
