"""Fixtures with a real daemon and its surroundings on one event loop with compressed time."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from notifier.alerts.disk_rules import FreeSpace
from tests.integration.failure_modes.prometheus import check
from tests.integration.failure_modes.site import Site
from tests.support.time_lapse import TimeLapse, pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]


@pytest.fixture(autouse=True)
def free_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replace the measured free disk space with a number of bytes that a test may change."""
    free = [10**12]

    async def measure_free_space(state_file: Path) -> FreeSpace:
        return FreeSpace(state_file.parent, free[0], 10**12)

    monkeypatch.setattr("notifier.alerts.disk_rules.measure_free_space", measure_free_space)
    return free


@pytest.fixture(scope="session")
def rule_cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, Any]]]:
    """Collect the scraped metrics of each state; at the end, promtool checks the alert rules on all of them."""
    cases: list[dict[str, Any]] = []
    yield cases
    check(cases, tmp_path_factory.mktemp("rules"))


@pytest.fixture
async def site(tmp_path: Path, free_bytes: list[int]) -> AsyncIterator[Site]:
    """Yield an installation whose daemon is not started yet."""
    assert isinstance(asyncio.get_running_loop(), TimeLapse)
    async with Site(tmp_path, free_bytes) as around:
        yield around
