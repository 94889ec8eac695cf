"""Helps root to back up and restore a state file that belongs to another user.

A file in another user's folder could be a link to a file anywhere. So root reads and writes the state file as its
owner. If only root has access to the backup, the data goes through a temporary folder of the owner.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, TypeVar

from notifier.privileges import Owner, acting_as, can_access
from notifier.store.file.backup import BackupError, refuse_target

Result = TypeVar("Result")

_TEMPORARY_FOLDER: Final = "/var/tmp"  # noqa: S108 - the private folder is made here, because a restart of the machine does not empty it
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


def owner_can_write(owner: Owner, target: Path) -> bool:
    """Return whether the owner of the state file can create this backup without root's rights."""
    return can_access(target.absolute().parent, owner, os.W_OK | os.X_OK)


def owner_can_read(owner: Owner, source: Path) -> bool:
    """Return whether the owner of the state file can read this backup without root's rights."""
    return can_access(source, owner, os.R_OK)


def make_as_owner(owner: Owner, target: Path, make: Callable[[Path], Result], *, overwrite: bool) -> Result:
    """Call `make` as the owner to write a backup, then copy the backup to `target` as root.

    `make` gets the path of a temporary file. The result of `make` is returned. With `overwrite`, an existing `target`
    is replaced. Raises BackupError, and the errors of `make`.
    """
    target = target.absolute()
    _require_root_folder(target)
    refuse_target(target, overwrite=overwrite)
    with _folder_of_owner(owner) as folder:
        copy = folder / target.name
        with acting_as(owner, pass_closed_folders=True):
            result = make(copy)
            source = os.fdopen(os.open(copy, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
        with source:
            _move_into_place(source, target, overwrite=overwrite)
    return result


@contextmanager
def copy_for_owner(owner: Owner, source: Path) -> Iterator[Path]:
    """Copy a file that only root can read to a place where the owner can read it; yield the path of the copy.

    The copy is deleted when the `with` block ends. Raises BackupError.
    """
    source = source.absolute()
    _require_root_folder(source)
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise BackupError(f"{source} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BackupError(f"{source} is not a regular file")
    with os.fdopen(descriptor, "rb") as file, _folder_of_owner(owner) as folder:
        copy = folder / source.name
        with acting_as(owner):
            new_file = os.fdopen(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
        with new_file:
            shutil.copyfileobj(file, new_file)
        yield copy


def _require_root_folder(path: Path) -> None:
    """Raise BackupError if users other than root could replace the file at this path."""
    folder = path.parent
    try:
        found = folder.stat()
    except OSError as error:
        raise BackupError(f"{folder} cannot be used ({error.strerror}): choose another path") from error
    is_sticky = found.st_mode & stat.S_ISVTX
    if found.st_uid != 0 or (found.st_mode & _WRITABLE_BY_OTHERS and not is_sticky):
        raise BackupError(f"{folder} can be written by users other than root: name a place that only root can write")


@contextmanager
def _folder_of_owner(owner: Owner) -> Iterator[Path]:
    with acting_as(owner):
        folder = Path(tempfile.mkdtemp(dir=_TEMPORARY_FOLDER, prefix="notifier-"))
    try:
        yield folder
    finally:
        # This process may have become the owner for good meanwhile.
        shutil.rmtree(folder, ignore_errors=True)


def _move_into_place(source: IO[bytes], target: Path, *, overwrite: bool) -> None:
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    new_file = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            shutil.copyfileobj(source, file)
            file.flush()
            os.fsync(descriptor)
        if overwrite:
            new_file.replace(target)
        else:
            os.link(new_file, target)
    except FileExistsError as error:
        raise BackupError(f"{target} was created in the meantime: name another file, or use --force") from error
    except OSError as error:
        raise BackupError(f"{target} cannot be written ({error.strerror}): choose another path") from error
    finally:
        new_file.unlink(missing_ok=True)
