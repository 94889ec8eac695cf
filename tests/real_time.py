"""For tests in which time really passes: waiting for what is to happen, and a wall clock that can be set."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from notifier.clock import SystemClock

DEADLINE = 20.0


async def until(is_so: Callable[[], bool], deadline: float = DEADLINE) -> None:
    """Wait for a condition; fail when it has not come true within `deadline` seconds."""
    end = time.monotonic() + deadline
    while not is_so():
        assert time.monotonic() < end, "what was waited for did not happen"
        await asyncio.sleep(0.005)


@dataclass(slots=True)
class SettableClock:
    """The real time, with a wall clock that can be set, on a machine that can be put to sleep for an instant."""

    offset_ms: int = 0
    slept: float = 0.0

    def now_ms(self) -> int:
        return SystemClock().now_ms() + self.offset_ms

    def monotonic(self) -> float:
        return time.monotonic() + self.slept

    def set_wall_clock(self, seconds: float) -> None:
        """Set the wall clock forward, or back (negative)."""
        self.offset_ms += round(seconds * 1000)

    def sleep(self, seconds: float) -> None:
        """Let time pass during which the event loop's timers stand still."""
        self.offset_ms += round(seconds * 1000)
        self.slept += seconds
