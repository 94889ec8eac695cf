"""The clocks of delivery: a wall clock without jumps, and a clock that runs only while delivery is possible."""

from notifier.clock import Clock

_TOLERANCE_MS = 2000
"""A difference of this many milliseconds or more means that the system clock was set; a smaller one is drift."""


class JumpFreeClock:
    """A wall clock that ignores a change of the system clock until `follow` is called.

    After a change, the dispatcher first shifts the stored times of scheduled attempts, then calls `follow`. In the
    reverse order, attempts would seem to be due too early or too late.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_ms = clock.now_ms() - self._monotonic_ms()

    def now_ms(self) -> int:
        """Return the time in Unix milliseconds, as if the system clock had not been set since the last `follow`."""
        now_ms = self._clock.now_ms()
        expected_ms = self._monotonic_ms() + self._offset_ms
        if abs(now_ms - expected_ms) >= _TOLERANCE_MS:
            return expected_ms
        self._offset_ms += now_ms - expected_ms
        return now_ms

    def monotonic(self) -> float:
        """Return monotonic seconds."""
        return self._clock.monotonic()

    @property
    def has_jumped(self) -> bool:
        """Whether the system clock was changed since the last `follow`."""
        return abs(self.jump_ms()) >= _TOLERANCE_MS

    def jump_ms(self) -> int:
        """Return how many milliseconds the system clock is ahead of this clock (negative: behind)."""
        return self._clock.now_ms() - self._monotonic_ms() - self._offset_ms

    def follow(self, by_ms: int) -> None:
        """Move this clock forward by `by_ms` milliseconds (negative: back)."""
        self._offset_ms += by_ms

    def _monotonic_ms(self) -> int:
        return round(self._clock.monotonic() * 1000)


class TryingClock:
    """A clock that runs only while delivery is possible; it measures for how long deliveries have been tried."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._before_ms = 0
        self._since: float | None = None
        self._started_at = 0.0
        self._paused_since: float | None = None

    def total_ms(self) -> int:
        """Return the milliseconds counted so far, in this process and in earlier ones."""
        lately = 0.0 if self._since is None else self._clock.monotonic() - self._since
        return self._before_ms + round(max(0.0, lately) * 1000)

    def seconds_running(self) -> float:
        """Return the seconds since this clock was last started in this process; 0.0 while it is stopped."""
        return 0.0 if self._since is None else self._clock.monotonic() - self._started_at

    def restore(self, before_ms: int, *, is_running: bool) -> None:
        """Set the clock to `before_ms`, the value that an earlier process stored, and start it if `is_running`."""
        self._before_ms = before_ms
        self._since = None
        self.set_running(is_running=is_running)

    def set_running(self, *, is_running: bool) -> None:
        """Start or stop the clock."""
        self._before_ms = self.total_ms()
        now = self._clock.monotonic()
        if self._since is None:
            self._started_at = now
        self._since = now if is_running else None

    def restart_seconds_running(self) -> None:
        """Let `seconds_running` count from now, because the address or the credentials have changed."""
        self._started_at = self._clock.monotonic()

    def exclude(self, seconds: float) -> None:
        """Subtract `seconds` that have just passed; does nothing while the clock is stopped."""
        if self._since is not None:
            self._since += seconds
            self._started_at += seconds

    def set_paused(self, *, is_paused: bool) -> None:
        """Pause the clock during quiet times, or resume it.

        During a pause, the clock goes on counting. When the clock is resumed, the length of the pause is subtracted.
        Repeated calls have no effect.
        """
        now = self._clock.monotonic()
        if is_paused and self._paused_since is None:
            self._paused_since = now
        elif not is_paused and self._paused_since is not None:
            self.exclude(now - self._paused_since)
            self._paused_since = None
