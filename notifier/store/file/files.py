"""The names of the files beside a state file, and functions that open and rename these files safely.

A safe file is regular, has no second name (hard link), and belongs to this user or to the owner of its folder.
`open_private` opens only safe files, and follows no link. SQLite follows links, so `state_file_problem` checks the
files that SQLite opens.
"""

import contextlib
import errno
import logging
import os
import stat
from pathlib import Path
from typing import Final

SQLITE_PARTS: Final = ("-wal", "-shm", "-journal")
"""The suffixes of files that SQLite keeps beside a database. When a database is replaced, its files with these suffixes
must be moved or removed, because SQLite would apply them to the new database.
"""

LOCK: Final = ".lock"
ESSENTIALS: Final = ".essentials"
ESSENTIALS_PREVIOUS: Final = ".essentials.old"
ESSENTIALS_UNREADABLE: Final = ".essentials.unreadable"
ESSENTIALS_NEW: Final = ".essentials.new"
EXCHANGE: Final = ".exchange"
DAMAGE_MARKER: Final = ".damage-met"
_SOCKET: Final = ".sock"
EARLIER_UNFINISHED: Final = ".rebuilding"
EARLIER_FINISHED: Final = ".rebuilt"
"""The suffix that earlier versions gave to a finished rebuilt file. An unfinished one had EARLIER_UNFINISHED."""

SET_ASIDE: Final = (".damaged-", ".replaced-")
"""The suffixes of old files that are kept after damage and after a restore; a date follows the suffix."""

_PARTS: Final = (
    LOCK,
    _SOCKET,
    ESSENTIALS,
    ESSENTIALS_PREVIOUS,
    ESSENTIALS_NEW,
    ESSENTIALS_UNREADABLE,
    EXCHANGE,
    DAMAGE_MARKER,
    EARLIER_UNFINISHED,
    EARLIER_FINISHED,
)
_NAMES: Final = frozenset(
    {"", *SQLITE_PARTS, *(part + of_sqlite for part in _PARTS for of_sqlite in ("", *SQLITE_PARTS))}
)


_log = logging.getLogger(__name__)

_LINK: Final = "it is a symbolic link, and links are not followed"


def real_path(path: Path) -> Path:
    """Return the path with all links in its folder resolved, because the files beside it are in the real folder.

    The file name itself is not resolved. If it is a link, the code that opens the file refuses it.
    """
    return Path(os.path.realpath(path.parent)) / path.name


def open_private(path: Path, flags: int, *, second_name: Path | None = None) -> int:
    """Open a file safely, and return the descriptor. If the file is created, other users cannot read it.

    Raises OSError if the file cannot be opened or is not safe. The file may have a second name (a hard link) only if
    that name is `second_name`.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP and path.is_symlink():
            raise OSError(errno.ELOOP, _LINK, str(path)) from error
        raise
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        problem = _file_problem(found, path, second_name)
    except OSError:
        os.close(descriptor)
        raise
    if problem is not None:
        os.close(descriptor)
        raise OSError(errno.EPERM, problem, str(path))
    return descriptor


def _file_problem(found: os.stat_result, path: Path, second_name: Path | None = None) -> str | None:
    """Return why a file must not be used; None if it may be used.

    A usable file is regular, belongs to this user or to the owner of its folder, and has no other hard link than
    `second_name`.
    """
    if not stat.S_ISREG(found.st_mode):
        return "it is not a regular file"
    if found.st_nlink > 1 + (second_name is not None and _has_name(found, second_name)):
        return "it has a second name"
    if found.st_uid in (os.geteuid(), (folder := path.parent.stat()).st_uid):
        return None
    # Root accepts another user's file in a folder that only root can write to: root has given it to the daemon's user.
    if os.geteuid() == 0 == folder.st_uid and not folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return None
    return "it belongs to another user"


def _has_name(found: os.stat_result, path: Path) -> bool:
    try:
        return os.path.samestat(found, path.lstat())
    except OSError:
        return False


def state_file_problem(path: Path) -> str | None:
    """Return why a state file, or a file that SQLite keeps beside it, must not be opened.

    Returns None if all may be opened. The check is needed because SQLite opens these files by name and would follow
    links.
    """
    for part in ("", *SQLITE_PARTS):
        file = path.with_name(path.name + part)
        try:
            found = file.lstat()
        except OSError:
            continue
        if stat.S_ISDIR(found.st_mode) and not part:
            continue
        problem = _LINK if stat.S_ISLNK(found.st_mode) else _file_problem(found, file)
        # A second name of the state file itself is reported by the lock, which says where to find it.
        if problem is not None and (part or found.st_nlink == 1 or not stat.S_ISREG(found.st_mode)):
            return f"{file}: {problem}"
    return None


def restrict_permissions(path: Path) -> None:
    """Remove other users' permissions from a state file, from the files beside it, and from their folder.

    Files of other owners are left alone. The folder is left alone if it contains any other file. Each change is logged.
    """
    folder = path.parent
    names = [entry.name for entry in os.scandir(folder)]
    for name in names:
        if name.startswith(path.name):
            _restrict_permissions(folder / name, 0o600, os.O_RDONLY)
    if all(name.startswith((path.name, f".{path.name}")) for name in names):
        _restrict_permissions(folder, 0o700, os.O_RDONLY | os.O_DIRECTORY)


def _restrict_permissions(path: Path, mode: int, flags: int) -> None:
    try:
        before = path.lstat()
        # Closing a file here that SQLite has open would drop SQLite's locks, so this runs before SQLite opens it.
        if not (stat.S_ISREG(before.st_mode) or stat.S_ISDIR(before.st_mode)) or before.st_uid != os.geteuid():
            return
        if not stat.S_IMODE(before.st_mode) & 0o077:
            return
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if os.path.samestat(os.fstat(descriptor), before):
                os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)
    except OSError as error:
        _log.warning(
            "other users can read the state file, and its permissions cannot be changed",
            extra={"path": str(path), "detail": error.strerror},
        )
    else:
        _log.warning(
            "other users could read the state file; its mode was changed",
            extra={"path": str(path), "detail": f"from {stat.S_IMODE(before.st_mode):04o} to {mode:04o}"},
        )


def file_identity(path: Path) -> tuple[int, int] | None:
    """Return the device and inode of a file; None if they cannot be read.

    If the device or inode has changed, the name now belongs to another file.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def sibling_path(path: Path, suffix: str) -> Path:
    """Return the real path of the state file with `suffix` appended to its name."""
    real = real_path(path)
    return real.with_name(real.name + suffix)


def belongs_to_state_file(state_file: Path, target: Path) -> bool:
    """Return whether a path is the state file or one of the files that the program or SQLite uses beside it.

    Both paths must be real paths.
    """
    if target.parent != state_file.parent or not target.name.startswith(state_file.name):
        return False
    suffix = target.name[len(state_file.name) :]
    return suffix in _NAMES or suffix.startswith(SET_ASIDE)


def sync(path: Path) -> None:
    """Sync a file's content to disk, so that it survives a power cut. Raises OSError.

    Do not call this for a file that SQLite has open in this process: closing the descriptor drops SQLite's locks.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Sync a folder's entries to disk, so that they survive a power cut. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_durably(fresh: Path, path: Path) -> None:
    """Replace the file at `path`, if any, with the finished file `fresh`, and sync the change. Raises OSError."""
    sync(fresh)
    fresh.replace(path)
    sync_folder(path.parent)


def remove_database(path: Path) -> None:
    """Remove a file and the files that SQLite keeps beside it. Raises OSError."""
    for part in ("", *SQLITE_PARTS):
        path.with_name(path.name + part).unlink(missing_ok=True)


def give_to_state_file_owner(path: Path, *files: Path) -> None:
    """As root, give `files` to the owner of the state file `path`; if that is missing, to the owner of its folder."""
    if os.geteuid() == 0:
        try:
            owner = path.lstat()
        except FileNotFoundError:
            owner = path.parent.stat()
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                descriptor = open_private(file, os.O_RDONLY)
                try:
                    os.fchown(descriptor, owner.st_uid, owner.st_gid)
                finally:
                    os.close(descriptor)
