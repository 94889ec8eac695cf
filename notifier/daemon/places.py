"""Where the command line finds a running daemon: known without importing what a daemon is made of."""

from pathlib import Path


def socket_path(state_file: Path) -> Path:
    """Return where the daemon of this state file listens for the command line."""
    return state_file.with_name(state_file.name + ".sock")
