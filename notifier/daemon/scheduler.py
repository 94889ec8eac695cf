"""The schedule: runs each job at its own interval, independently of the wall clock.

APScheduler would stall if the wall clock is set back, and miss every job if it is set forward. Therefore it gets a time
zone whose time comes from the monotonic clock.

After the wall clock was set, the schedule notifies the parts that store times. After the machine has slept, it runs all
due jobs at once, because the timers of the event loop stood still.
"""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Hashable
from datetime import UTC, datetime, timedelta, tzinfo

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobExecutionEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from notifier.clock import Clock
from notifier.daemon.systemd.liveness import JobStats

_log = logging.getLogger(__name__)

CLOCK_CHECK_SECONDS = 5.0
"""Seconds between two checks of whether the wall clock was set or the machine has slept."""

JUMP_SECONDS = 2.0
"""If the offset between two clocks changes by this many seconds, the wall clock was set or the machine has slept."""

SPREAD_SECONDS = 60.0
"""The maximum number of seconds over which the first runs of all jobs are spread."""

_GOLDEN_RATIO = 0.618_033_988_749_895
_ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)


class MonotonicZone(tzinfo):
    """A time zone whose time is the monotonic seconds of a clock; the only way to give APScheduler another clock.

    APScheduler calls `datetime.now(zone)`, which calls `zone.fromutc`. All times of the schedule are in this zone.
    Never convert a time of another zone into this zone: the result is always the current time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        """Return the clock's monotonic seconds as a time in this zone, counted from an arbitrary date."""
        return (_ORIGIN + timedelta(seconds=self._clock.monotonic())).replace(tzinfo=self)

    def fromutc(self, _now: datetime) -> datetime:
        """Ignore the time of the wall clock, and return the current time of the monotonic clock."""
        return self.now()

    def utcoffset(self, _moment: datetime | None) -> timedelta:
        """Return zero; any constant would do, because only differences between times are used."""
        return timedelta(0)

    def dst(self, _moment: datetime | None) -> timedelta:
        """Return zero: there is no daylight saving time."""
        return timedelta(0)

    def tzname(self, _moment: datetime | None) -> str:
        """Return the name of the zone."""
        return "steady"


class IntervalFromNow(BaseTrigger):  # type: ignore[misc]  # APScheduler ships no types
    """A trigger that fires at an interval. After missed runs, the interval starts again from the current time."""

    def __init__(self, seconds: float) -> None:
        self.interval = timedelta(seconds=seconds)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the time one interval after the last run or, if that time has passed, one interval after `now`."""
        if previous_fire_time is not None and timedelta(0) <= now - previous_fire_time < self.interval:
            following: datetime = previous_fire_time + self.interval
            return following
        return now + self.interval


class Schedule:
    """Runs each job, such as the rounds of a source, at its own interval."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._zone = MonotonicZone(clock)
        self._jobs: dict[str, Job] = {}
        self._job_numbers = itertools.count()
        self._on_clock_jump: Callable[[], Awaitable[None]] | None = None
        self._on_machine_wake: Callable[[float], Awaitable[None]] | None = None
        self._timer_offset: float | None = None
        self._clock_watch: asyncio.Task[None] | None = None
        self._scheduler = AsyncIOScheduler(
            timezone=self._zone,
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        self._scheduler.add_listener(_log_job_event, EVENT_JOB_ERROR | EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES)

    def add(
        self,
        name: str,
        interval_seconds: float,
        run: Callable[[], Awaitable[None]],
        *,
        answer_seconds: float = 0.0,
        progress: Callable[[], Hashable] = lambda: None,
        index: int | None = None,
    ) -> None:
        """Add a job that calls `run` every `interval_seconds`.

        The first call happens within the first interval. If several jobs are added together, `index` is the number of
        the job in the group. The delay of the first call depends on this number, so that the jobs do not all begin at
        once. If `index` is None, the number of existing jobs is used. `answer_seconds` is the longest time that the job
        may wait for the answer to one request. `progress` returns a value that changes whenever the job makes progress.
        """
        first = first_run_delay(len(self._jobs) if index is None else index) * min(interval_seconds, SPREAD_SECONDS)
        self._jobs[name] = Job(
            JobStats(name, interval_seconds, answer_seconds, next(self._job_numbers)), run, progress, self._clock
        )
        self._scheduler.add_job(
            self._jobs[name].run,
            IntervalFromNow(interval_seconds),
            id=name,
            name=name,
            next_run_time=self._zone.now() + timedelta(seconds=first),
        )

    def remove(self, name: str) -> None:
        """Remove a job. If the job is running, the caller must end that run."""
        del self._jobs[name]
        self._scheduler.remove_job(name)

    def run_now(self, name: str) -> None:
        """Run a job immediately, and then again at its interval. Do nothing if the schedule is not running."""
        if self._scheduler.running:
            self._scheduler.modify_job(name, next_run_time=self._zone.now())

    def start(
        self,
        on_clock_jump: Callable[[], Awaitable[None]],
        on_machine_wake: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        """Start the schedule.

        `on_clock_jump` is called after the wall clock was set. `on_machine_wake` is called after the machine has slept,
        with the length of the sleep in seconds.
        """
        self._on_clock_jump = on_clock_jump
        self._on_machine_wake = on_machine_wake
        self._scheduler.start()
        self._timer_offset = self._offset_to(asyncio.get_running_loop().time())
        watch = self._watch_clocks(self._offset_to(self._wall_seconds()))
        self._clock_watch = asyncio.create_task(watch, name="clock watch")

    async def detect_sleep(self) -> None:
        """Check whether the machine has slept. If so, run all due jobs, and call `on_machine_wake`.

        Call this before comparing a duration with a limit, so that the sleep does not count as part of the duration.
        """
        offset = self._offset_to(asyncio.get_running_loop().time())
        if self._timer_offset is None:
            return  # The schedule has not started yet.
        slept, self._timer_offset = offset - self._timer_offset, offset
        if slept < JUMP_SECONDS:
            return
        _log.info("the machine has slept", extra={"seconds": round(slept, 1)})
        # A due job runs once, even if it missed several runs. It cannot start before `on_machine_wake` is called.
        self._scheduler.wakeup()
        if self._on_machine_wake is not None:
            await self._on_machine_wake(slept)

    def next_run_ms(self, name: str) -> int | None:
        """Return the time of a job's next run (Unix ms); None if the job does not exist or has no next run."""
        job = self._scheduler.get_job(name)
        if job is None or job.next_run_time is None:
            return None
        wait: timedelta = job.next_run_time - self._zone.now()
        return self._clock.now_ms() + round(wait.total_seconds() * 1000)

    def job_stats(self) -> list[JobStats]:
        """Return the current statistics of each job."""
        return [job.stats() for job in self._jobs.values()]

    async def stop(self) -> None:
        """Stop starting jobs. The caller must wait for jobs that are running."""
        if self._clock_watch is not None:
            self._clock_watch.cancel()
            await asyncio.wait([self._clock_watch])
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    async def _watch_clocks(self, wall_offset: float) -> None:
        """Check periodically whether the wall clock was set or the machine has slept, until cancelled."""
        while True:
            await asyncio.sleep(CLOCK_CHECK_SECONDS)
            try:
                await self.detect_sleep()
                jump = wall_offset - self._offset_to(self._wall_seconds())
                if abs(jump) >= JUMP_SECONDS:
                    _log.warning("the system clock was set", extra={"seconds": round(jump, 1)})
                    if self._on_clock_jump is not None:
                        await self._on_clock_jump()
            except Exception:  # noqa: BLE001 - logged; otherwise no later jump or sleep would be noticed
                _log.exception("the clocks could not be checked because of an internal error; they are checked again")
            else:
                wall_offset -= jump

    def _wall_seconds(self) -> float:
        return self._clock.now_ms() / 1000

    def _offset_to(self, seconds: float) -> float:
        """Return how many seconds the monotonic clock is ahead of another clock, which shows `seconds`."""
        return self._clock.monotonic() - seconds


def first_run_delay(index: int) -> float:
    """Return the delay of a job's first run, as a fraction of the longest delay, from 0 to below 1.

    Multiples of the golden ratio, modulo 1, are spread evenly for any number of jobs.
    """
    return (index * _GOLDEN_RATIO) % 1.0


def _log_job_event(event: JobExecutionEvent) -> None:
    match event.code:
        case code if code == EVENT_JOB_ERROR and isinstance(event.exception, asyncio.CancelledError):
            _log.debug("a round was interrupted because the daemon is stopping", extra={"job": event.job_id})
        case code if code == EVENT_JOB_ERROR:
            _log.error("a job failed with an internal error", extra={"job": event.job_id}, exc_info=event.exception)
        case code if code == EVENT_JOB_MAX_INSTANCES:
            _log.debug("a round takes longer than its interval; the next one was skipped", extra={"job": event.job_id})
        case _:
            _log.warning("a round was missed", extra={"job": event.job_id})


class Job:
    """Runs the function of one job, and counts the runs."""

    def __init__(
        self,
        initial_stats: JobStats,
        work: Callable[[], Awaitable[None]],
        progress: Callable[[], Hashable],
        clock: Clock,
    ) -> None:
        """Initialise a job that has not run yet; the value of `progress()` changes whenever `work` makes progress."""
        self._initial_stats = initial_stats
        self._work = work
        self._progress = progress
        self._clock = clock
        self._started_runs = self._ended_runs = 0
        self._started_at = 0.0

    async def run(self) -> None:
        """Run the job's function once."""
        self._started_runs += 1
        self._started_at = self._clock.monotonic()
        try:
            await self._work()
        finally:
            self._ended_runs += 1

    def stats(self) -> JobStats:
        """Return the job's current statistics."""
        initial = self._initial_stats
        return JobStats(
            initial.name,
            initial.interval_seconds,
            initial.answer_seconds,
            initial.number,
            self._started_runs,
            self._ended_runs,
            self._progress(),
            self._started_at,
        )
