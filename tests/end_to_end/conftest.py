"""Fixtures: a receiver, and the program before its start."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.program import Program, Receiver, receiving


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as this:
        yield this


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    this = Program(tmp_path)
    yield this
    if this.process is not None and this.process.poll() is None:
        this.kill()
