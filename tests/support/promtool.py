"""Runs promtool, Prometheus's checker for metrics and rules, if it is installed."""

import subprocess
from pathlib import Path

from tests.support.needed_programs import needed


def promtool(*arguments: str | Path, said: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run promtool with `said` as its input; skip the test if promtool is not installed."""
    command = [needed("promtool", "prometheus"), *map(str, arguments)]
    return subprocess.run(command, input=said.decode(), capture_output=True, text=True, timeout=60, check=False)
