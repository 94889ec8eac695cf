"""The use and the limit of the process's file descriptors, of which every socket and open file needs one."""

import resource
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

_DESCRIPTOR_FOLDER = Path("/proc/self/fd")


class DescriptorUse(Struct, frozen=True):
    """The number of open descriptors, and the limit of that number, None if there is no limit."""

    used: int
    limit: int | None


def raise_descriptor_limit() -> None:
    """Raise this process's limit of descriptors as far as the system allows."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some sandboxes forbid the call; the present limit is used then.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptors_in_use() -> DescriptorUse | None:
    """Return the use of descriptors by this process; None if the system does not report it."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        # One descriptor is open only for this listing.
        used = sum(1 for _ in _DESCRIPTOR_FOLDER.iterdir()) - 1
    except OSError:
        return None
    return DescriptorUse(used, None if soft == resource.RLIM_INFINITY else soft)
