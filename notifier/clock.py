"""The one place that reads a clock, so that everything else can be given another one."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Protocol


class Clock(Protocol):
    """Tells the time: Unix milliseconds for what is stored, monotonic seconds for what is measured."""

    def now_ms(self) -> int:
        """Return the wall clock in Unix milliseconds; it may jump."""
        ...

    def monotonic(self) -> float:
        """Return seconds that only grow, those in which the machine sleeps too; the starting point has no meaning.

        An event loop's timers may stand still meanwhile: `daemon/schedule.py` notices, and sees to what waits for them.
        """
        ...


# Linux leaves suspended time out of the monotonic clock; what was to wait an hour has waited it then, all the same.
_STEADY: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        """Return the wall clock in Unix milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return the seconds since the machine was started."""
        return time.clock_gettime(_STEADY)


def iso_utc(ms: int) -> str:
    """Write Unix milliseconds as `2026-11-21T17:00:00.123Z` (RFC 3339, UTC)."""
    seconds, millis = divmod(ms, 1000)
    return f"{_to_the_second(seconds)}.{millis:03d}Z"


@lru_cache(maxsize=1024)
def _to_the_second(seconds: int) -> str:
    # Stands in every event that is sent, and those of a page are of the same moment. isoformat() takes a fifth of the
    # time of strftime().
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]
