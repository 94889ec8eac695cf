"""The schedule: every source at its own interval, staggered, whatever the wall clock does.

APScheduler reckons by the wall clock: set back, it would stall until the time catches up; set forward, it would list
every moment missed. So the trigger here always reckons from now, and a watch moves the jobs when the clock jumps.
"""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Hashable
from datetime import UTC, datetime, timedelta

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobExecutionEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from notifier.clock import Clock
from notifier.daemon.observed import ObservedJob
from notifier.daemon.progress import Pulse

_log = logging.getLogger(__name__)

CLOCK_CHECK = 5.0
"""Seconds between two looks at whether the wall clock has jumped."""

JUMP = 2.0
"""Seconds by which the wall clock must stray from the monotonic one to count as a jump."""

SPREAD = 60.0
"""Seconds over which the first runs of all jobs are spread, at most."""

_STAGGER = 0.618_033_988_749_895


class EveryFromNow(BaseTrigger):  # type: ignore[misc]  # APScheduler ships no types
    """Fires every so many seconds, reckoned from the moment it is asked and not from a grid of the past."""

    def __init__(self, seconds: float) -> None:
        """Take the interval in seconds."""
        self.interval = timedelta(seconds=seconds)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the next moment; when the last one was on time, the interval is kept without drift."""
        if previous_fire_time is not None and timedelta(0) <= now - previous_fire_time < self.interval:
            following: datetime = previous_fire_time + self.interval
            return following
        return now + self.interval


class Schedule:
    """Runs a round of each source at its interval."""

    def __init__(self, clock: Clock) -> None:
        """Make an empty schedule."""
        self._clock = clock
        self._intervals: dict[str, float] = {}
        self._jobs: dict[str, ObservedJob] = {}
        self._births = itertools.count()
        self._on_jump: Callable[[], Awaitable[None]] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._scheduler = AsyncIOScheduler(
            timezone=UTC,
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        self._scheduler.add_listener(_report, EVENT_JOB_ERROR | EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES)

    def add(
        self,
        name: str,
        seconds: float,
        work: Callable[[], Awaitable[None]],
        *,
        step: float = 0.0,
        signs: Callable[[], Hashable] = lambda: None,
    ) -> None:
        """Run `work` every so many seconds, for the first time within the first interval but not with all others.

        `step` is for how many seconds it may wait for one answer; what `signs` returns changes while it gets on.
        """
        self._intervals[name] = seconds
        self._jobs[name] = ObservedJob(Pulse(name, seconds, step, next(self._births)), work, signs, self._clock)
        first = stagger(len(self._intervals) - 1) * min(seconds, SPREAD)
        self._scheduler.add_job(
            self._jobs[name].run,
            EveryFromNow(seconds),
            id=name,
            name=name,
            next_run_time=datetime.now(UTC) + timedelta(seconds=first),
        )

    def remove(self, name: str) -> None:
        """Run a job no more; where it runs now is the caller's to end."""
        del self._intervals[name], self._jobs[name]
        self._scheduler.remove_job(name)

    def start(self, on_jump: Callable[[], Awaitable[None]]) -> None:
        """Begin; `on_jump` is called when the wall clock was set.

        It must not raise: nothing would watch the clock any more.
        """
        self._on_jump = on_jump
        self._scheduler.start()
        self._watching = asyncio.create_task(self._watch_clock(), name="clock watch")

    def next_run_ms(self, name: str) -> int | None:
        """Return when a job runs next, in Unix milliseconds."""
        job = self._scheduler.get_job(name)
        if job is None or job.next_run_time is None:
            return None
        next_run: datetime = job.next_run_time
        return round(next_run.timestamp() * 1000)

    def pulses(self) -> list[Pulse]:
        """Return what can be seen of each job at this moment."""
        return [job.pulse() for job in self._jobs.values()]

    async def stop(self) -> None:
        """Start no more jobs; what runs is the caller's to wait for."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    async def _watch_clock(self) -> None:
        offset = self._offset()
        while True:
            await asyncio.sleep(CLOCK_CHECK)
            now = self._offset()
            jump = now - offset
            offset = now
            if abs(jump) >= JUMP:
                _log.warning("the wall clock has jumped", extra={"seconds": round(jump, 1)})
                self._move_jobs(jump)
                if self._on_jump is not None:
                    await self._on_jump()

    def _offset(self) -> float:
        return self._clock.now_ms() / 1000 - self._clock.monotonic()

    def _move_jobs(self, jump: float) -> None:
        """Let every job keep the wait that it had before the clock jumped."""
        now = datetime.now(UTC)
        for name, interval in self._intervals.items():
            job = self._scheduler.get_job(name)
            if job is not None and job.next_run_time is not None:
                latest = now + timedelta(seconds=interval)
                self._scheduler.modify_job(name, next_run_time=min(job.next_run_time + timedelta(seconds=jump), latest))


def stagger(index: int) -> float:
    """Spread any number of jobs evenly over [0, 1): the first at once, each next one by the golden ratio further."""
    return (index * _STAGGER) % 1.0


def _report(event: JobExecutionEvent) -> None:
    match event.code:
        case code if code == EVENT_JOB_ERROR and isinstance(event.exception, asyncio.CancelledError):
            _log.debug("a round was cut off, since the daemon stops", extra={"job": event.job_id})
        case code if code == EVENT_JOB_ERROR:
            _log.error(
                "a round failed by a fault of the program", extra={"job": event.job_id}, exc_info=event.exception
            )
        case code if code == EVENT_JOB_MAX_INSTANCES:
            _log.debug("a round takes longer than its interval; the next one was left out", extra={"job": event.job_id})
        case _:
            _log.warning("a round was missed", extra={"job": event.job_id})
