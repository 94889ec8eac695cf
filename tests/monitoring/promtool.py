"""Prometheus's own checker."""

import subprocess
from pathlib import Path

from tests.needed import needed

RULES = Path(__file__).parents[2] / "notifier" / "monitoring" / "notifier.rules.yml"


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool; skip the test where there is none."""
    command = [needed("promtool", "prometheus"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
