"""The limits on connections: their number, and their times. All functions are pure except `limits_of_process`."""

import resource
from typing import Final

from msgspec import Struct

_MOST: Final = 512
_MOST_OF_A_PEER: Final = 256
_MOST_OF_OWNER: Final = 64
_LEAST: Final = 8

_SHARE: Final = 4
"""Divisor: this part of the file descriptors is for other machines and users; polls and deliveries need the rest."""

_OWNERS_SHARE: Final = 16
"""Divisor: this part of the file descriptors is for the owner's socket alone."""


class ConnectionLimits(Struct, frozen=True):
    """The most connections at once, and the time limits of each in seconds.

    `most_of_owner` is for the owner's socket. `most` is for all other listeners together, and `most_of_peer` for each
    peer of these. `head` is the time for receiving the head of a request, `body` the time for its body, and `rest` the
    time between two requests. `stalled` is the time for which a client may receive nothing of an answer.
    """

    most: int = _MOST
    most_of_peer: int = _MOST_OF_A_PEER
    most_of_owner: int = _MOST_OF_OWNER
    head: float = 10.0
    body: float = 10.0
    rest: float = 75.0
    stalled: float = 30.0


def limits_for(descriptors: int) -> ConnectionLimits:
    """Return the limits for a process that may have `descriptors` file descriptors."""
    most = max(_LEAST, min(_MOST, descriptors // _SHARE))
    return ConnectionLimits(
        most,
        max(_LEAST, min(_MOST_OF_A_PEER, most // 2)),
        max(_LEAST, min(_MOST_OF_OWNER, descriptors // _OWNERS_SHARE)),
    )


def limits_of_process() -> ConnectionLimits:
    """Return the limits for this process."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ConnectionLimits() if soft == resource.RLIM_INFINITY else limits_for(soft)
