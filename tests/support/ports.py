"""Finds free TCP ports for programs that are started later."""

import random
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

_LOWEST = 10_240
_chance = random.SystemRandom()
_given: set[int] = set()


def free_port() -> int:
    """Return a port that no program listens on, outside the range for outgoing connections.

    The system could give a port of that range to a connection before the program listens.
    """
    while True:
        port = _chance.randrange(_LOWEST, _first_of_connections())
        if port in _given:
            continue
        with suppress(OSError), socket.socket() as found:
            found.bind(("127.0.0.1", port))
            _given.add(port)
            return port


@cache
def _first_of_connections() -> int:
    return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
