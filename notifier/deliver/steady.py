"""A wall clock that is not shaken by being set: what has been scheduled and how old it is are reckoned by it."""

from notifier.clock import Clock

_TOLERANCE_MS = 2000
"""What a clock may stray in the ordinary course of things, and is followed in at once."""


class SteadyClock:
    """Goes on as before when the wall clock is set, until `follow` is called.

    So nothing is taken for days old, or for not yet due, between the moment at which the clock is set and the moment at
    which the stored times are moved by as much.
    """

    def __init__(self, clock: Clock) -> None:
        """Begin with the time that `clock` shows."""
        self._clock = clock
        self._offset_ms = clock.now_ms() - self._monotonic_ms()

    def now_ms(self) -> int:
        """Return the wall clock in Unix milliseconds, or what it would show if it had not been set."""
        if not self.is_astray:
            self.follow(self.astray_ms())
        return self._monotonic_ms() + self._offset_ms

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return self._clock.monotonic()

    @property
    def is_astray(self) -> bool:
        """Whether the wall clock was set, and has not been followed since."""
        return abs(self.astray_ms()) >= _TOLERANCE_MS

    def astray_ms(self) -> int:
        """Return by how many milliseconds the wall clock is ahead of this one, or (negative) behind."""
        return self._clock.now_ms() - self._monotonic_ms() - self._offset_ms

    def follow(self, by_ms: int) -> None:
        """Go forward or (negative) back by so many milliseconds."""
        self._offset_ms += by_ms

    def _monotonic_ms(self) -> int:
        return round(self._clock.monotonic() * 1000)
