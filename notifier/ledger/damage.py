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

CHECKED_WHOLE: Final = 500_000_000
"""Bytes up to which a file is read whole at each start: about a second from memory, a few from a slow disk.

Of a larger one `records` is left out, by far the largest table, unless damage was met while the file was in use: there
it is met by the next sweep at the latest, and leads to a start that reads everything.
"""

_LARGEST: Final = "records"
_APPLICATION_ID_AT: Final = 68
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
            return _found_by_reading(connection, tables, _is_to_be_read_whole(path))
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return str(error) if is_ours or _bears(path, application_id) else None


def is_damage(error: sqlite3.Error) -> bool:
    """Tell whether SQLite says that the file's content is wrong."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _CORRUPT_CODES


def _found_by_reading(connection: sqlite3.Connection, tables: set[str], whole: bool) -> str | None:
    checks = ["PRAGMA quick_check(1)"]
    if not whole:
        checks = [f"PRAGMA quick_check('{table}')" for table in sorted(tables) if table != _LARGEST]
    for check in checks:
        (said,) = connection.execute(check).fetchone()
        if said != "ok":
            return str(said).splitlines()[-1]
    return None


def _is_to_be_read_whole(path: Path) -> bool:
    return path.stat().st_size <= CHECKED_WHOLE or _note_beside(path).exists()


def _bears(path: Path, application_id: int) -> bool:
    """Tell by the first bytes whether a file that SQLite cannot read was a state file."""
    with path.open("rb") as file:
        file.seek(_APPLICATION_ID_AT)
        return file.read(4) == application_id.to_bytes(4, "big")


def _note_beside(path: Path) -> Path:
    real = Path(os.path.realpath(path))
    return real.with_name(real.name + ".damage-met")
