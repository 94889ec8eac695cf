"""The schedule on the real scheduler: every source at its interval, whatever its rounds and the wall clock do."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.daemon.scheduler import IntervalFromNow, Schedule, first_run_delay
from tests.support.clocks import SettableClock
from tests.support.waiting import until

DAY = 86_400.0

moments = st.floats(0.0, 2.0**32).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
intervals = st.floats(0.001, 10 * DAY)


class Rounds:
    """Records when rounds begin, and how many run at the same time; each takes `seconds`."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.began: list[float] = []
        self.most = 0
        self._seconds = seconds
        self._running = 0

    async def round(self) -> None:
        self.began.append(time.monotonic())
        self._running += 1
        self.most = max(self.most, self._running)
        try:
            await asyncio.sleep(self._seconds)
        finally:
            self._running -= 1

    def since(self, moment: float) -> int:
        """Count the rounds that began after a moment (monotonic seconds)."""
        return sum(begun > moment for begun in self.began)


class JumpCounter:
    """Counts how often the schedule reports a jump of the clock."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1


def program_records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return the log records of the program itself, without those of the scheduler's library."""
    return [record for record in caplog.records if record.name.startswith("notifier.")]


@pytest.fixture
async def schedule(clock: SettableClock) -> AsyncIterator[Schedule]:
    made = Schedule(clock)
    yield made
    await made.stop()


@pytest.fixture
def jumps() -> JumpCounter:
    return JumpCounter()


async def test_schedule_keeps_each_interval_without_drift(schedule: Schedule, jumps: JumpCounter) -> None:
    planned: dict[float, list[datetime]] = {0.1: [], 0.25: []}

    async def work(interval: float) -> None:
        # Unlike its begin, the time when a run is due does not depend on the load of the machine.
        planned[interval].append(schedule._scheduler.get_job(str(interval)).next_run_time)
        await asyncio.sleep(0.02)

    for interval in planned:
        schedule.add(str(interval), interval, partial(work, interval))
    schedule.start(jumps)
    await until(lambda: len(planned[0.1]) > 15 and len(planned[0.25]) > 5)
    for interval, runs_due in planned.items():
        for earlier, later in pairwise(runs_due):
            runs = (later - earlier).total_seconds() / interval
            assert runs >= 1
            assert runs == pytest.approx(round(runs), abs=0.001)
    assert jumps.count == 0


async def test_schedule_spreads_the_first_runs_of_sources(schedule: Schedule, jumps: JumpCounter) -> None:
    for number in range(6):
        schedule.add(f"source-{number}", 60.0, Rounds().round)
    schedule.start(jumps)
    first = sorted(schedule.next_run_ms(f"source-{number}") or 0 for number in range(6))
    assert first[0] <= time.time() * 1000 + 100
    assert first[-1] <= time.time() * 1000 + 60_000
    assert all(later - earlier >= 5_000 for earlier, later in pairwise(first))


async def test_round_longer_than_its_interval_does_not_overlap_itself(
    schedule: Schedule, jumps: JumpCounter, caplog: pytest.LogCaptureFixture
) -> None:
    rounds = Rounds(seconds=0.25)
    schedule.add("slow", 0.1, rounds.round)
    schedule.start(jumps)
    await until(lambda: len(rounds.began) == 4)
    assert rounds.most == 1
    assert program_records(caplog) == []


async def test_failing_round_is_logged_and_the_next_one_runs(
    schedule: Schedule, jumps: JumpCounter, caplog: pytest.LogCaptureFixture
) -> None:
    attempts = 0

    async def fail() -> None:
        nonlocal attempts
        attempts += 1
        raise KeyError("an internal error")

    schedule.add("faulty", 0.1, fail)
    schedule.start(jumps)
    await until(lambda: attempts == 3)
    faults = program_records(caplog)
    assert [(fault.getMessage(), fault.levelno) for fault in faults[:2]] == [
        ("a job failed with an internal error", logging.ERROR)
    ] * 2
    assert "an internal error" in caplog.text


async def test_stop_begins_no_further_round_and_logs_no_error_for_an_interrupted_one(
    schedule: Schedule, jumps: JumpCounter, caplog: pytest.LogCaptureFixture
) -> None:
    long, short = Rounds(seconds=60.0), Rounds()
    schedule.add("long", 60.0, long.round)
    schedule.add("short", 0.05, short.round)
    schedule.start(jumps)
    await until(lambda: bool(long.began) and len(short.began) >= 2)
    await schedule.stop()
    await asyncio.sleep(0.01)
    ended = len(short.began)
    await asyncio.sleep(0.2)
    assert len(short.began) == ended
    assert program_records(caplog) == []


@pytest.mark.parametrize("seconds", [-DAY, DAY, -3600.0, 365 * DAY])
async def test_clock_jump_does_not_stall_or_double_rounds(
    schedule: Schedule, jumps: JumpCounter, clock: SettableClock, caplog: pytest.LogCaptureFixture, seconds: float
) -> None:
    rounds = Rounds(seconds=0.02)
    schedule.add("acme", 0.3, rounds.round)
    schedule.start(jumps)
    await until(lambda: len(rounds.began) == 2)
    clock.set_wall_clock(seconds)
    jumped = time.monotonic()
    await until(lambda: rounds.since(jumped) >= 4)
    assert time.monotonic() - jumped >= 0.85
    assert rounds.most == 1
    assert jumps.count == 1
    assert [vars(record)["seconds"] for record in program_records(caplog)] == [pytest.approx(seconds, abs=0.5)]


async def test_failing_jump_callback_is_repeated_and_later_jumps_are_noticed(
    schedule: Schedule, clock: SettableClock, caplog: pytest.LogCaptureFixture
) -> None:
    jumps = JumpCounter()

    async def fail_once() -> None:
        await jumps()
        if jumps.count == 1:
            raise ZeroDivisionError

    schedule.start(fail_once)
    clock.set_wall_clock(DAY)
    await until(lambda: jumps.count == 2)
    clock.set_wall_clock(-DAY)
    await until(lambda: jumps.count == 3)
    (fault,) = [record for record in program_records(caplog) if record.exc_info]
    assert fault.levelno == logging.ERROR


async def test_due_rounds_run_once_directly_after_a_sleep_of_the_machine(
    schedule: Schedule, jumps: JumpCounter, clock: SettableClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "notifier")
    hourly, daily, woken = Rounds(), Rounds(), asyncio.Event()

    async def on_wake(_slept: float) -> None:
        woken.set()

    schedule.add("at once", 60.0, Rounds().round)
    schedule.add("hourly", 3600.0, hourly.round)
    schedule.add("daily", DAY, daily.round)
    schedule.start(jumps, on_wake)
    clock.sleep(60.0)
    await until(lambda: len(hourly.began) == 1 and len(daily.began) == 1 and woken.is_set())
    left = (schedule.next_run_ms("daily") or 0) - clock.now_ms()
    clock.sleep(8 * 3600.0)
    await until(lambda: len(hourly.began) == 2)
    assert left - (schedule.next_run_ms("daily") or 0) + clock.now_ms() == pytest.approx(8 * 3_600_000, abs=5_000)
    await asyncio.sleep(0.3)
    assert (len(hourly.began), len(daily.began)) == (2, 1)
    assert 0 < (schedule.next_run_ms("hourly") or 0) - clock.now_ms() <= 3_600_000
    assert jumps.count == 0
    slept = [vars(record)["seconds"] for record in program_records(caplog)]
    assert slept == [pytest.approx(60.0, abs=0.5), pytest.approx(8 * 3600.0, abs=0.5)]


async def test_clock_set_back_by_one_second_is_not_a_jump(
    schedule: Schedule, jumps: JumpCounter, clock: SettableClock
) -> None:
    rounds = Rounds()
    schedule.add("acme", 0.1, rounds.round)
    schedule.start(jumps)
    await until(lambda: len(rounds.began) == 2)
    clock.set_wall_clock(-1.0)
    await until(lambda: len(rounds.began) == 5, deadline=5.0)
    assert jumps.count == 0


@given(moments, st.none() | st.floats(-400 * DAY, 400 * DAY), intervals)
def test_interval_from_now_returns_a_future_time_within_one_interval(
    now: datetime, ago: float | None, interval: float
) -> None:
    previous = None if ago is None else now - timedelta(seconds=ago)
    following = IntervalFromNow(interval).get_next_fire_time(previous, now)
    assert now < following <= now + timedelta(seconds=interval)


@given(moments, intervals, st.floats(0.0, 0.99))
def test_interval_from_now_is_not_shifted_by_a_late_round(due: datetime, interval: float, late: float) -> None:
    now = due + timedelta(seconds=interval) * late
    assert IntervalFromNow(interval).get_next_fire_time(due, now) == due + timedelta(seconds=interval)


@given(st.integers(1, 200))
def test_first_run_delay_spreads_any_number_of_sources_evenly(count: int) -> None:
    starts = sorted(first_run_delay(index) for index in range(count))
    assert starts[0] == 0.0
    gaps = [later - earlier for earlier, later in pairwise([*starts, 1.0])]
    assert min(gaps) > 0.3 / count
    assert max(gaps) < 2.7 / count


async def test_job_stats_show_runs_and_progress_of_a_job(schedule: Schedule, jumps: JumpCounter) -> None:
    goes_on = asyncio.Event()
    steps = 0

    async def round_of_two_steps() -> None:
        nonlocal steps
        steps += 1
        await goes_on.wait()
        raise KeyError("an internal error")

    schedule.add("acme", 0.1, round_of_two_steps, answer_seconds=7.0, progress=lambda: steps)
    (before,) = schedule.job_stats()
    schedule.start(jumps)
    await until(lambda: schedule.job_stats()[0].is_running)
    (during,) = schedule.job_stats()
    goes_on.set()
    await until(lambda: schedule.job_stats()[0].ended_runs > 1)
    schedule.remove("acme")
    schedule.add("acme", 0.1, round_of_two_steps)
    (renewed,) = schedule.job_stats()

    assert (
        before.interval_seconds,
        before.answer_seconds,
        before.started_runs,
        before.ended_runs,
        before.progress,
    ) == (0.1, 7.0, 0, 0, 0)
    assert (during.started_runs, during.ended_runs, during.progress) == (1, 0, 1)
    assert during.started_at <= time.monotonic()
    assert renewed.number != before.number
    assert renewed.started_runs == 0
