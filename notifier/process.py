"""Prepares the process before the slow imports: standard streams, signal handlers and garbage collection.

This module imports only modules that the interpreter has already loaded, or that are built into it.
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
"""The options that come before the command and take a value."""


def prepare(arguments: Iterable[str]) -> None:
    """Connect closed standard streams to /dev/null.

    If `arguments` contain the command `run`, also install the signal handlers for the start of the daemon.
    """
    _open_standard_streams()
    if _command_of(arguments) == _DAEMON:
        signal.signal(signal.SIGHUP, PendingHangup(signal.getsignal(signal.SIGHUP)))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _exit_at_once)


def pause_garbage_collection() -> None:
    """Stop automatic garbage collection while modules are imported.

    Imports create many objects that stay in use. Searching them for garbage takes a seventh of the import time.
    """
    gc.disable()


def resume_garbage_collection() -> None:
    """If automatic garbage collection is paused, resume it, but exempt all objects that exist at this moment."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def module_search_path() -> str:
    """Return the PYTHONPATH with which a new process of this interpreter finds the same modules as this process.

    The process must be started with the options -P and -s, so that it finds no other modules.
    """
    # Python ignores entries that are no texts.
    entries: list[object] = [*sys.path]
    folders = [entry for entry in entries if isinstance(entry, str) and entry.startswith("/")]
    return os.pathsep.join(folder for folder in folders if not {os.pathsep, "\0"} & {*folder})


def release_free_memory() -> None:
    """Return unused memory of this process to the system, because glibc would keep much of it. May block."""
    # Imported here, because only the daemon needs it.
    import ctypes  # noqa: PLC0415

    # Only glibc has this function.
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


class PendingHangup:
    """Handles SIGHUP during the start of the daemon: only records that the signal has arrived."""

    def __init__(self, earlier: Any) -> None:
        """Initialise with the previous handler of SIGHUP."""
        self.has_arrived = False
        self.ends_with_terminal = earlier is not signal.SIG_IGN and has_terminal()
        """Whether the daemon must stop when its terminal closes: it was started from a terminal, without nohup."""

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        """Record that the signal has arrived."""
        self.has_arrived = True


def has_terminal() -> bool:
    """Return whether the process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def _exit_at_once(_number: int, _frame: FrameType | None) -> None:
    # Nothing has been opened or written yet, so an immediate exit is safe. The module that is being imported could
    # swallow an exception.
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
    """If any of the descriptors 0, 1 and 2 is closed, open /dev/null in its place.

    Without this, the next file to be opened would get the closed descriptor's number, and the program's output could
    overwrite that file.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            with suppress(OSError):
                # The system uses the lowest free number, which is `descriptor`, because all lower numbers are in use.
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            stream = open(descriptor, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
