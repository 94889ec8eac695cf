"""A scheduled job that counts its runs and shows whether it makes progress."""

from collections.abc import Awaitable, Callable, Hashable

from notifier.clock import Clock
from notifier.daemon.systemd.liveness import JobStats


class Job:
    """Runs a job's work and counts its runs."""

    def __init__(
        self,
        pulse: JobStats,
        work: Callable[[], Awaitable[None]],
        signs: Callable[[], Hashable],
        clock: Clock,
    ) -> None:
        """Initialize a job that has not run yet; the value of `signs()` changes whenever the work makes progress."""
        self._born = pulse
        self._work = work
        self._signs = signs
        self._clock = clock
        self._begun = self._ended = 0
        self._begun_at = 0.0

    async def run(self) -> None:
        """Run the work once."""
        self._begun += 1
        self._begun_at = self._clock.monotonic()
        try:
            await self._work()
        finally:
            self._ended += 1

    def pulse(self) -> JobStats:
        """Return the job's current figures."""
        born = self._born
        return JobStats(
            born.name, born.interval, born.step, born.born, self._begun, self._ended, self._signs(), self._begun_at
        )
