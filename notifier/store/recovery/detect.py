"""Checks whether the state file is intact when it is opened, before anything is written to it."""

import contextlib
import sqlite3
from collections import deque
from pathlib import Path
from typing import Final

from notifier.store.file.connection import APPLICATION_ID, FileDatabase
from notifier.store.file.errors import is_undecodable
from notifier.store.file.files import DAMAGE_MARKER, sibling_path

CHECKED_FULLY_BYTES: Final = 200_000_000
"""Up to this file size, each start reads the whole file and compares indexes with tables. That takes about a second."""

READ_WHOLE_BYTES: Final = 500_000_000
"""Up to this file size, each start reads the whole file: a second or so from memory, longer from a slow disk.

In a larger file, a start normally skips the largest table, `records`. Damage in this table is found in use, at the
latest by the next sweep. After any damage was found in use, the next start checks everything.
"""

_LARGEST: Final = "records"
_APPLICATION_ID_AT: Final = 68
UNREADABLE: Final = (sqlite3.Error, UnicodeError)
"""The errors that reading a damaged file may raise; its text and SQLite's messages may not be valid UTF-8."""

_CORRUPT_CODES: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def delete_damage_marker(path: Path) -> None:
    """Delete the marker file of damage, because the state file is intact or was replaced."""
    with contextlib.suppress(OSError):
        sibling_path(path, DAMAGE_MARKER).unlink(missing_ok=True)


def find_damage(db: FileDatabase, path: Path) -> str | None:
    """Return SQLite's description of the damage in an open state file; None if no damage is found. Blocks.

    The result is None for another program's file, too. Raises sqlite3.Error or UnicodeError if a query fails; ask
    `is_damage` about the error.
    """
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        # A file without tables is one whose creation was interrupted. A file with these tables is a state file, even if
        # its header does not say so.
        return "the header is damaged" if {"events", "deliveries", "records"} <= tables else None
    for check in _checks(path, tables):
        (result,) = db.execute(f"PRAGMA {check}").fetchone()
        if result != "ok":
            return str(result).splitlines()[-1]
    return _unreadable_table(db, tables) if sibling_path(path, DAMAGE_MARKER).exists() else None


def _unreadable_table(db: FileDatabase, tables: set[str]) -> str | None:
    """Return which table has text that is not UTF-8; None if none has. SQLite's own checks ignore such text."""
    for table in sorted(tables):
        try:
            deque(db.execute(f"SELECT * FROM {table}"), maxlen=0)
        except UNREADABLE as error:
            if not is_damage(error):
                raise
            return f"table {table} contains text that is not UTF-8"
    return None


def is_damage(error: Exception) -> bool:
    """Return whether an error means that the content of the file is damaged."""
    return is_undecodable(error) or getattr(error, "sqlite_errorcode", 0) & 0xFF in _CORRUPT_CODES


def is_header_damage(error: Exception) -> bool:
    """Return whether an error of the first query after opening means that the header of the file is damaged.

    The query itself is correct. So if SQLite reports only a general error, the header is the cause.
    """
    return is_damage(error) or getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR


def has_application_id(path: Path) -> bool:
    """Return whether a file that SQLite cannot read has the application id of a state file. Raises OSError."""
    with path.open("rb") as file:
        file.seek(_APPLICATION_ID_AT)
        return file.read(4) == APPLICATION_ID.to_bytes(4, "big")


def _checks(path: Path, tables: set[str]) -> list[str]:
    """Return the PRAGMAs that check the file. They check less of a large file, so that the start is fast."""
    size = path.stat().st_size
    if size <= CHECKED_FULLY_BYTES or sibling_path(path, DAMAGE_MARKER).exists():
        return ["integrity_check(1)"]
    if size <= READ_WHOLE_BYTES:
        return ["quick_check(1)"]
    return [f"quick_check('{table}')" for table in sorted(tables) if table != _LARGEST]
