"""Renders users' own templates in a separate process with limits on time and memory.

A template is a program: nested loops or a very large number could stop polls and deliveries. Python cannot kill a
thread, and an operation on a large number blocks all threads.
"""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from typing import Any, Final

from notifier.http.answer_text import safe_line
from notifier.messages.rendering import TemplateProblem
from notifier.messages.template_names import Template, Variables
from notifier.process import module_search_path

RENDER_SECONDS: Final = 2.0
"""The time limit for rendering one line or one digest, in seconds."""

START_SECONDS: Final = 20.0
"""The time limit for starting the process and reading all templates, in seconds; enough for a busy machine."""

_PIECE_BYTES: Final = 65_536
_END_SECONDS: Final = 5.0
"""Seconds to wait for the end of the process after it has closed its socket."""

PAUSE_SECONDS: Final = 60.0
"""Seconds to wait before another process is started, if the previous one failed or could not be started."""

LIMIT_PAUSE_SECONDS: Final = 600.0
"""Seconds until a template that has exceeded a limit is rendered again: a busy machine may have been the cause."""

_ENDED_BY_OTHERS: Final = frozenset({-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, -signal.SIGQUIT})
"""The return codes of a process that was ended from outside, as when the service is stopped."""


class TemplateProblemError(Exception):
    """A template could not be rendered; `problem` states the file, the line and the reason."""

    def __init__(self, problem: TemplateProblem) -> None:
        """Initialise with the problem."""
        super().__init__(str(problem))
        self.problem = problem


class _LimitError(Exception):
    """A limit on time or memory was exceeded. The probable cause is the template, not the process."""


class BoundedRenderer:
    """Renders templates in another process, which is started for the first template.

    A template that exceeds a limit is not rendered for LIMIT_PAUSE_SECONDS. If the process fails, no template is
    rendered for PAUSE_SECONDS. Several threads may share one object.
    """

    def __init__(
        self, texts: Mapping[str, str], seconds: float = RENDER_SECONDS, start_seconds: float = START_SECONDS
    ) -> None:
        """Initialise with the texts of all templates by file name, and the time limits in seconds."""
        self._texts = dict(texts)
        self._seconds = seconds
        self._start_seconds = start_seconds
        self._failures: dict[Template | None, tuple[TemplateProblem, float]] = {}
        """For each template (None: for all templates), its latest problem, and the time until which it is not rendered
        (monotonic seconds).
        """
        self._lock = threading.Lock()
        self._process: _Process | None = None

    def lines(self, template: Template, variables: Variables) -> list[str]:
        """Return the lines that a template renders. Blocks, up to the time limits. Raises TemplateProblemError."""
        with self._lock:
            for failed in (None, template):
                if failed in self._failures and time.monotonic() < self._failures[failed][1]:
                    raise TemplateProblemError(self._failures[failed][0])
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
        if self._process is not None and self._process.has_ended:
            # It was ended from outside while it did nothing.
            self._end()
        if self._process is None:
            try:
                self._process = _Process()
            except (OSError, ValueError) as error:
                raise self._exclude(None, f"no process can be started for it: {error}", PAUSE_SECONDS) from error
            first = {"templates": self._texts, "seconds": self._start_seconds}
            self._exchange(self._process, first, self._start_seconds, None)
        return self._process

    def _exchange(
        self, process: "_Process", request: Mapping[str, Any], seconds: float, template: Template | None
    ) -> dict[str, Any]:
        """Send a request to the process, and return the answer.

        If no answer arrives, end the process, exclude `template` (None: all templates) from rendering for some time,
        and raise TemplateProblemError.
        """
        try:
            return process.exchange(request, seconds)
        except _LimitError as error:
            self._end()
            raise self._exclude(template, str(error), LIMIT_PAUSE_SECONDS) from error
        except OSError as error:
            self._end()
            raise self._exclude(None, str(error), PAUSE_SECONDS) from error

    def _exclude(self, template: Template | None, description: str, seconds: float) -> TemplateProblemError:
        """Exclude a template (None: all) from rendering for `seconds`, and return the error that says why."""
        problem = TemplateProblem("" if template is None else template.file, None, description)
        self._failures[template] = problem, time.monotonic() + seconds
        return TemplateProblemError(problem)

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None


class _Process:
    """The rendering process and the socket to it."""

    def __init__(self) -> None:
        self._socket, child_socket = socket.socketpair()
        try:
            # The new process does not inherit the environment, which may hold tokens, or the working directory.
            self._process = subprocess.Popen(
                [sys.executable, "-Ps", "-m", "notifier.messages.rendering_process"],
                stdin=child_socket.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd="/",
                env={"LC_ALL": "C.UTF-8", "PYTHONPATH": module_search_path()},
            )
        except (OSError, ValueError):
            self._socket.close()
            raise
        finally:
            child_socket.close()
        self.end = weakref.finalize(self, _end, self._process, self._socket)

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def exchange(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Send a request, and return the answer. Raises _LimitError, and OSError if the process itself has failed."""
        end = time.monotonic() + seconds
        answer = b""
        try:
            self._socket.settimeout(seconds)
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            while not answer.endswith(b"\n"):
                self._socket.settimeout(max(0.001, end - time.monotonic()))
                piece = self._socket.recv(_PIECE_BYTES)
                if not piece:
                    raise self._reason_of_end(seconds)
                answer += piece
        except TimeoutError as error:
            raise _LimitError(_too_slow(seconds)) from error
        except ConnectionError as error:
            raise self._reason_of_end(seconds) from error
        found: dict[str, Any] = json.loads(answer)
        return found

    def _reason_of_end(self, seconds: float) -> Exception:
        """Return the error for the end of the process, which has closed its socket."""
        try:
            _, output = self._process.communicate(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            return OSError("the process that renders templates has failed, and does not end")
        code = self._process.returncode
        last_line = output.decode(errors="replace").strip().rpartition("\n")[2]
        if code == -signal.SIGALRM:
            return _LimitError(_too_slow(seconds))
        if code in _ENDED_BY_OTHERS:
            return OSError(f"the process that renders templates was ended by signal {-code}")
        if code < 0:
            return _LimitError(f"uses too much memory (the process was ended by signal {-code})")
        if last_line.startswith("MemoryError"):
            return _LimitError("uses too much memory")
        return OSError(f"the process that renders templates has failed: {safe_line(last_line, ())}")


def _too_slow(seconds: float) -> str:
    return f"takes longer than {seconds:g} s"


def _end(process: subprocess.Popen[bytes], connection: socket.socket) -> None:
    connection.close()
    process.kill()
    # This also closes the pipe.
    process.communicate()
