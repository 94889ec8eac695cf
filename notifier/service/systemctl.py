"""Runs the program `systemctl` of systemd."""

import re
import subprocess
from pathlib import Path

_TIMEOUT_SECONDS = 300.0
"""The time limit of a call in seconds. It is long, because a start waits until every source has been polled."""

_SYSTEMD_FOLDER = Path("/run/systemd/system")
"""A folder that exists only if systemd manages this machine (sd_booted(3))."""


class SystemctlError(Exception):
    """A call of systemctl failed; the message contains the error text of systemctl."""


def is_running() -> bool:
    """Return whether systemd manages this machine."""
    return _SYSTEMD_FOLDER.is_dir()


def version() -> int | None:
    """Return the version of systemd; None if systemd is not installed."""
    try:
        done = subprocess.run(
            ["systemctl", "--version"],  # noqa: S607 - wherever the system has it
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
        )
    except OSError:
        return None
    match = re.match(r"systemd (\d+)", done.stdout)
    return int(match[1]) if match else None


def run_systemctl(*arguments: str) -> None:
    """Run `systemctl` with these arguments, and wait until it ends. Raises SystemctlError."""
    try:
        done = subprocess.run(  # noqa: S603 - names of units are checked where they come from
            ["systemctl", *arguments],  # noqa: S607 - wherever the system has it
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SystemctlError(f"systemctl {' '.join(arguments)}: {error}") from error
    if done.returncode != 0:
        raise SystemctlError(f"systemctl {' '.join(arguments)}: {done.stderr.strip()}")
