"""What the tests of one source's parts share: a store without rows."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from notifier.store.file.store import FileStore
from tests.support.new_state_file import new_state_file


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FileStore]:
    opened = FileStore(new_state_file(tmp_path / "notifier.db"))
    await opened.open()
    yield opened
    await opened.close()
