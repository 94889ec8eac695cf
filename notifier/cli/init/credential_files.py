"""Writes files that only their owner may read."""

import os
from contextlib import suppress
from pathlib import Path


class FileWriteError(Exception):
    """A file could not be written; the message tells the operator why."""


def write_private(file: Path, text: str, *, overwrite: bool) -> None:
    """Write a file with mode 0600, completely or not at all; create a missing folder with mode 0700.

    An existing file is replaced only with `overwrite`. Raises FileWriteError.
    """
    target = file.resolve() if overwrite else file
    temporary = target.with_name(f".{target.name}.new") if overwrite else target
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if overwrite:
            temporary.unlink(missing_ok=True)
        _write_new(temporary, text)
        if overwrite:
            temporary.replace(target)
    except FileExistsError as error:
        raise FileWriteError(f"{file} already exists") from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise FileWriteError(f"{file} cannot be written: {why}") from error


def _write_new(file: Path, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as stream:  # noqa: PTH123 - a descriptor, not a path
            stream.write(text)
            stream.flush()
            os.fsync(descriptor)
    except OSError:
        with suppress(OSError):
            file.unlink()
        raise
