"""Limits on the number of connections and on their durations. All functions are pure except `limits_of_process`."""

import resource
from typing import Final

from msgspec import Struct

_MOST: Final = 512
_MAX_PER_PEER: Final = 256
_MAX_FOR_OWNER: Final = 64
_FEWEST: Final = 8

_DESCRIPTOR_DIVISOR: Final = 4
"""The limit for other machines and users is the number of file descriptors divided by this. Polls and deliveries need
the other descriptors.
"""

_OWNER_DESCRIPTOR_DIVISOR: Final = 16
"""The limit for the owner's socket is the number of file descriptors divided by this."""


class ConnectionLimits(Struct, frozen=True):
    """The maximum numbers of open connections, and the time limits of each connection."""

    most: int = _MOST
    """For all listeners but the owner's socket together."""
    max_per_peer: int = _MAX_PER_PEER
    """For each peer of these listeners."""
    max_for_owner: int = _MAX_FOR_OWNER
    """For the owner's socket."""
    head_seconds: float = 10.0
    """A request's head must arrive within this time."""
    body_seconds: float = 10.0
    """A request's body must arrive within this time."""
    idle_seconds: float = 75.0
    """A connection without a request is closed after this time."""
    stalled_seconds: float = 30.0
    """A connection whose client receives no byte of an answer for so long is closed."""


def limits_for(descriptors: int) -> ConnectionLimits:
    """Return the limits for a process that may open `descriptors` file descriptors."""
    most = max(_FEWEST, min(_MOST, descriptors // _DESCRIPTOR_DIVISOR))
    return ConnectionLimits(
        most,
        max(_FEWEST, min(_MAX_PER_PEER, most // 2)),
        max(_FEWEST, min(_MAX_FOR_OWNER, descriptors // _OWNER_DESCRIPTOR_DIVISOR)),
    )


def limits_of_process() -> ConnectionLimits:
    """Return the limits for this process."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ConnectionLimits() if soft == resource.RLIM_INFINITY else limits_for(soft)
