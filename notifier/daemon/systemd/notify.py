"""Sends the state of the service to systemd with the protocol of sd_notify(3).

A message is a datagram of `NAME=value` lines. No library is used: sdnotify has not been maintained since 2017, and the
others need a C compiler and systemd's headers.
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
"""Maximum number of characters of a status text, about two lines of a terminal."""

_STATUS = "STATUS="
_MORE_TIME = "EXTEND_TIMEOUT_USEC="


class SystemdNotifier:
    """Sends messages to systemd. Without $NOTIFY_SOCKET, all methods do nothing.

    No method blocks or raises. If systemd does not accept a message at once, `flush` sends it later, in order. Only
    watchdog resets are dropped.
    """

    def __init__(self, address: str | None = None, watchdog_seconds: float | None = None) -> None:
        """Initialise with the address of systemd's socket (abstract if it begins with `@`).

        `watchdog_seconds` is the time limit of systemd's watchdog, None if there is no watchdog.
        """
        self._address = address
        self.watchdog_seconds = watchdog_seconds if address else None
        self._unsent: list[str] = []
        self._status = ""
        self._is_ready = False
        self._is_failing = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], pid: int) -> Self:
        """Return a notifier for $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID, read as in sd_watchdog_enabled(3)."""
        address = environ.get("NOTIFY_SOCKET", "")
        return cls(address if address[:1] in {"/", "@"} else None, _watchdog_seconds(environ, pid))

    @property
    def is_enabled(self) -> bool:
        """Whether systemd provides a socket to send messages to."""
        return self._address is not None

    @property
    def is_ready(self) -> bool:
        """Whether `report_ready` was called. From then on, systemd's watchdog is running."""
        return self._is_ready

    def report_ready(self) -> None:
        """Report that the daemon has started."""
        self._is_ready = True
        self._queue_message("READY=1")

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Report at entry that the daemon is reloading its configuration, and at exit that it is ready again.

        Before `report_ready`, nothing is sent: the message at exit would tell systemd that the daemon has started.
        """
        if not self._is_ready:
            yield
            return
        self._queue_message(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
        try:
            yield
        finally:
            self.report_ready()

    def report_stopping(self) -> None:
        """Report that the daemon is stopping."""
        self._queue_message("STOPPING=1\nSTATUS=stopping")

    def report_status(self, sentence: str) -> None:
        """Report the state of the daemon as a sentence. The same sentence is not sent twice in a row."""
        if sentence != self._status:
            self._status = sentence
            line = "".join(character if character.isprintable() else " " for character in sentence)
            self._queue_message(f"{_STATUS}{line[:_LONGEST_STATUS]}", instead_of=_STATUS)

    def extend_timeout(self, seconds: float) -> None:
        """Ask systemd to allow this many more seconds, from now, for the current start or stop."""
        self._queue_message(f"{_MORE_TIME}{round(seconds * 1_000_000)}", instead_of=_MORE_TIME)

    def reset_watchdog(self) -> None:
        """Reset the timer of systemd's watchdog. If the message cannot be sent at once, it is dropped."""
        self.flush()
        if not self._unsent:
            self._send("WATCHDOG=1")

    def flush(self) -> None:
        """Send the messages that systemd has not accepted yet."""
        while self._unsent and self._send(self._unsent[0]):
            del self._unsent[0]

    def _queue_message(self, message: str, *, instead_of: str = "") -> None:
        """Add a message to the unsent messages, and send as many of them as systemd accepts now.

        If `instead_of` is not empty, earlier unsent messages that begin with `instead_of` are dropped.
        """
        if self._address is not None:
            if instead_of:
                self._unsent = [other for other in self._unsent if not other.startswith(instead_of)]
            self._unsent.append(message)
            self.flush()

    def _send(self, message: str) -> bool:
        """Send one message, and return whether that succeeded."""
        if self._address is None:
            return True
        # An abstract address begins with a null byte. An environment variable cannot contain one, and has `@` instead.
        address = self._address.replace("@", "\0", 1) if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
                connection.setblocking(False)
                connection.connect(address)
                connection.send(message.encode())
        except BlockingIOError:
            return False
        except OSError as error:
            if not self._is_failing:
                _log.warning(
                    "systemd cannot be notified of the service's state", extra={"detail": os.strerror(error.errno or 0)}
                )
            self._is_failing = True
            return False
        self._is_failing = False
        return True


def _watchdog_seconds(environ: Mapping[str, str], pid: int) -> float | None:
    """Return the time limit in seconds of systemd's watchdog for this process; None if there is no watchdog."""
    microseconds, watchdog_pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not (microseconds.isascii() and microseconds.isdigit() and int(microseconds)) or watchdog_pid not in {
        "",
        str(pid),
    }:
        return None
    return int(microseconds) / 1_000_000
