"""Finds the installed program `notifier`, and checks whether a service can run it and whether this is safe."""

import grp
import os
import pwd
import stat
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import notifier
from notifier.privileges import owner_of

_PROGRAM: Final = "notifier"
_PRIVATE_FOLDERS: Final = ("/tmp", "/var/tmp")  # noqa: S108 - not used, but known to be hidden by PrivateTmp=
_HOME_FOLDERS: Final = ("/home", "/root", "/run/user")
"""The folders that systemd's setting ProtectHome= hides from a service (systemd.exec(5))."""

LOCATION_ADVICE: Final = (
    "install it where every user can run it: into a virtual environment in /opt/notifier, with `pipx install"
    " --global`, or with `uv tool install` and UV_TOOL_DIR=/opt/uv UV_PYTHON_INSTALL_DIR=/opt/uv/python"
    " UV_TOOL_BIN_DIR=/usr/local/bin"
)
"""The advice to print after the problems that `access_problems` returns."""


OWNERSHIP_ADVICE: Final = (
    "install it as root (sudo) into /opt/notifier; or, if its folder contains nothing else, make root the folder's only"
    " owner: chown -R root:root FOLDER and chmod -R go-w FOLDER"
)
"""The advice to print after the problems that `ownership_problems` returns."""

_MAX_SENTENCES: Final = 5


def installed_program(argv0: str) -> Path | None:
    """Return the real path of the installed program `notifier`; None if it is not installed.

    `argv0` is the path by which the running program was called.
    """
    called = Path(argv0)
    # For `python -m notifier`, look in the folder where the interpreter installs programs.
    for program in (called, Path(sysconfig.get_path("scripts")) / _PROGRAM):
        if program.name == _PROGRAM and program.is_file():
            return program.resolve()
    return None


def required_files(program: Path) -> tuple[Path, ...]:
    """Return the files that a user must be able to read to run `program`, such as the interpreter and this package."""
    return (program, Path(sys.executable).resolve(), Path(os.__file__), Path(notifier.__file__))


def access_problems(required: Iterable[Path]) -> list[str]:
    """Return sentences that say why a service cannot use the `required` files of its program; empty if it can."""
    return list(dict.fromkeys(filter(None, (_access_problem(path) for path in required))))


def ownership_problems(required: Iterable[Path], package: Path | None = None) -> list[str]:
    """Return sentences about the files that users other than root can change.

    This checks the `required` files, the folders above them, and everything in the folder `package`. At most five
    sentences are returned.
    """
    places = dict.fromkeys(place for path in required for place in (*reversed(path.parents), path))
    if package is not None:
        places |= dict.fromkeys([package, *package.rglob("*")])
    problems = [problem for problem in map(_ownership_problem, places) if problem is not None]
    return problems[:_MAX_SENTENCES]


def _ownership_problem(path: Path) -> str | None:
    try:
        found = path.stat()
    except OSError:
        return None
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid != 0:
        return f"{path} belongs to {owner_of(found)}, who could change what the service runs"
    # In a folder with the sticky bit, users cannot replace files of other users.
    by_others = mode & stat.S_IWOTH or (mode & stat.S_IWGRP and _has_members(found.st_gid))
    is_sticky_folder = stat.S_ISDIR(found.st_mode) and mode & stat.S_ISVTX
    if by_others and not is_sticky_folder:
        return f"{path} can be written by users other than root (mode {mode:04o})"
    return None


def _has_members(gid: int) -> bool:
    """Return whether a group has members other than root; True for an unknown group."""
    if gid == 0:
        return False
    try:
        members = set(grp.getgrgid(gid).gr_mem)
    except KeyError:
        return True
    members |= {user.pw_name for user in pwd.getpwall() if user.pw_gid == gid}
    return bool(members - {"root"})


def is_in_home_folder(path: Path) -> bool:
    """Return whether systemd's setting ProtectHome=yes hides this path from a service."""
    return any(path.is_relative_to(home) for home in _HOME_FOLDERS)


def _access_problem(path: Path) -> str | None:
    if any(path.is_relative_to(hidden) for hidden in _PRIVATE_FOLDERS):
        return f"{path} is in a folder for temporary files, but the service has its own such folder"
    if ".cache" in path.parts:
        return f"{path} is in a cache, which may be emptied at any time (by `uvx` or `pipx run`?)"
    for place, needed in _required_permissions(path):
        try:
            mode = stat.S_IMODE(place.stat().st_mode)
        except OSError as error:
            return f"{place} cannot be read: {error.strerror}"
        if mode & needed != needed:
            return f"the service runs as its own user, who cannot reach {place} (mode {mode:04o})"
    return None


def _required_permissions(path: Path) -> Iterator[tuple[Path, int]]:
    """Yield the folders above a file, then the file, each with the permission bit that reading the file requires."""
    for folder in reversed(path.parents):
        yield folder, stat.S_IXOTH
    yield path, stat.S_IROTH
