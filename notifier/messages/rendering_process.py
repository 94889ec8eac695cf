"""The program of the separate process that renders users' own templates.

Standard input is a socket with a JSON object in each line. The first, `{"templates", "seconds"}`, has the texts of all
templates by file name; the answer is `{}`. Each other line is a request `{"template", "variables", "seconds"}`; the
answer is `{"lines"}` or `{"file", "line", "description"}`.
"""

import json
import os
import resource
import signal
import socket
import sys
from typing import Any, Final

from notifier.messages.rendering import make_environment, problem_of_error, render_lines
from notifier.messages.template_names import Template

MEMORY_BYTES: Final = 512 * 2**20
"""The maximum number of bytes of memory that the process may use."""

MARGIN_SECONDS: Final = 1.0
"""Seconds after a time limit until the system ends this process. Usually, the parent ends it before."""


def main() -> None:
    """Answer requests until the parent closes the socket."""
    # The parent reads this only after the end of the process, so a full pipe must not block the process.
    os.set_blocking(sys.stderr.fileno(), False)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    with socket.socket(fileno=0) as parent, parent.makefile("rb") as requests:
        first = json.loads(requests.readline() or b"null")
        if first is None:
            return
        _set_timer(first["seconds"])
        environment = make_environment(first["templates"])
        _set_timer(None)
        parent.sendall(b"{}\n")
        for line in requests:
            request = json.loads(line)
            _set_timer(request["seconds"])
            answer = _answer(environment, Template(request["template"]), request["variables"])
            _set_timer(None)
            parent.sendall(json.dumps(answer).encode() + b"\n")


def _set_timer(seconds: float | None) -> None:
    """Let the system end this process after `seconds` + MARGIN_SECONDS, even in the middle of an operation.

    If `seconds` is None, stop the timer instead.
    """
    signal.setitimer(signal.ITIMER_REAL, 0 if seconds is None else seconds + MARGIN_SECONDS)


def _answer(environment: Any, template: Template, variables: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"lines": render_lines(environment, template, variables)}
    except Exception as error:  # noqa: BLE001 - a template can raise anything; it is reported
        problem = problem_of_error(template, error, variables)
        return {"file": problem.file, "line": problem.line, "description": problem.description}


if __name__ == "__main__":
    main()
