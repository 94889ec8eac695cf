"""Examines paths: recognises pipes, sockets and devices, because a program that reads them may wait for ever."""

import os
import stat
from pathlib import Path


def is_there(path: Path) -> bool:
    """Return whether a path exists, as far as this user can see: False if a folder above the path is closed.

    `Path.exists` raises PermissionError for a path in a closed folder.
    """
    return os.path.exists(path)  # noqa: PTH110 - see above


def describe_irregular(path: Path) -> str | None:
    """Return a description such as `is a socket, not a regular file`; None for a regular file or a folder.

    Links are followed. `/dev/null` is treated as a regular file. For a missing or inaccessible path, None is returned,
    too, because reading the path will report the error.
    """
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    match stat.S_IFMT(found.st_mode):
        case stat.S_IFREG | stat.S_IFDIR:
            return None
        case stat.S_IFIFO:
            what = "is a named pipe"
        case stat.S_IFSOCK:
            what = "is a socket"
        case _:
            if stat.S_ISCHR(found.st_mode) and found.st_rdev == Path(os.devnull).stat().st_rdev:
                return None
            what = "is a device"
    return f"{what}, not a regular file"
