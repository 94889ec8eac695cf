"""A rate limit: an average number of requests a second, with small bursts."""

from msgspec import Struct


class TokenBucket(Struct):
    """A token bucket that has room for `rate` tokens, at least for one; a rate of 0 means no limit.

    `rate` is in requests a second, and may be changed at any time. `now` is in monotonic seconds.
    """

    rate: float
    _tokens: float = 0.0
    _filled_at: float | None = None

    def seconds_to_wait(self, now: float) -> float:
        """Return the seconds until the next request may start; 0.0 if it may start now."""
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
        """Take one token for a request that starts now."""
        if self.rate:
            self._tokens -= 1.0
