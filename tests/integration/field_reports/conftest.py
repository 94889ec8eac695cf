"""The real daemon and the real sandbox on one loop, on which an hour of waiting takes no time."""

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from tests.support.destinations import way_to_post
from tests.support.detection_world import World
from tests.support.time_lapse import TimeLapse

__all__ = ["way_to_post"]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], TimeLapse]]:
    """Run every test here on a loop in which time passes only where everybody waits."""
    return {"time lapse": TimeLapse}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """What is around the daemon; the test opens it."""
    async with World(tmp_path) as around:
        yield around
