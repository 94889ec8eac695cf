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

LEAST_TOLERANCE_SECONDS = 10.0
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
    interval_seconds: float
    answer_seconds: float = 0.0
    number: int = 0
    started_runs: int = 0
    ended_runs: int = 0
    progress: Hashable = None
    started_at: float = 0.0

    @property
    def is_running(self) -> bool:
        """Whether a run is under way."""
        return self.started_runs > self.ended_runs

    def is_first_round_over(self, now: float) -> bool:
        """Return whether the first run has ended, or has lasted as long as one answer may take."""
        return self.ended_runs > 0 or (self.started_runs > 0 and now - self.started_at >= self.answer_seconds)


class Part(Struct, frozen=True):
    """One part of the daemon. Its `mark` shows activity: it must change at least every `allowed` seconds."""

    name: str
    activity: Hashable
    allowed_seconds: float


class Observation(Struct, frozen=True):
    """A part's last mark, and for how many seconds of running time the mark has not changed."""

    activity: Hashable
    unchanged_seconds: float = 0.0


def all_parts(jobs: Iterable[JobStats], store_answers: int, tolerance_seconds: float) -> tuple[Part, ...]:
    """Return all parts with their current marks and allowed times; `patience` (seconds) is added to each."""
    tolerance_seconds = max(tolerance_seconds, LEAST_TOLERANCE_SECONDS)
    return (
        Part(STORE, store_answers, LONG_TRANSACTION_SECONDS + tolerance_seconds),
        *(_job_part(pulse, tolerance_seconds) for pulse in jobs),
    )


def _job_part(job: JobStats, tolerance_seconds: float) -> Part:
    longest = (
        max(job.interval_seconds, job.answer_seconds, LONG_ROUND_SECONDS) if job.is_running else job.interval_seconds
    )
    return Part(job.name, (job.number, job.started_runs, job.ended_runs, job.progress), longest + tolerance_seconds)


def running_seconds(gap: float, tick: float) -> float:
    """Return the part of the `gap` between two checks (seconds) that counts as running time: at most two `tick`s."""
    return min(max(gap, 0.0), 2 * tick)


def observe(before: Mapping[str, Observation], parts: Iterable[Part], seconds: float) -> dict[str, Observation]:
    """Return the observations of the parts in `now`: those in `before`, updated after `seconds` of running time."""
    return {part.name: _observe_part(before.get(part.name), part, seconds) for part in parts}


def _observe_part(before: Observation | None, part: Part, seconds: float) -> Observation:
    if before is None or before.activity != part.activity:
        return Observation(part.activity)
    return Observation(part.activity, before.unchanged_seconds + seconds)


def stuck_parts(observations: Mapping[str, Observation], parts: Iterable[Part]) -> dict[str, float]:
    """Return the stuck parts, each with the seconds for which it has shown no activity."""
    return {
        part.name: observations[part.name].unchanged_seconds
        for part in parts
        if observations[part.name].unchanged_seconds > part.allowed_seconds
    }
