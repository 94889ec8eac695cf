"""Ports of this machine on which a program that is started later can listen."""

import random
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

_LOWEST = 10_240
_chance = random.SystemRandom()
_given: set[int] = set()


def free_port() -> int:
    """Return a port that nothing listens on, and that the system gives to no connection on its own.

    A port of the range for outgoing connections could be taken before the program that is meant to listen there does.
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
