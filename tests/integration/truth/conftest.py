"""The real daemon and all that is around it on one loop, on which an hour of waiting takes no time."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from notifier.alerts.disk_rules import FreeSpace
from tests.integration.truth.prometheus import check
from tests.integration.truth.site import Site
from tests.support.time_lapse import TimeLapse, pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let there be so many free bytes, whatever room this machine has."""
    free = [10**12]

    async def measure_free_space(state_file: Path) -> FreeSpace:
        return FreeSpace(state_file.parent, free[0], 10**12)

    monkeypatch.setattr("notifier.alerts.disk_rules.measure_free_space", measure_free_space)
    return free


@pytest.fixture(scope="session")
def rule_cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, Any]]]:
    """Collect what Prometheus saw in each state; at the end, one run of promtool tells whether the rules hold."""
    cases: list[dict[str, Any]] = []
    yield cases
    check(cases, tmp_path_factory.mktemp("rules"))


@pytest.fixture
async def site(tmp_path: Path, room: list[int]) -> AsyncIterator[Site]:
    """The site; the test starts the daemon."""
    assert isinstance(asyncio.get_running_loop(), TimeLapse)
    async with Site(tmp_path, room) as around:
        yield around
