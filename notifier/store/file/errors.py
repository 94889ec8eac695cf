"""Converts SQLite's errors about a state file to StoreError, which names the reason."""

import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from notifier.store.errors import StoreError, StoreReason

_FULL = (
    StoreReason.DISK_FULL,
    "the disk is full: free some space; nothing is lost, and the daemon then continues by itself",
)
_INTERRUPTED = (
    StoreReason.INTERRUPTED,
    "a process was killed while it wrote the file: start `notifier run` once, which finishes or undoes that change",
)
_BY_SQLITE_CODE = {
    # SQLite reports this when recovery needs write access; it does not mean that permissions are wrong.
    sqlite3.SQLITE_READONLY_ROLLBACK: _INTERRUPTED,
    sqlite3.SQLITE_READONLY_RECOVERY: _INTERRUPTED,
    sqlite3.SQLITE_FULL: _FULL,
    # SQLite reports this when the disk has no room for the shared index of the write-ahead log.
    sqlite3.SQLITE_IOERR_SHMSIZE: _FULL,
    sqlite3.SQLITE_READONLY: (StoreReason.READ_ONLY, "it is read-only: make the file and its folder writable"),
    sqlite3.SQLITE_PERM: (StoreReason.NOT_WRITABLE, "access was refused: make the file and its folder writable"),
    sqlite3.SQLITE_CANTOPEN: (StoreReason.NOT_WRITABLE, "it cannot be opened: make its folder writable"),
    sqlite3.SQLITE_IOERR: (StoreReason.IO_ERROR, "the disk reports errors: check it and the space left on it"),
    sqlite3.SQLITE_CORRUPT: (
        StoreReason.CORRUPT,
        "it is damaged: `notifier run` sets it aside when it starts and recovers what can be read; or restore a backup",
    ),
    sqlite3.SQLITE_NOTADB: (
        StoreReason.NOT_A_STATE_FILE,
        "it is not a state file, or is damaged: name another path in [store], or let `notifier run` repair it",
    ),
    sqlite3.SQLITE_BUSY: (StoreReason.LOCKED, "another program is writing to it: end that program"),
    sqlite3.SQLITE_LOCKED: (StoreReason.LOCKED, "another program is writing to it: end that program"),
}
_PRIMARY_CODE_MASK = 0xFF


def is_undecodable(error: Exception) -> bool:
    """Return whether the error says that a text is not UTF-8, which means that the file is damaged.

    The text is in the file, or in a message of SQLite that quotes the file.
    """
    # For texts, the sqlite3 module raises an error of its own, which has no code.
    return isinstance(error, UnicodeDecodeError) or str(error).startswith("Could not decode to UTF-8")


def as_store_error(error: sqlite3.Error | UnicodeDecodeError, path: Path) -> StoreError | None:
    """Convert an error about the file to a StoreError; return None for an error that is a bug in the program."""
    code = sqlite3.SQLITE_CORRUPT if is_undecodable(error) else getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    named = _BY_SQLITE_CODE.get(code) or _BY_SQLITE_CODE.get(code & _PRIMARY_CODE_MASK)
    return StoreError(named[0], f"state file {path}: {named[1]}") if named else None


class ErrorConversion(AbstractContextManager[None]):
    """In a `with` block, converts SQLite's errors about the state file to StoreError. One object can be used again."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """If the block failed because of the state file, raise a StoreError that names the reason."""
        if isinstance(error, sqlite3.Error | UnicodeDecodeError):
            named = as_store_error(error, self._path)
            if named is not None:
                raise named from error
