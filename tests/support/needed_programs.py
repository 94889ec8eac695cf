"""Finds programs that a test needs and that may not be installed."""

import os
import shutil

import pytest


def needed(program: str, package: str) -> str:
    """Return the path of a program. If it is missing, skip the test, or fail if TESTS_MUST_NOT_SKIP is set."""
    found = shutil.which(program)
    if found is None:
        skip = f"there is no {program} here: it is in Debian's package {package}"
        assert "TESTS_MUST_NOT_SKIP" not in os.environ, skip
        pytest.skip(skip)
    return found
