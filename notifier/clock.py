"""The program's clock. Code that depends on the time gets a Clock as an argument, so that tests can replace it."""

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Protocol

from msgspec import Struct


class Clock(Protocol):
    """Reads the time: Unix milliseconds for stored moments, monotonic seconds for durations."""

    def now_ms(self) -> int:
        """Return the wall-clock time in Unix milliseconds; it may jump when the clock is set."""
        ...

    def monotonic(self) -> float:
        """Return the seconds since an arbitrary start. The value never decreases, and includes the machine's sleep.

        The timers of an event loop may stop during a sleep. `daemon/scheduler.py` detects a sleep, and wakes the tasks
        that wait for these timers.
        """
        ...


# Linux's CLOCK_MONOTONIC stops while the machine sleeps, but a wait of an hour must include the sleep.
_MONOTONIC_CLOCK_ID: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock(Struct, frozen=True):
    """The machine's own clock."""

    def now_ms(self) -> int:
        """Return the wall-clock time in Unix milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return the seconds since the machine started."""
        return time.clock_gettime(_MONOTONIC_CLOCK_ID)


def iso_utc(ms: int) -> str:
    """Return Unix milliseconds as `2026-11-21T17:00:00.123Z` (RFC 3339, UTC)."""
    seconds, millis = divmod(ms, 1000)
    return f"{_iso_seconds(seconds)}.{millis:03d}Z"


@lru_cache(maxsize=1024)
def _iso_seconds(seconds: int) -> str:
    # Cached because every event contains a time, and the events of a page share it. isoformat() takes a fifth of the
    # time of strftime().
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]
