"""What the daemon tells systemd: that it is ready, how it is doing, that it is alive (the protocol of sd_notify(3)).

The protocol is a datagram of `NAME=value` lines. The libraries for it are either unmaintained (sdnotify, of 2017) or
want a C compiler and systemd's headers to install (systemd-python, cysystemd): more than these lines are worth.
"""

import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Self

_log = logging.getLogger(__name__)

_LONGEST_STATUS = 400
"""Characters; what is longer does not fit on a screen's line or two."""

_STATUS = "STATUS="
_MORE_TIME = "EXTEND_TIMEOUT_USEC="


class ServiceManager:
    """Tells systemd, or nobody: without $NOTIFY_SOCKET everything here does nothing.

    It never blocks and never raises. What systemd does not take at once is told with the next `flush`, in order.
    """

    def __init__(self, address: str | None = None, watchdog: float | None = None) -> None:
        """Take the socket's address (`@` begins an abstract one), and within how many seconds `alive` is expected."""
        self._address = address
        self.watchdog = watchdog if address else None
        self._waiting: list[str] = []
        self._status = ""
        self._is_ready = False
        self._fails = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], pid: int) -> Self:
        """Read $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID, as sd_watchdog_enabled(3) does."""
        address = environ.get("NOTIFY_SOCKET", "")
        return cls(address if address[:1] in {"/", "@"} else None, _watchdog(environ, pid))

    @property
    def listens(self) -> bool:
        """Whether there is anybody to tell."""
        return self._address is not None

    def ready(self) -> None:
        """Say that the daemon does its work."""
        self._is_ready = True
        self._tell("READY=1")

    @contextmanager
    def told_of_reload(self) -> Iterator[None]:
        """Say that the configuration is being read again, and at the end that the daemon does its work as before.

        Before the daemon is ready neither is said: what follows would pass for the end of the start.
        """
        if not self._is_ready:
            yield
            return
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
        try:
            yield
        finally:
            self.ready()

    def stopping(self) -> None:
        """Say that the daemon ends."""
        self._tell("STOPPING=1\nSTATUS=stopping")

    def status(self, sentence: str) -> None:
        """Say in a sentence how the daemon is doing; the same sentence again is not sent."""
        if sentence != self._status:
            self._status = sentence
            line = "".join(character if character.isprintable() else " " for character in sentence)
            self._tell(f"{_STATUS}{line[:_LONGEST_STATUS]}", instead_of=_STATUS)

    def more_time(self, seconds: float) -> None:
        """Ask for this much more time, from now on, for the start or the stop that is under way."""
        self._tell(f"{_MORE_TIME}{round(seconds * 1_000_000)}", instead_of=_MORE_TIME)

    def alive(self) -> None:
        """Feed the watchdog; what is late for it is not made up for."""
        self.flush()
        if not self._waiting:
            self._send("WATCHDOG=1")

    def flush(self) -> None:
        """Tell what has not been taken yet."""
        while self._waiting and self._send(self._waiting[0]):
            del self._waiting[0]

    def _tell(self, message: str, *, instead_of: str = "") -> None:
        """Tell a message in its turn, and no more what waits and begins with `instead_of`."""
        if self._address is not None:
            if instead_of:
                self._waiting = [other for other in self._waiting if not other.startswith(instead_of)]
            self._waiting.append(message)
            self.flush()

    def _send(self, message: str) -> bool:
        """Send one message; False when systemd does not read at the moment."""
        if self._address is None:
            return True
        # An abstract address begins with a null byte, which no variable of the environment can hold.
        address = self._address.replace("@", "\0", 1) if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaker:
                speaker.setblocking(False)
                speaker.connect(address)
                speaker.send(message.encode())
        except BlockingIOError:
            return False
        except OSError as error:
            if not self._fails:
                _log.warning(
                    "systemd cannot be told how the service is doing", extra={"detail": os.strerror(error.errno or 0)}
                )
            self._fails = True
            return False
        self._fails = False
        return True


def _watchdog(environ: Mapping[str, str], pid: int) -> float | None:
    """Return the seconds within which systemd wants a sign of life from this process; None when from nobody."""
    microseconds, meant = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not (microseconds.isascii() and microseconds.isdigit() and int(microseconds)) or meant not in {"", str(pid)}:
        return None
    return int(microseconds) / 1_000_000
