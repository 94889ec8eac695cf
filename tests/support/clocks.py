"""The clocks that tests put in the place of the machine's: one moved by hand, one that can be set, one of a loop."""

import asyncio
import time
from dataclasses import dataclass

from notifier.clock import SystemClock


@dataclass(slots=True)
class FakeClock:
    """Both of the clock's times, moved by hand only; it starts at 2026-11-21T17:00:00.123Z."""

    ms: int = 1_795_280_400_123
    seconds: float = 1_000.0

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.ms += round(seconds * 1000)
        self.seconds += seconds

    def set_wall_clock(self, seconds: float) -> None:
        """Set the wall clock forward, or back (negative), while no time passes."""
        self.ms += round(seconds * 1000)


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


class LapsingClock:
    """The loop's time, as the program's clock; it begins now."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._started_ms = SystemClock().now_ms()

    def now_ms(self) -> int:
        return self._started_ms + round(self.monotonic() * 1000)

    def monotonic(self) -> float:
        return self._loop.time()
