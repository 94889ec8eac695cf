"""The running daemon, asked over the socket beside its state file.

The standard library's HTTP client: it is there at once, and one question at a time is all that a command asks.
"""

import json
import socket
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final

from notifier.cli.failures import Failure, UnknownName
from notifier.daemon.places import socket_path

PATIENCE: Final = 5.0
"""Seconds that the daemon may take for an answer that it has at hand."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the daemon said; `done` is whether it did what it was asked to."""

    done: bool
    body: dict[str, Any]


def ask(
    state_file: Path,
    verb: str,
    path: str,
    *,
    body: Mapping[str, Any] | None = None,
    timeout: float | None = PATIENCE,
) -> Answer | None:
    """Ask the daemon of this state file; None when there is none running.

    `timeout` is in seconds; None waits for as long as it takes. Raises Failure when there is one and it gives no
    answer, or answers that it cannot, UnknownName when it does not know an event.
    """
    place = socket_path(state_file)
    with closing(_UnixConnection(place, timeout)) as connection:
        try:
            connection.connect()
        except PermissionError as error:
            raise Failure(f"{place} refuses this user: run this as the one whom the daemon runs as") from error
        except OSError:
            return None
        try:
            connection.request(verb, path, body=None if body is None else json.dumps(body).encode())
            response = connection.getresponse()
            said = json.loads(response.read())
        except TimeoutError as error:
            raise Failure(f"the daemon has not answered within {timeout:g} seconds; its log may tell why") from error
        except (OSError, HTTPException, ValueError) as error:
            raise Failure("the daemon went away before it had answered; its log may tell why") from error
    if "error" in said:
        # Names of sources and destinations are checked before; an event is looked up by the daemon alone.
        kind = UnknownName if said["error"]["reason"] == "unknown_event" else Failure
        raise kind(f"the daemon says: {said['error']['message']}")
    return Answer(response.status == HTTPStatus.OK, said)


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
