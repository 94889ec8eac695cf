"""The exception for a store that cannot be used, and its possible reasons."""

from enum import StrEnum
from typing import Final


class StoreReason(StrEnum):
    """The reasons why a store cannot be used."""

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
    INTERRUPTED = "interrupted"
    LINKED = "linked"
    DISPLACED = "displaced"
    ESSENTIALS_UNREADABLE = "essentials_unreadable"
    FAILING_DISK = "failing_disk"
    BUSY = "busy"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    HELD_ELSEWHERE = "held_elsewhere"
    TABLES_CHANGED = "tables_changed"


DAMAGE: Final = frozenset({StoreReason.CORRUPT, StoreReason.NOT_A_STATE_FILE})
"""The reasons that mean damage, provided that the file was a valid state file when it was opened."""


class StoreError(Exception):
    """The store cannot be opened, read or written; a failed transaction was undone."""

    def __init__(self, reason: StoreReason, message: str) -> None:
        """Initialise with the reason, and a sentence for people: what is wrong and what to do."""
        super().__init__(message)
        self.reason = reason
        self.message = message
