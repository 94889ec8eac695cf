"""Prometheus's own checker, where it is there."""

import subprocess
from pathlib import Path

from tests.support.needed_programs import needed


def promtool(*arguments: str | Path, said: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run promtool with a standard input; skip the test where there is none."""
    command = [needed("promtool", "prometheus"), *map(str, arguments)]
    return subprocess.run(command, input=said.decode(), capture_output=True, text=True, timeout=60, check=False)
