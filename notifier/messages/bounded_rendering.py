"""Renders users' own templates in a separate process with limits on time and memory.

A template is a program. Nested loops or a very large number in a template could stop polls and deliveries. A thread
would not help: Python cannot kill a thread, and an operation on a large number blocks all other threads.
"""

import json
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from typing import Any, Final

from notifier.messages.rendering import TemplateProblem
from notifier.messages.template_names import Template, Variables

RENDER_SECONDS: Final = 2.0
"""The time limit for rendering one line or one digest, in seconds."""

START_SECONDS: Final = 20.0
"""The time limit for starting the process and reading all templates, in seconds; enough for a busy machine."""

_LONGEST_ANSWER: Final = 1_000_000
_PIECE: Final = 65_536


class TemplateProblemError(Exception):
    """A template could not be rendered; `problem` states the file, the line and the reason."""

    def __init__(self, problem: TemplateProblem) -> None:
        """Initialize with the problem."""
        super().__init__(str(problem))
        self.problem = problem


class BoundedRenderer:
    """Renders templates in another process, which is started for the first template.

    A template that has exceeded a limit is not rendered again. Several threads may share one object.
    """

    def __init__(
        self, texts: Mapping[str, str], seconds: float = RENDER_SECONDS, start_seconds: float = START_SECONDS
    ) -> None:
        """Initialize with the texts of all templates by file name, and the time limits in seconds."""
        self._texts = dict(texts)
        self._seconds = seconds
        self._start_seconds = start_seconds
        self._failed_templates: dict[Template | None, TemplateProblem] = {}
        self._lock = threading.Lock()
        self._process: _Process | None = None

    def lines(self, template: Template, variables: Variables) -> list[str]:
        """Return the lines that a template renders. Blocks, up to the time limits. Raises TemplateProblemError."""
        with self._lock:
            for failed in (None, template):
                if failed in self._failed_templates:
                    raise TemplateProblemError(self._failed_templates[failed])
            request = {"template": template.value, "variables": variables, "seconds": self._seconds}
            answer = self._exchange(self._running_process(), request, self._seconds, template)
        if "lines" in answer:
            return [str(line) for line in answer["lines"]]
        raise TemplateProblemError(TemplateProblem(answer["file"], answer["line"], answer["description"]))

    def close(self) -> None:
        """End the process. Rendering another template starts a new process."""
        with self._lock:
            self._end()

    def _running_process(self) -> "_Process":
        if self._process is None:
            self._process = _Process()
            first = {"templates": self._texts, "seconds": self._start_seconds}
            self._exchange(self._process, first, self._start_seconds, None)
        return self._process

    def _exchange(
        self, process: "_Process", request: Mapping[str, Any], seconds: float, template: Template | None
    ) -> dict[str, Any]:
        """Send a request to the process, and return the answer.

        If no valid answer arrives in time, end the process, exclude `template` from any further rendering (None:
        exclude all templates), and raise TemplateProblemError.
        """
        try:
            return process.exchange(request, seconds)
        except (OSError, ValueError) as error:
            self._end()
            description = (
                f"takes longer than {seconds:g} s" if isinstance(error, TimeoutError) else "uses too much memory"
            )
            file = "" if template is None else template.file
            self._failed_templates[template] = problem = TemplateProblem(file, None, description)
            raise TemplateProblemError(problem) from error

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None


class _Process:
    """The rendering process and the socket to it."""

    def __init__(self) -> None:
        self._socket, child_socket = socket.socketpair()
        with child_socket:
            # The new process does not inherit the environment, which may hold tokens, or the working directory.
            process = subprocess.Popen(
                [sys.executable, "-I", "-m", "notifier.messages.rendering_process"],
                stdin=child_socket.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={"LC_ALL": "C.UTF-8"},
            )
        self.end = weakref.finalize(self, _end, process, self._socket)

    def exchange(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Send a request, and return the answer. Raises OSError (TimeoutError at the time limit) and ValueError."""
        end = time.monotonic() + seconds
        self._socket.settimeout(seconds)
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            self._socket.settimeout(max(0.001, end - time.monotonic()))
            piece = self._socket.recv(_PIECE)
            if not piece or len(answer) > _LONGEST_ANSWER:
                raise ConnectionError("the process that renders templates has ended")
            answer += piece
        found = json.loads(answer)
        if not isinstance(found, dict):
            raise ValueError(answer)  # noqa: TRY004 - treated like an answer that is not JSON
        return found


def _end(process: subprocess.Popen[bytes], connection: socket.socket) -> None:
    connection.close()
    process.kill()
    process.wait()
