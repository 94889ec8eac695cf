"""The paths at which commands find a running daemon. This module has few imports, because it has to load quickly."""

from pathlib import Path
from typing import Final

WRONG_CONFIGURATION: Final = "wrong_configuration"
"""The reason in the answer to a reload that failed because the configuration is wrong."""


def socket_path(state_file: Path) -> Path:
    """Return the path of the socket on which the daemon that uses this state file listens for commands."""
    return state_file.with_name(state_file.name + ".sock")


def lock_path(state_file: Path) -> Path:
    """Return the path of the lock file that belongs to this state file; it contains the process id of the daemon."""
    return state_file.with_name(state_file.name + ".lock")
