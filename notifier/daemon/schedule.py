"""The schedule: every source at its own interval, staggered, whatever the wall clock does.

APScheduler reckons by the wall clock: set back, it would stall until the time catches up; set forward, it would list
every moment missed. So here it is given a time zone in which it is always as late as our steady clock says, and the
wall clock may do what it likes. Two things are left to watch for: the wall clock was set (who stores moments must
know), or the machine has slept, during which the event loop's timers stood still (what is due must not wait longer).
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
from notifier.daemon.observed import ObservedJob
from notifier.daemon.progress import Pulse

_log = logging.getLogger(__name__)

CLOCK_CHECK = 5.0
"""Seconds between two looks at whether the wall clock has jumped, or the machine has slept."""

JUMP = 2.0
"""Seconds by which one clock must stray from another to count as a jump or a sleep."""

SPREAD = 60.0
"""Seconds over which the first runs of all jobs are spread, at most."""

_STAGGER = 0.618_033_988_749_895
_ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)


class SteadyZone(tzinfo):
    """The time zone in which it is as late as a clock's monotonic seconds say.

    APScheduler asks `datetime.now(zone)`, and Python asks the zone: this is the one place at which a clock can be put
    under it without replacing parts of either. Every moment of the schedule is one of this zone, and none is ever
    converted into it: that would ask it for the time.
    """

    def __init__(self, clock: Clock) -> None:
        """Go by this clock."""
        self._clock = clock

    def now(self) -> datetime:
        """Return the time; the date has no meaning."""
        return (_ORIGIN + timedelta(seconds=self._clock.monotonic())).replace(tzinfo=self)

    def fromutc(self, _now: datetime) -> datetime:
        """Return the time, whatever the wall clock shows."""
        return self.now()

    def utcoffset(self, _moment: datetime | None) -> timedelta:
        """Return none: only differences between moments of this zone mean anything."""
        return timedelta(0)

    def dst(self, _moment: datetime | None) -> timedelta:
        """Return none."""
        return timedelta(0)

    def tzname(self, _moment: datetime | None) -> str:
        """Name it."""
        return "steady"


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
        self._zone = SteadyZone(clock)
        self._jobs: dict[str, ObservedJob] = {}
        self._births = itertools.count()
        self._on_jump: Callable[[], Awaitable[None]] | None = None
        self._on_wake: Callable[[float], Awaitable[None]] | None = None
        self._ahead_of_timers = 0.0
        self._watching: asyncio.Task[None] | None = None
        self._scheduler = AsyncIOScheduler(
            timezone=self._zone,
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
        first = stagger(len(self._jobs)) * min(seconds, SPREAD)
        self._jobs[name] = ObservedJob(Pulse(name, seconds, step, next(self._births)), work, signs, self._clock)
        self._scheduler.add_job(
            self._jobs[name].run,
            EveryFromNow(seconds),
            id=name,
            name=name,
            next_run_time=self._zone.now() + timedelta(seconds=first),
        )

    def remove(self, name: str) -> None:
        """Run a job no more; where it runs now is the caller's to end."""
        del self._jobs[name]
        self._scheduler.remove_job(name)

    def run_soon(self, name: str) -> None:
        """Run a job now, and then at its interval; of no effect once the schedule has stopped."""
        if self._scheduler.running:
            self._scheduler.modify_job(name, next_run_time=self._zone.now())

    def start(
        self, on_jump: Callable[[], Awaitable[None]], on_wake: Callable[[float], Awaitable[None]] | None = None
    ) -> None:
        """Begin; `on_jump` is called when the wall clock was set, `on_wake` when the machine has slept, with how long.

        They must not raise: nothing would watch the clocks any more.
        """
        self._on_jump = on_jump
        self._on_wake = on_wake
        self._scheduler.start()
        self._ahead_of_timers = self._ahead_of(asyncio.get_running_loop().time())
        watch = self._watch_clocks(self._ahead_of(self._wall()))
        self._watching = asyncio.create_task(watch, name="clock watch")

    async def notice_sleep(self) -> None:
        """See to what has become due if the machine has slept; whoever judges how long something took asks before."""
        ahead = self._ahead_of(asyncio.get_running_loop().time())
        slept, self._ahead_of_timers = ahead - self._ahead_of_timers, ahead
        if slept < JUMP:
            return
        _log.info("the machine has slept", extra={"seconds": round(slept, 1)})
        # Each job once, however often it would have been; they begin after those who reckon with the time know.
        self._scheduler.wakeup()
        if self._on_wake is not None:
            await self._on_wake(slept)

    def next_run_ms(self, name: str) -> int | None:
        """Return when a job runs next, in Unix milliseconds."""
        job = self._scheduler.get_job(name)
        if job is None or job.next_run_time is None:
            return None
        wait: timedelta = job.next_run_time - self._zone.now()
        return self._clock.now_ms() + round(wait.total_seconds() * 1000)

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

    async def _watch_clocks(self, ahead_of_wall: float) -> None:
        """Watch by how much the steady clock is ahead of the wall clock and of the event loop's timers."""
        while True:
            await asyncio.sleep(CLOCK_CHECK)
            await self.notice_sleep()
            jump = ahead_of_wall - self._ahead_of(self._wall())
            ahead_of_wall -= jump
            if abs(jump) >= JUMP:
                _log.warning("the wall clock has jumped", extra={"seconds": round(jump, 1)})
                if self._on_jump is not None:
                    await self._on_jump()

    def _wall(self) -> float:
        return self._clock.now_ms() / 1000

    def _ahead_of(self, seconds: float) -> float:
        """Return by how much the steady clock is ahead of another one."""
        return self._clock.monotonic() - seconds


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
