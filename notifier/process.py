"""Prepares the process's file descriptors and signal handlers before any slow import.

This module imports only modules that the interpreter has already loaded, or that are a part of it.
"""

import gc
import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from types import FrameType
from typing import Any, Final

_DAEMON: Final = "run"
_OPTIONS_WITH_VALUE: Final = frozenset({"--config", "--secrets-dir"})
"""The common options that take a value."""


def prepare(arguments: Iterable[str]) -> None:
    """Open missing standard descriptors; for the daemon, also install handlers for signals during its start."""
    _open_standard_streams()
    if _command_of(arguments) == _DAEMON:
        signal.signal(signal.SIGHUP, PendingHangup(signal.getsignal(signal.SIGHUP)))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _exit_at_once)


def pause_garbage_collection() -> None:
    """Keep the garbage collector from running while modules are imported.

    Imports create very many objects that stay in use. Searching them for garbage again and again takes a seventh of the
    import time.
    """
    gc.disable()


def resume_garbage_collection() -> None:
    """Let the garbage collector run again, if it was held; it will never examine the objects that exist now."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def release_free_memory() -> None:
    """Return this process's unused memory to the system, because glibc would keep much of it. May block."""
    # Imported here, because only the daemon needs it.
    import ctypes  # noqa: PLC0415

    # Other C libraries lack this function.
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


class PendingHangup:
    """Handles SIGHUP during the daemon's start by recording that the signal came."""

    def __init__(self, earlier: Any) -> None:
        """Initialize with the previous handler of SIGHUP."""
        self.has_arrived = False
        self.ends_with_terminal = earlier is not signal.SIG_IGN and has_terminal()
        """Whether the daemon was started from a terminal without nohup, and so ends when that terminal closes."""

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        """Record that the signal came."""
        self.has_arrived = True


def has_terminal() -> bool:
    """Return whether the process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def _exit_at_once(_number: int, _frame: FrameType | None) -> None:
    # Nothing has been opened or written yet, so exiting is safe. The module being imported could swallow an exception.
    os._exit(0)


def _command_of(arguments: Iterable[str]) -> str | None:
    rest = iter(arguments)
    for argument in rest:
        if argument in _OPTIONS_WITH_VALUE:
            next(rest, None)
        elif not argument.startswith("-"):
            return argument
    return None


def _open_standard_streams() -> None:
    """Open /dev/null as descriptor 0, 1 or 2 if it is closed; another file could get the number and be overwritten."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            with suppress(OSError):
                # This opens `descriptor`, because the lowest free number is used and the lower ones are taken.
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            stream = open(descriptor, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
