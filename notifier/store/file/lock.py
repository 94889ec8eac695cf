"""Locks the state file, so that only one process can write to it, whatever name is used to open it.

The first lock is on a lock file beside the state file. The lock file stays when the state file is replaced. The second
lock is on the state file itself, so it also excludes a process that uses another name of the file. A state file that
already has a second name is refused, because its log, lock file and essentials are beside one name only.

A process loses SQLite's own locks when it closes any descriptor of the file. So the descriptor of the second lock stays
open until SQLite has closed the file.
"""

import contextlib
import errno
import fcntl
import os
import re
from pathlib import Path
from typing import Final

from notifier.store.errors import StoreError, StoreReason
from notifier.store.file.files import (
    LOCK,
    give_to_state_file_owner,
    open_private,
    real_path,
    sibling_path,
    state_file_problem,
)

REFUSED_ERRNOS: Final = (errno.ELOOP, errno.EPERM)
"""The error numbers for a file that exists but must not be used."""

REMOVE_ADVICE: Final = "remove it, or name another [store] path"

_REMOTE: Final = re.compile(r"nfs|cifs|smb|9p|fuse|virtiofs|ceph|gluster")
"""The types of file systems on which the state file itself is not locked. There, the lock could act like one
of SQLite's own locks, and block readers. Also, the device and inode numbers of a file may change there.
"""


class FileLock:
    """The locks on a state file and on the lock file beside it; the kernel releases them at the end of the process."""

    def __init__(self, state_file: Path) -> None:
        """Initialise with the state file; nothing is locked yet."""
        self._state_file = state_file
        self._real_path = real_path(state_file)
        self._path = sibling_path(state_file, LOCK)
        self._lock_descriptor: int | None = None
        self._file_descriptor: int | None = None

    @property
    def path(self) -> Path:
        """The lock file beside the state file."""
        return self._path

    def acquire(self) -> None:
        """Take the locks without waiting.

        Raises StoreError with one of these reasons:

        - IN_USE: another process has one of the locks
        - LINKED: a file must not be used (such as a link or a mount)
        - NOT_WRITABLE: the folder cannot be written to, or does not support locks
        """
        try:
            descriptor = open_private(self._path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            if error.errno in REFUSED_ERRNOS:
                raise StoreError(StoreReason.LINKED, f"{self._path}: {error.strerror}; {REMOVE_ADVICE}") from error
            raise StoreError(
                StoreReason.NOT_WRITABLE,
                f"the folder {self._path.parent} cannot be written to ({error.strerror}): "
                "give this user write access or name another [store] path",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise StoreError(
                StoreReason.IN_USE,
                f"state file {self._state_file} is in use by process {holder}: stop that process first, or set"
                " another [store] path here",
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise StoreError(
                StoreReason.NOT_WRITABLE,
                f"{self._path} cannot be locked ({error.strerror}): its file system may not support locks (for example"
                " a network share); set [store] path to a local disk",
            ) from error
        self._lock_descriptor = descriptor
        # The process id is only for the error message of a second process, so it may be missing if the disk is full.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        with contextlib.suppress(OSError):
            give_to_state_file_owner(self._real_path, self._path)
        try:
            self._refuse_mount()
            self._refuse_links()
            self._file_descriptor = self._lock_state_file()
        except StoreError:
            self.release()
            raise

    def lock_present_file(self) -> None:
        """Lock the state file if it was created or replaced after `acquire`.

        SQLite has the file open already. Raises StoreError: IN_USE if another process has locked the file, LINKED if
        the file has a second name.
        """
        if not self.is_in_place():
            before, self._file_descriptor = self._file_descriptor, self._lock_state_file()
            if before is not None:
                os.close(before)
        if self._file_descriptor is not None and os.fstat(self._file_descriptor).st_nlink > 1:
            raise StoreError(
                StoreReason.LINKED,
                f"state file {self._state_file} has a second name (a hard link; `find / -inum"
                f" {os.fstat(self._file_descriptor).st_ino}` finds it): remove it, or replace it with a copy",
            )

    def is_in_place(self) -> bool:
        """Return whether the state file's path still leads to the locked file."""
        if self._file_descriptor is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._file_descriptor), self._real_path.stat())
        except OSError:
            return False

    def is_overwritten(self) -> bool:
        """Return whether another database, such as a backup, was copied over the locked file while it was in use.

        The file's header shows this: an open state file's header names a write-ahead log, a backup's does not.
        """
        try:
            header = b"" if self._file_descriptor is None else os.pread(self._file_descriptor, 20, 0)
        except OSError:
            return False
        return header.startswith(b"SQLite format 3") and header[18:20] == b"\1\1"

    @property
    def holds_file(self) -> bool:
        """Whether the state file itself is locked; if not, the result of `is_in_place` means nothing."""
        return self._file_descriptor is not None

    def is_valid(self) -> bool:
        """Return whether the lock file still has its name; if not, the lock no longer excludes other processes."""
        try:
            return self._lock_descriptor is not None and os.path.samestat(
                os.fstat(self._lock_descriptor), self._path.stat()
            )
        except OSError:
            return False

    def release(self) -> None:
        """Release the locks, if held. The lock file is not removed, because that could race with a new process."""
        for descriptor in (self._file_descriptor, self._lock_descriptor):
            if descriptor is not None:
                os.close(descriptor)
        self._file_descriptor = self._lock_descriptor = None

    def _lock_state_file(self) -> int | None:
        """Lock the state file itself, and return its descriptor.

        Raises StoreError if another process has locked it. Returns None if the file is on a remote file system, is
        missing or cannot be opened.
        """
        if _REMOTE.match(_file_system(self._real_path)):
            return None
        try:
            descriptor = os.open(self._real_path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            # The code that opens the file reports the problem.
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN):
                return descriptor
            os.close(descriptor)
            raise StoreError(
                StoreReason.IN_USE,
                f"state file {self._state_file} is in use by another process under another name (a hard link, or a"
                " mount): stop that process, or set another [store] path here",
            ) from error
        return descriptor

    def _refuse_links(self) -> None:
        if problem := state_file_problem(self._real_path):
            raise StoreError(StoreReason.LINKED, f"{problem}; {REMOVE_ADVICE}")

    def _refuse_mount(self) -> None:
        if str(self._real_path) in _file_system_types() and not self._real_path.is_dir():
            raise StoreError(
                StoreReason.LINKED,
                f"state file {self._state_file} is mounted as a single file: mount its folder instead, because it"
                " needs the files beside it",
            )


def _file_system_types() -> dict[str, str]:
    """Return the type of the file system at each mount point; of several mounts at one point, the latest counts."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        before, _, after = line.partition(" - ")
        place = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), before.split(" ")[4])
        found[place] = after.split(" ")[0]
    return found


def _file_system(path: Path) -> str:
    """Return the type of the file system that holds a file; "" if it is unknown."""
    mounts = _file_system_types()
    return next((mounts[str(folder)] for folder in path.parents if str(folder) in mounts), "")
