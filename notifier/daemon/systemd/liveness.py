"""Finds the parts of the daemon that are stuck, by observing their activity. Pure.

A job of the schedule is active when it starts, makes progress or ends. The store's thread is active when it answers a
query. A part is stuck if it is inactive for longer than allowed. Time in which the machine slept, or the process waited
for an overloaded processor, is not counted.
"""

from collections.abc import Hashable, Iterable, Mapping

from msgspec import Struct

LONG_ROUND_SECONDS = 3600.0
"""Seconds for which a running job may be inactive. The rate limit delays a request for a much shorter time."""

LONG_TRANSACTION_SECONDS = 600.0
"""Seconds that the store's thread may take to answer a query: enough to rewrite a large file on a slow disk."""

LEAST_TOLERANCE_SECONDS = 10.0
"""Minimum of `tolerance_seconds`; more than the five seconds between two checks of the clocks."""

STORE = "the store's thread"
"""The name of the part that is the store's thread; all other parts are jobs."""


class JobStats(Struct, frozen=True):
    """The current statistics of one job of the schedule."""

    name: str
    interval_seconds: float
    answer_seconds: float = 0.0
    """The longest time that the job may wait for one answer."""
    number: int = 0
    """A unique number. It distinguishes the job from a later job with the same name."""
    started_runs: int = 0
    ended_runs: int = 0
    progress: Hashable = None
    """A value that changes whenever a run makes progress."""
    started_at: float = 0.0
    """The start of the latest run (monotonic seconds)."""

    @property
    def is_running(self) -> bool:
        """Whether the job is running now."""
        return self.started_runs > self.ended_runs

    def is_first_round_over(self, now: float) -> bool:
        """Return whether the first run has ended, or has lasted for at least `answer_seconds`."""
        return self.ended_runs > 0 or (self.started_runs > 0 and now - self.started_at >= self.answer_seconds)


class Part(Struct, frozen=True):
    """One part of the daemon. Its value `activity` must change at least every `allowed_seconds`."""

    name: str
    activity: Hashable
    allowed_seconds: float


class Observation(Struct, frozen=True):
    """The last `activity` value of a part, and the seconds of running time for which it has not changed."""

    activity: Hashable
    unchanged_seconds: float = 0.0


def all_parts(jobs: Iterable[JobStats], store_answers: int, tolerance_seconds: float) -> tuple[Part, ...]:
    """Return all parts of the daemon; `tolerance_seconds` is included in the `allowed_seconds` of each part.

    `store_answers` is the number of queries that the store's thread has answered.
    """
    tolerance_seconds = max(tolerance_seconds, LEAST_TOLERANCE_SECONDS)
    return (
        Part(STORE, store_answers, LONG_TRANSACTION_SECONDS + tolerance_seconds),
        *(_job_part(job, tolerance_seconds) for job in jobs),
    )


def _job_part(job: JobStats, tolerance_seconds: float) -> Part:
    longest = (
        max(job.interval_seconds, job.answer_seconds, LONG_ROUND_SECONDS) if job.is_running else job.interval_seconds
    )
    return Part(job.name, (job.number, job.started_runs, job.ended_runs, job.progress), longest + tolerance_seconds)


def running_seconds(gap: float, tick: float) -> float:
    """Return the seconds for which the process is assumed to have run between two checks.

    `gap` is the real time between the checks, `tick` the intended time. The result is `gap`, but at most twice `tick`:
    in the rest of a longer gap, the process did not run.
    """
    return min(max(gap, 0.0), 2 * tick)


def observe(before: Mapping[str, Observation], parts: Iterable[Part], seconds: float) -> dict[str, Observation]:
    """Return a new observation of each part.

    `before` holds the previous observations. `seconds` is the running time since the previous observations.
    """
    return {part.name: _observe_part(before.get(part.name), part, seconds) for part in parts}


def _observe_part(before: Observation | None, part: Part, seconds: float) -> Observation:
    if before is None or before.activity != part.activity:
        return Observation(part.activity)
    return Observation(part.activity, before.unchanged_seconds + seconds)


def stuck_parts(observations: Mapping[str, Observation], parts: Iterable[Part]) -> dict[str, float]:
    """Return the names of the stuck parts, each with the number of seconds for which the part has been inactive."""
    return {
        part.name: observations[part.name].unchanged_seconds
        for part in parts
        if observations[part.name].unchanged_seconds > part.allowed_seconds
    }
