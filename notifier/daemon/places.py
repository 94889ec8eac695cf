"""Where the command line finds a running daemon, and a word it says: known without importing what one is made of."""

from pathlib import Path
from typing import Final

WRONG_CONFIGURATION: Final = "wrong_configuration"
"""Why a reload has changed nothing, when it was not the state file."""


def socket_path(state_file: Path) -> Path:
    """Return where the daemon of this state file listens for the command line."""
    return state_file.with_name(state_file.name + ".sock")
