"""A wall clock without jumps, used to measure schedules and ages even when the system clock is set."""

from notifier.clock import Clock

_TOLERANCE_MS = 2000
"""Milliseconds. A smaller difference is normal drift and is adopted at once; a larger one means the clock was set."""


class JumpFreeClock:
    """A wall clock that ignores a change of the system clock until `follow` is called.

    Between the change and the moment when the stored times are shifted by the same amount, deliveries would otherwise
    appear days old or not yet due.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_ms = clock.now_ms() - self._monotonic_ms()

    def now_ms(self) -> int:
        """Return the time in Unix milliseconds, without any change of the system clock that was not followed yet."""
        now_ms = self._clock.now_ms()
        steady_ms = self._monotonic_ms() + self._offset_ms
        if abs(now_ms - steady_ms) >= _TOLERANCE_MS:
            return steady_ms
        self._offset_ms += now_ms - steady_ms
        return now_ms

    def monotonic(self) -> float:
        """Return monotonic seconds."""
        return self._clock.monotonic()

    @property
    def is_astray(self) -> bool:
        """Whether the wall clock was set and `follow` has not been called since."""
        return abs(self.astray_ms()) >= _TOLERANCE_MS

    def astray_ms(self) -> int:
        """Return how many milliseconds the system's wall clock is ahead of this clock (negative: behind)."""
        return self._clock.now_ms() - self._monotonic_ms() - self._offset_ms

    def follow(self, by_ms: int) -> None:
        """Move this clock forward by `by_ms` milliseconds, or back if negative."""
        self._offset_ms += by_ms

    def _monotonic_ms(self) -> int:
        return round(self._clock.monotonic() * 1000)
