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
    """The maximum for all listeners together, not counting the owner's socket."""
    max_per_peer: int = _MAX_PER_PEER
    """The maximum for one peer, not counting the owner's socket."""
    max_for_owner: int = _MAX_FOR_OWNER
    """The maximum for the owner's socket."""
    head_seconds: float = 10.0
    """Seconds within which a request's head must arrive."""
    body_seconds: float = 10.0
    """Seconds within which a request's body must arrive."""
    idle_seconds: float = 75.0
    """Seconds after which a connection without a request is closed."""
    stalled_seconds: float = 30.0
    """Seconds after which a connection is closed if its client receives nothing of an answer."""


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
