"""Clocks that replace the machine's clock in tests."""

import asyncio
import time
from dataclasses import dataclass

from notifier.clock import SystemClock


@dataclass(slots=True)
class FakeClock:
    """A clock that only a test moves. It starts at 2026-11-21T17:00:00.123Z."""

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
        """Set the wall clock forward, or back (negative). The monotonic clock does not change."""
        self.ms += round(seconds * 1000)


@dataclass(slots=True)
class SettableClock:
    """The real time, but a test can set the wall clock, and can let the machine sleep."""

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
        """Move both clocks forward, as if the machine had slept; the event loop's timers do not notice."""
        self.offset_ms += round(seconds * 1000)
        self.slept += seconds


class LapsingClock:
    """A clock that begins at the real time, and then follows the time of an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._started_ms = SystemClock().now_ms()

    def now_ms(self) -> int:
        return self._started_ms + round(self.monotonic() * 1000)

    def monotonic(self) -> float:
        return self._loop.time()
