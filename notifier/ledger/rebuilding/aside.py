"""Other names for a state file and what belongs to it: set aside under a date, or put into its place."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

_PARTS: Final = ("", "-wal", "-shm", "-journal")
"""The file itself and what SQLite keeps beside it; a write-ahead log of another file would be taken for its own."""


def real_path(path: Path) -> Path:
    """Return where a file really lies, whatever links lead to it: what belongs to it lies there."""
    return Path(os.path.realpath(path))


def set_aside(path: Path, word: str, now_ms: int) -> Path | None:
    """Give a state file, and what belongs to it, a name with a word and the date.

    As `notifier.db.damaged-20261125T170000Z`. Returns the new name, None when there was no file. Raises OSError.
    """
    stamp = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = free_name(path.with_name(f"{path.name}.{word}-{stamp}"))
    moved = [part for part in _PARTS if _rename(path, aside, part)]
    _write_down(path.parent)
    return aside if "" in moved else None


def put_in_place(fresh: Path, path: Path) -> None:
    """Give a finished file its name, for good. Raises OSError."""
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    fresh.replace(path)
    _write_down(path.parent)


def remove_all(path: Path) -> None:
    """Remove a file and what SQLite keeps beside it. Raises OSError."""
    for part in _PARTS:
        path.with_name(path.name + part).unlink(missing_ok=True)


def free_name(path: Path) -> Path:
    """Return a name that nothing has: this one, or it with a number."""
    names = (path.with_name(f"{path.name}-{number}") for number in range(2, 10_000))
    return path if not path.exists() else next(name for name in names if not name.exists())


def _rename(path: Path, aside: Path, part: str) -> bool:
    try:
        path.with_name(path.name + part).rename(aside.with_name(aside.name + part))
    except FileNotFoundError:
        return False
    return True


def _write_down(folder: Path) -> None:
    """Let the folder's new entries survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
