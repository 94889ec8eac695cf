"""Prometheus's own checker, where it is there."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

RULES = Path(__file__).parents[2] / "notifier" / "monitoring" / "notifier.rules.yml"


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool; skip the test where there is none."""
    program = shutil.which("promtool")
    if program is None:
        skip = "promtool is not there: it is in Debian's package prometheus"
        assert "TESTS_MUST_NOT_SKIP" not in os.environ, skip
        pytest.skip(skip)
    return subprocess.run(
        [program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
