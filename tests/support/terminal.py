"""Runs the real program on a pseudo-terminal: reads what it shows, and types answers."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

DEADLINE = 20.0

_AS_ITS_TERMINAL = (
    "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    " os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """The pseudo-terminal of one program."""

    def __init__(self, leader: int, process: "subprocess.Popen[bytes]") -> None:
        self._leader = leader
        self._process = process
        self.screen = ""
        """Everything that the terminal has shown."""
        self._read = 0

    def see(self, text: str) -> None:
        """Wait until the terminal shows a text after the text of the previous call."""
        end = time.monotonic() + DEADLINE
        while text not in self.screen[self._read :]:
            assert self._look(end), f"never shown: {text!r}; instead: {self.screen[self._read :]!r}"
        self._read = self.screen.index(text, self._read) + len(text)

    def answer(self, question: str, typed: str) -> None:
        """Wait for a question, and type a line as the answer."""
        self.see(question)
        self.type(f"{typed}\n")

    def type(self, keys: str) -> None:
        """Type these characters."""
        os.write(self._leader, keys.encode())

    def leave(self) -> int:
        """Wait for the program's end and return its exit code."""
        end = time.monotonic() + DEADLINE
        while self._look(end):
            pass
        return self._process.wait(timeout=DEADLINE)

    def _look(self, end: float) -> bool:
        ready, _, _ = select.select([self._leader], [], [], max(0.0, end - time.monotonic()))
        try:
            piece = os.read(self._leader, 65536) if ready else b""
        except OSError:  # Linux reports the other side's end as an error.
            piece = b""
        self.screen += piece.decode().replace("\r\n", "\n")
        return bool(piece)


@contextmanager
def at_terminal(*arguments: str, cwd: Path, environ: Mapping[str, str] | None = None) -> Iterator[Terminal]:
    """Run the real program on a pseudo-terminal of 100 columns."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    command = [sys.executable, "-c", _AS_ITS_TERMINAL, sys.executable, "-m", "notifier", *arguments]
    with subprocess.Popen(
        command,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        cwd=cwd,
        env={**os.environ, "TERM": "xterm", **(environ or {})},
    ) as process:
        os.close(follower)
        try:
            yield Terminal(leader, process)
        finally:
            process.kill()
            os.close(leader)
