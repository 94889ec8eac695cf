"""Fixtures for tests of delivery: a store with workers, and a receiver."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.workers import Receiver, Rig


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path / "notifier.db") as standing:
        yield standing


@pytest.fixture
async def receiver(rig: Rig) -> Receiver:
    return await rig.receiver()
