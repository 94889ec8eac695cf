"""Lets root use the files of another user with only that user's rights.

Otherwise, a user could place a symbolic link in their folder and make root change any file. Root is a process whose
effective user is root. In other processes, this module changes nothing.
"""

import ctypes
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

_ROOT: Final = 0
_PR_SET_KEEPCAPS: Final = 8
_CAPABILITY_VERSION: Final = 0x20080522
_READ_SEARCH: Final = 1 << 2
"""The bit of the capability CAP_DAC_READ_SEARCH, with which a process can read every file and pass every folder."""
_ALL: Final = 2**64 - 1
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class Owner(Struct, frozen=True):
    """A user that owns files; `name` is None if the system has no name for the user id."""

    uid: int
    gid: int
    name: str | None

    def __str__(self) -> str:
        """Return the name or, without a name, `user` and the user id."""
        return self.name or f"user {self.uid}"


def is_root() -> bool:
    """Return whether the effective user of this process is root."""
    return os.geteuid() == _ROOT


def owner_to_become(file: Path) -> Owner | None:
    """Return the user that root should become before it uses `file` and the files beside it.

    This user is the owner of the folder of `file` (or of the nearest existing folder above). If root owns that folder,
    but others can write to it, this user is the owner of `file`. Returns None if no change is needed or possible: this
    process is not root, the owner is root, or the owner of `file` cannot be read.
    """
    if not is_root():
        return None
    # Path.is_dir() raises an error for a folder that this process cannot reach, for example on a network file system.
    folder = next((folder for folder in file.parents if os.path.isdir(folder)), Path("/")).stat()  # noqa: PTH112
    if folder.st_uid != _ROOT:
        return owner_of(folder)
    if folder.st_mode & _OTHERS_WRITE:
        try:
            found = file.lstat()
        except OSError:
            return None
        return None if found.st_uid == _ROOT else owner_of(found)
    return None


def become(owner: Owner, file: Path) -> None:
    """Become this user for the rest of the process, to use `file` and the files beside it. Raises OSError.

    If the user cannot reach the folder of `file`, the process keeps one capability of root: it can read all files and
    pass through all folders, but cannot change them. For example, systemd keeps the state of a service with a dynamic
    user in a folder that this user cannot reach.
    """
    with acting_as(owner):
        is_closed = not os.access(file.parent, os.X_OK, effective_ids=True)
    _set_groups(owner)
    os.setresgid(owner.gid, owner.gid, owner.gid)
    if is_closed:
        _call_libc("prctl", _PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setresuid(owner.uid, owner.uid, owner.uid)
    if is_closed:
        _keep_only_search(permitted=_READ_SEARCH)


@contextmanager
def acting_as(owner: Owner, *, pass_closed_folders: bool = False) -> Iterator[None]:
    """Act as this user within the context, then as root again.

    If `pass_closed_folders` is true, the process can read all files and pass through all folders during that time.
    """
    uid, gid, groups = os.geteuid(), os.getegid(), os.getgroups()
    _set_groups(owner)
    os.setegid(owner.gid)
    os.seteuid(owner.uid)
    try:
        if pass_closed_folders:
            _keep_only_search(permitted=_ALL)
        yield
    finally:
        os.seteuid(uid)
        os.setegid(gid)
        os.setgroups(groups)


def can_access(path: Path, owner: Owner, mode: int) -> bool:
    """Return whether a user may access a path in this mode (`os.R_OK`, `os.W_OK` or `os.X_OK`)."""
    with acting_as(owner):
        return os.access(path, mode, effective_ids=True)


def owner_of(found: os.stat_result) -> Owner:
    """Return the owner of a file."""
    try:
        known = pwd.getpwuid(found.st_uid)
    except KeyError:
        return Owner(found.st_uid, found.st_gid, None)
    return Owner(known.pw_uid, known.pw_gid, known.pw_name)


def _keep_only_search(permitted: int) -> None:
    """Reduce the effective capabilities of this process to CAP_DAC_READ_SEARCH (capabilities(7), capset(2)).

    `permitted` is a bit mask of the capabilities that the process may make effective again later.
    """
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    held = (ctypes.c_uint32 * 6)()
    _call_libc("capget", header, held)
    for half in range(2):
        effective, allowed = half * 3, half * 3 + 1
        held[allowed] &= permitted >> (32 * half) & 0xFFFFFFFF
        held[effective] = held[allowed] & (_READ_SEARCH >> (32 * half)) & 0xFFFFFFFF
        held[half * 3 + 2] = 0
    _call_libc("capset", header, held)


def _call_libc(name: str, *arguments: Any) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _set_groups(owner: Owner) -> None:
    if owner.name is None:
        os.setgroups([owner.gid])
    else:
        os.initgroups(owner.name, owner.gid)
