"""Finds the parts of the daemon that are stuck, by observing their activity. Pure.

A job of the schedule shows activity when it starts, ends or makes progress in between; the store's thread, when it
answers. A part is stuck if it has shown no activity for longer than allowed. Only time during which the process
actually ran counts, so a jump of the wall clock, a suspended machine or an overloaded processor does not make a part
look stuck.
"""

from collections.abc import Hashable, Iterable, Mapping

from msgspec import Struct

LONG_ROUND_SECONDS = 3600.0
"""Seconds that a job may run without activity. This is much longer than any wait because of the rate limit."""

LONG_TRANSACTION_SECONDS = 600.0
"""Seconds that the store's thread may take to answer: enough to change a whole large file on a slow disk."""

LEAST_PATIENCE_SECONDS = 10.0
"""Minimum of `patience` in seconds: more than the five seconds within which a jump of the wall clock is noticed."""

STORE = "the store's thread"
"""The name of the store's thread as a part of the daemon; all other parts are jobs."""


class JobStats(Struct, frozen=True):
    """The current statistics of one job of the schedule.

    `interval` is in seconds, and so is `step`, the longest time that the job may wait for one answer. `born`
    distinguishes the job from an earlier one of the same name. `begun` and `ended` count its runs. `signs` changes
    whenever a run makes progress. `begun_at` is when the latest run began (monotonic seconds).
    """

    name: str
    interval: float
    step: float = 0.0
    born: int = 0
    begun: int = 0
    ended: int = 0
    signs: Hashable = None
    begun_at: float = 0.0

    @property
    def is_running(self) -> bool:
        """Whether a run is under way."""
        return self.begun > self.ended

    def is_attempted(self, now: float) -> bool:
        """Return whether the first run has ended, or has lasted as long as one answer may take."""
        return self.ended > 0 or (self.begun > 0 and now - self.begun_at >= self.step)


class Component(Struct, frozen=True):
    """One part of the daemon. Its `mark` shows activity: it must change at least every `allowed` seconds."""

    name: str
    mark: Hashable
    allowed: float


class Stalled(Struct, frozen=True):
    """A part's last mark, and for how many seconds of running time the mark has not changed."""

    mark: Hashable
    seconds: float = 0.0


def parts(pulses: Iterable[JobStats], store_answers: int, patience: float) -> tuple[Component, ...]:
    """Return all parts with their current marks and allowed times; `patience` (seconds) is added to each."""
    patience = max(patience, LEAST_PATIENCE_SECONDS)
    return (
        Component(STORE, store_answers, LONG_TRANSACTION_SECONDS + patience),
        *(_job(pulse, patience) for pulse in pulses),
    )


def _job(pulse: JobStats, patience: float) -> Component:
    longest = max(pulse.interval, pulse.step, LONG_ROUND_SECONDS) if pulse.is_running else pulse.interval
    return Component(pulse.name, (pulse.born, pulse.begun, pulse.ended, pulse.signs), longest + patience)


def lived(gap: float, tick: float) -> float:
    """Return the part of the `gap` between two checks (seconds) that counts as running time: at most two `tick`s."""
    return min(max(gap, 0.0), 2 * tick)


def observe(before: Mapping[str, Stalled], now: Iterable[Component], seconds: float) -> dict[str, Stalled]:
    """Return the observations of the parts in `now`: those in `before`, updated after `seconds` of running time."""
    return {part.name: _looked_at(before.get(part.name), part, seconds) for part in now}


def _looked_at(before: Stalled | None, part: Component, seconds: float) -> Stalled:
    if before is None or before.mark != part.mark:
        return Stalled(part.mark)
    return Stalled(part.mark, before.seconds + seconds)


def stuck(seen: Mapping[str, Stalled], now: Iterable[Component]) -> dict[str, float]:
    """Return the stuck parts, each with the seconds for which it has shown no activity."""
    return {part.name: seen[part.name].seconds for part in now if seen[part.name].seconds > part.allowed}
