"""The number of open file descriptors of this process, and its limit. Each socket and each open file uses one."""

import errno
import resource
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

_DESCRIPTOR_FOLDER = Path("/proc/self/fd")


class DescriptorUse(Struct, frozen=True):
    """The number of open file descriptors (`used`), and its maximum (`limit`); `limit` is None without a maximum."""

    used: int
    limit: int | None


def raise_descriptor_limit() -> None:
    """Raise this process's limit of open file descriptors as far as the system allows."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some sandboxes forbid this call; the limit then stays as it is.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptors_in_use() -> DescriptorUse | None:
    """Return this process's number of open file descriptors and its limit; None if the system does not report them."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        # The listing itself opens one descriptor.
        used = sum(1 for _ in _DESCRIPTOR_FOLDER.iterdir()) - 1
    except OSError as error:
        if error.errno != errno.EMFILE:
            return None
        # The listing fails because all descriptors of this process are in use.
        used = soft
    return DescriptorUse(used, None if soft == resource.RLIM_INFINITY else soft)
