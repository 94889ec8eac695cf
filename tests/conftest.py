"""A clock that stands still, for whichever room needs one."""

from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says more about the machine's other work than about the program.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


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


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
