"""A new state file, and a store that does not wait for the disk, for tests that are about something else."""

import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from notifier.store.file.connection import open_database
from notifier.store.file.store import FileStore
from notifier.store.store import Store


def new_state_file(path: Path) -> Path:
    """Create a state file without rows at `path`, unless there is a file.

    The file is a copy, because creating the tables takes 60 milliseconds of processor time.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(_image())
    return path


async def disable_fsync(store: Store) -> None:
    """Turn off waiting for the disk in an open store, because it would take half of a test's time.

    Only a power cut would show the difference.
    """
    assert isinstance(store, FileStore)
    await store.run_without_transaction(lambda db: db.execute("PRAGMA synchronous = OFF"))


@cache
def _image() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, "notifier.db")
        open_database(path).close()
        return path.read_bytes()
