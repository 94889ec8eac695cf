"""What can go wrong with the state file, each under a name."""

import sqlite3
from enum import StrEnum
from pathlib import Path


class LedgerReason(StrEnum):
    """Why the state file could not be used."""

    IN_USE = "in_use"
    NEWER_VERSION = "newer_version"
    OLDER_VERSION = "older_version"
    NOT_WRITABLE = "not_writable"
    NOT_A_STATE_FILE = "not_a_state_file"
    DISK_FULL = "disk_full"
    READ_ONLY = "read_only"
    IO_ERROR = "io_error"
    CORRUPT = "corrupt"
    LOCKED = "locked"


class LedgerError(Exception):
    """The state file could not be read or written; nothing of the failed transaction is in it."""

    def __init__(self, reason: LedgerReason, message: str) -> None:
        """Remember the named reason and a sentence that says what to do."""
        super().__init__(message)
        self.reason = reason
        self.message = message


_FULL = (LedgerReason.DISK_FULL, "the disk is full: make room; nothing is lost, it goes on by itself")
_BY_SQLITE_CODE = {
    sqlite3.SQLITE_FULL: _FULL,
    # The shared index of the write-ahead log has no room.
    sqlite3.SQLITE_IOERR_SHMSIZE: _FULL,
    sqlite3.SQLITE_READONLY: (LedgerReason.READ_ONLY, "it is read-only: make the file and its folder writable"),
    sqlite3.SQLITE_PERM: (LedgerReason.NOT_WRITABLE, "access was refused: make the file and its folder writable"),
    sqlite3.SQLITE_CANTOPEN: (LedgerReason.NOT_WRITABLE, "it cannot be opened: make its folder writable"),
    sqlite3.SQLITE_IOERR: (LedgerReason.IO_ERROR, "the disk reports errors: check it and the space left on it"),
    sqlite3.SQLITE_CORRUPT: (
        LedgerReason.CORRUPT,
        "it is damaged: `notifier run` sets it aside when it starts and saves what can be read; or restore a backup",
    ),
    sqlite3.SQLITE_NOTADB: (
        LedgerReason.NOT_A_STATE_FILE,
        "it is no state file, or a damaged one: name another path in [store], or let `notifier run` mend it",
    ),
    sqlite3.SQLITE_BUSY: (LedgerReason.LOCKED, "another program is writing to it: end that program"),
    sqlite3.SQLITE_LOCKED: (LedgerReason.LOCKED, "another program is writing to it: end that program"),
}
_PRIMARY_CODE_MASK = 0xFF


def as_ledger_error(error: sqlite3.Error, path: Path) -> LedgerError | None:
    """Name an SQLite error that has to do with the file; None for one that is a fault of the program."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    named = _BY_SQLITE_CODE.get(code) or _BY_SQLITE_CODE.get(code & _PRIMARY_CODE_MASK)
    return LedgerError(named[0], f"state file {path}: {named[1]}") if named else None
