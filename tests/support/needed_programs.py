"""Programs that a test needs and a machine may lack."""

import os
import shutil

import pytest


def needed(program: str, package: str) -> str:
    """Return where a program is; skip the test where it is not, unless nothing may be skipped."""
    found = shutil.which(program)
    if found is None:
        skip = f"there is no {program} here: it is in Debian's package {package}"
        assert "TESTS_MUST_NOT_SKIP" not in os.environ, skip
        pytest.skip(skip)
    return found
