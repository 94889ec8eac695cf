"""Prometheus's own checker, where it is there."""

import os
import shutil
import subprocess

import pytest


def promtool(*arguments: str, said: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run promtool with a standard input; skip the test where there is none."""
    program = shutil.which("promtool")
    if program is None:
        skip = "promtool is not there: it is in Debian's package prometheus"
        assert "TESTS_MUST_NOT_SKIP" not in os.environ, skip
        pytest.skip(skip)
    return subprocess.run([program, *arguments], input=said, capture_output=True, timeout=60, check=False)
