"""What is asked of systemd itself, by its own program."""

import re
import subprocess
from pathlib import Path

_PATIENCE = 300.0
"""Seconds: a start waits until every source was asked."""

_RUNS = Path("/run/systemd/system")
"""Exists exactly where systemd is the system's manager (sd_booted(3))."""


class SystemctlError(Exception):
    """systemd has not done what it was asked to; the message is its own."""


def is_running() -> bool:
    """Tell whether systemd manages this machine."""
    return _RUNS.is_dir()


def version() -> int | None:
    """Return systemd's version, None when there is none."""
    try:
        done = subprocess.run(
            ["systemctl", "--version"],  # noqa: S607 - wherever the system has it
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE,
        )
    except OSError:
        return None
    told = re.match(r"systemd (\d+)", done.stdout)
    return int(told[1]) if told else None


def systemctl(*arguments: str) -> None:
    """Let systemd do something, and wait for it. Raises SystemctlError."""
    try:
        done = subprocess.run(  # noqa: S603 - names of units are checked where they come from
            ["systemctl", *arguments],  # noqa: S607 - wherever the system has it
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SystemctlError(f"systemctl {' '.join(arguments)}: {error}") from error
    if done.returncode != 0:
        raise SystemctlError(f"systemctl {' '.join(arguments)}: {done.stderr.strip()}")
