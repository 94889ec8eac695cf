"""How fast a destination may be spoken to: so many requests a second on average, in small bursts."""

from dataclasses import dataclass


@dataclass(slots=True)
class Pace:
    """A token bucket that holds one second's worth of requests, at least one; a rate of 0 is no limit.

    The clock is passed in: monotonic seconds.
    """

    rate: float
    _tokens: float = 0.0
    _filled_at: float | None = None

    def wait(self, now: float) -> float:
        """Return the seconds until the next request may start; 0.0 when it may start now."""
        if not self.rate:
            return 0.0
        most = max(1.0, self.rate)
        if self._filled_at is None:
            self._tokens = most
        else:
            self._tokens = min(most, self._tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now
        return max(0.0, (1.0 - self._tokens) / self.rate)

    def spend(self) -> None:
        """Count one request that starts now."""
        if self.rate:
            self._tokens -= 1.0
