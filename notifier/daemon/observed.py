"""A job of the schedule that can be looked at: whether it runs, how often it has, whether it gets on."""

from collections.abc import Awaitable, Callable, Hashable

from notifier.clock import Clock
from notifier.daemon.progress import Pulse


class ObservedJob:
    """Does a job's work, and keeps count."""

    def __init__(
        self,
        pulse: Pulse,
        work: Callable[[], Awaitable[None]],
        signs: Callable[[], Hashable],
        clock: Clock,
    ) -> None:
        """Take the pulse of a job that has not run yet; what `signs` returns changes while the work gets on."""
        self._born = pulse
        self._work = work
        self._signs = signs
        self._clock = clock
        self._begun = self._ended = 0
        self._begun_at = 0.0

    async def run(self) -> None:
        """Do the work once."""
        self._begun += 1
        self._begun_at = self._clock.monotonic()
        try:
            await self._work()
        finally:
            self._ended += 1

    def pulse(self) -> Pulse:
        """Return what can be seen of the job at this moment."""
        born = self._born
        return Pulse(
            born.name, born.interval, born.step, born.born, self._begun, self._ended, self._signs(), self._begun_at
        )
