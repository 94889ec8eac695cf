"""Keeps a second process away from the state file: one process, one writing connection."""

import contextlib
import fcntl
import os
from pathlib import Path

from notifier.ledger.errors import LedgerError, LedgerReason


class FileLock:
    """An exclusive lock on a file beside the state file; the kernel gives it back however the holder ends."""

    def __init__(self, state_file: Path) -> None:
        """Name the lock after the state file; nothing is taken yet."""
        self._state_file = state_file
        # Beside the file itself, whatever links lead to it.
        real = Path(os.path.realpath(state_file))
        self._path = real.with_name(real.name + ".lock")
        self._descriptor: int | None = None

    @property
    def path(self) -> Path:
        """The file that bears the lock."""
        return self._path

    def acquire(self) -> None:
        """Take the lock at once, or raise LedgerError(IN_USE) that says who holds it."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LedgerError(
                LedgerReason.NOT_WRITABLE,
                f"the folder {self._path.parent} cannot be written to ({error.strerror}): "
                "give this user write access or name another [store] path",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise LedgerError(
                LedgerReason.IN_USE,
                f"state file {self._state_file} is in use by process {holder}: "
                "stop that one first, or give this one another [store] path",
            ) from error
        self._descriptor = descriptor
        # The name is a courtesy to whoever comes second; a full disk must not keep the holder from starting.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock back; harmless when it is not held. The file stays: removing it would race a newcomer."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
