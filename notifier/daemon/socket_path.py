"""What commands must know of a running daemon: where its socket and lock file are, and `reason`s in its answers.

This module has few imports, so it loads quickly.
"""

from pathlib import Path
from typing import Final

WRONG_CONFIGURATION: Final = "wrong_configuration"
"""The `reason` in the result of a reload that failed because the configuration is invalid."""

STANDBY: Final = "standby"
"""The `reason` in error responses of a process that stands by."""

BUSY: Final = "busy"
"""The `reason` in error responses if too many requests read the state at the same time; a copy of StoreReason.BUSY."""


def socket_path(state_file: Path) -> Path:
    """Return the path of the Unix socket on which the daemon with this state file listens for commands."""
    return state_file.with_name(state_file.name + ".sock")


def lock_path(state_file: Path) -> Path:
    """Return the path of the lock file of this state file. The lock file contains the daemon's process id."""
    return state_file.with_name(state_file.name + ".lock")
