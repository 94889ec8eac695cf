"""Is the state file whole? Looked at before it is opened for writing, and noted when damage is met while it is used."""

import contextlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from notifier.ledger.errors import LedgerReason

DAMAGE: Final = frozenset({LedgerReason.CORRUPT, LedgerReason.NOT_A_STATE_FILE})
"""What SQLite says of a file whose content is wrong. While a state file is in use, it is no other program's."""

CHECKED_FULLY: Final = 200_000_000
"""Bytes up to which a file is read whole at each start and its indexes compared with its tables: about a second."""

CHECKED_WHOLE: Final = 500_000_000
"""Bytes up to which a file is read whole at each start: about a second from memory, a few from a slow disk.

Of a larger one `records` is left out, by far the largest table, unless damage was met while the file was in use: there
it is met by the next sweep at the latest, and leads to a start that checks everything.
"""

_LARGEST: Final = "records"
_APPLICATION_ID_AT: Final = 68
UNREADABLE: Final = (sqlite3.Error, UnicodeError)
"""What reading a damaged file may raise: the text in it, and SQLite's words of it, may be no text at all."""

_CORRUPT_CODES: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def note_damage(path: Path) -> None:
    """Let the next start read the whole file, however large it is: damage was met in it."""
    # Whoever cannot write this note is told of the damage all the same.
    with contextlib.suppress(OSError):
        _note_beside(path).touch(mode=0o600)


def forget_damage(path: Path) -> None:
    """Take the note away: the file is whole, or another one."""
    with contextlib.suppress(OSError):
        _note_beside(path).unlink(missing_ok=True)


def damage_in(path: Path, application_id: int, *, is_ours: bool) -> str | None:
    """Say in SQLite's words what is wrong with a state file (this blocks); None when nothing is known to be.

    The file is there and not empty. `is_ours` says that it is known to have been a state file; else its header must
    tell, for what is another program's is none of our business: None. Raises sqlite3.Error when the file cannot be
    read for other reasons than its content.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if connection.execute("PRAGMA application_id").fetchone()[0] != application_id:
                # A file whose creation was cut off has no tables yet; one of ours has these, whatever its header says.
                return "the header is damaged" if {"events", "deliveries", "records"} <= tables else None
            return _found_by_reading(connection, tables, path)
    except UNREADABLE as error:
        # There is nothing wrong with what was asked: an error without a cause of its own is the header's.
        if not is_damage(error) and getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_ERROR:
            raise
        return str(error) if is_ours or _bears(path, application_id) else None


def is_damage(error: Exception) -> bool:
    """Tell whether an error says that the file's content is wrong."""
    if isinstance(error, UnicodeError):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    # Text that is no UTF-8 is an error of the sqlite3 module's own, without a code.
    return isinstance(error, sqlite3.OperationalError) if code is None else code & 0xFF in _CORRUPT_CODES


def _found_by_reading(connection: sqlite3.Connection, tables: set[str], path: Path) -> str | None:
    for check in _checks(path, tables):
        (said,) = connection.execute(f"PRAGMA {check}").fetchone()
        if said != "ok":
            return str(said).splitlines()[-1]
    return None


def _checks(path: Path, tables: set[str]) -> list[str]:
    """Choose what a start can wait for."""
    size = path.stat().st_size
    if size <= CHECKED_FULLY or _note_beside(path).exists():
        return ["integrity_check(1)"]
    if size <= CHECKED_WHOLE:
        return ["quick_check(1)"]
    return [f"quick_check('{table}')" for table in sorted(tables) if table != _LARGEST]


def _bears(path: Path, application_id: int) -> bool:
    """Tell by the first bytes whether a file that SQLite cannot read was a state file."""
    with path.open("rb") as file:
        file.seek(_APPLICATION_ID_AT)
        return file.read(4) == application_id.to_bytes(4, "big")


def _note_beside(path: Path) -> Path:
    real = Path(os.path.realpath(path))
    return real.with_name(real.name + ".damage-met")
