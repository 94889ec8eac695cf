"""Measures how long delivery has been tried, without the time in which the destination was disabled or nothing ran."""

from notifier.clock import Clock


class TryingClock:
    """A stopwatch of the time of trying; it decides when a delivery is given up."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._before_ms = 0
        self._since: float | None = None
        self._started_at = 0.0

    def ms(self) -> int:
        """Return the total milliseconds, earlier processes included."""
        lately = 0.0 if self._since is None else self._clock.monotonic() - self._since
        return self._before_ms + round(max(0.0, lately) * 1000)

    def seconds_running(self) -> float:
        """Return the seconds since it was last started in this process; 0.0 while it is stopped."""
        return 0.0 if self._since is None else self._clock.monotonic() - self._started_at

    def begin(self, before_ms: int, *, runs: bool) -> None:
        """Continue from `before_ms`, the value that an earlier process stored; `runs`: start at once."""
        self._before_ms = before_ms
        self._since = None
        self.run(runs=runs)

    def run(self, *, runs: bool) -> None:
        """Start the clock if `runs`, otherwise stop it."""
        self._before_ms = self.ms()
        now = self._clock.monotonic()
        if self._since is None:
            self._started_at = now
        self._since = now if runs else None

    def start_again(self) -> None:
        """Restart `seconds_running` at zero, because another address is tried."""
        self._started_at = self._clock.monotonic()

    def leave_out(self, seconds: float) -> None:
        """Exclude the `seconds` that have just passed, if the clock runs."""
        if self._since is not None:
            self._since += seconds
            self._started_at += seconds
