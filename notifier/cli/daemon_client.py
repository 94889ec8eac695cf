"""An HTTP client for the running daemon, over the Unix socket beside the state file.

It uses the HTTP client of the standard library, because importing this client is fast.
"""

import json
import select
import socket
from collections.abc import Mapping
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from msgspec import Struct

from notifier.cli.errors import BusyError, CommandError, NameNotFoundError, StandbyError
from notifier.daemon.socket_path import BUSY, STANDBY, lock_path, socket_path

_ERROR_TYPES: Final = {
    "unknown_event": NameNotFoundError,
    "unknown_name": NameNotFoundError,
    "unknown_person": NameNotFoundError,
    STANDBY: StandbyError,
    BUSY: BusyError,
}
"""The error to raise for each `reason` of an error response. For all other reasons, CommandError is raised."""

ANSWER_TIMEOUT_SECONDS: Final = 5.0
"""The default time limit for an answer of the daemon."""


class DaemonAnswer(Struct, frozen=True):
    """An answer of the daemon. `done` is true if the daemon did what was requested."""

    done: bool
    body: dict[str, Any]


def request(
    state_file: Path,
    verb: str,
    path: str,
    *,
    body: Mapping[str, Any] | None = None,
    timeout: float | None = ANSWER_TIMEOUT_SECONDS,
) -> DaemonAnswer | None:
    """Send a request to the daemon that uses this state file; return None if no daemon is running.

    `timeout` is in seconds. None means no limit, as long as the daemon answers other requests. Every
    ANSWER_TIMEOUT_SECONDS, this is tested with another request.

    Raises one of these errors:

    - CommandError: the daemon does not answer, or reports a failure.
    - StandbyError: the daemon stands by.
    - BusyError: too many requests read the daemon's state.
    - NameNotFoundError: the daemon does not know the source, destination, event or person.
    """
    is_long = timeout is None or timeout > ANSWER_TIMEOUT_SECONDS
    # This notices a daemon that hangs within ANSWER_TIMEOUT_SECONDS, even if `timeout` is longer.
    if is_long and request(state_file, "GET", "/healthz") is None:
        return None
    socket_file = socket_path(state_file)
    with closing(_UnixConnection(socket_file, timeout or ANSWER_TIMEOUT_SECONDS)) as connection:
        try:
            connection.connect()
        except PermissionError as error:
            raise CommandError(
                f"{socket_file} refuses this user: run this command as root (sudo), or as the user that runs the daemon"
            ) from error
        except OSError:
            return None
        try:
            # The path may contain a name with any character if the configuration is too wrong to check names first.
            path = quote(path, errors="replace")
            if body is None:
                connection.request(verb, path)
            else:
                headers = {"Content-Type": "application/json"}
                connection.request(verb, path, body=json.dumps(body).encode(), headers=headers)
            if timeout is None:
                _wait_for_answer(connection.sock, state_file)
            response = connection.getresponse()
            document = json.loads(response.read())
        except TimeoutError as error:
            raise CommandError(
                f"the daemon has not answered within {timeout or ANSWER_TIMEOUT_SECONDS:g} seconds; see its log for the"
                " reason"
            ) from error
        except (OSError, HTTPException, ValueError) as error:
            raise CommandError(
                "the daemon closed the connection before it answered; see its log for the reason"
            ) from error
    if "error" in document:
        error_type = _ERROR_TYPES.get(document["error"]["reason"], CommandError)
        raise error_type(f"the daemon says: {document['error']['message']}")
    return DaemonAnswer(response.status == HTTPStatus.OK, document)


def _wait_for_answer(connection: socket.socket, state_file: Path) -> None:
    """Wait until the answer begins. Raises CommandError if the daemon stops answering other requests, or hangs."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    while not poll.poll(ANSWER_TIMEOUT_SECONDS * 1000):
        health = request(state_file, "GET", "/healthz")
        if health is not None and not health.done:
            raise hang_error(health)


def hang_error(health: DaemonAnswer) -> CommandError:
    """Return the error to report if the answer of `/healthz` says that a part of the daemon makes no progress."""
    return CommandError(f"the daemon hangs ({', '.join(health.body.get('hanging', ())) or 'a part of it'}): restart it")


def lock_holder_pid(state_file: Path) -> int | None:
    """Return the id of the process that has locked the state file, or None if no such process is found.

    This does not try to take the lock, because taking it even briefly could keep a daemon from starting.
    """
    lock = lock_path(state_file.resolve())
    try:
        pid = int(lock.read_text(encoding="utf-8"))
        is_held = any(file.readlink() == lock for file in Path(f"/proc/{pid}/fd").iterdir())
    except (OSError, ValueError):
        return None
    return pid if is_held else None


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
