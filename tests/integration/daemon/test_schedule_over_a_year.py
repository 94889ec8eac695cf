"""A simulated year of rounds on the real scheduler, with jumps of the wall clock, changes of time, and sleep."""

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from notifier.daemon.scheduler import Schedule
from tests.support.virtual_time import VirtualTimeLoop

DAY = 86_400.0
YEAR = 365 * DAY
NEW_YEAR_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z"""

INTERVAL = 1200.0
LOOK = 120.0
"""Seconds between two checks of the clocks. (A year of checks every five seconds would take much longer.)"""


@pytest.fixture(autouse=True)
def infrequent_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.daemon.scheduler.CLOCK_CHECK_SECONDS", LOOK)


@dataclass
class MachineClock:
    """A machine's clocks: the loop's timers, the sleep, which they do not count, and a wall clock that can be set."""

    slept: float = 0.0
    set_by_ms: int = 0

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.slept

    def now_ms(self) -> int:
        return NEW_YEAR_MS + round(self.monotonic() * 1000) + self.set_by_ms


@dataclass
class Rounds:
    """Records when rounds begin, in seconds of the machine's monotonic clock."""

    clock: MachineClock
    takes: float = 2.0
    began: list[float] = field(default_factory=list)
    running: int = 0
    most: int = 0

    async def round(self) -> None:
        self.began.append(self.clock.monotonic())
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(self.takes)
        self.running -= 1


@dataclass(frozen=True)
class Sleep:
    """A sleep of the machine: its begin and end, in seconds of the monotonic clock."""

    begin: float
    end: float


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set a time zone with daylight saving time."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def odd_gaps(sleeps: list[Sleep], began: list[float], interval: float) -> list[tuple[float, float]]:
    """Return the pairs of consecutive rounds that are not one interval apart, or further apart than a sleep explains.

    A round that a sleep has delayed begins when the sleep is noticed, and the next one when it would have begun anyway.
    """
    odd = []
    for earlier, later in pairwise(began):
        slept = sum(it.end - it.begin for it in sleeps if it.begin < later and it.end > earlier - interval)
        gap = later - earlier
        least, most = (1e-3, interval + slept + LOOK) if slept else (interval - 0.01, interval + 0.01)
        if not least <= gap <= most:
            odd.append((earlier, later))
    return odd


async def year(clock: MachineClock, schedule: Schedule, luck: random.Random) -> list[Sleep]:
    """Let a year pass, in which the wall clock jumps and the machine sleeps at random moments; return the sleeps."""
    jumps: list[int] = []

    async def on_jump() -> None:
        jumps.append(1)

    schedule.start(on_jump)
    sleeps = []
    leaps = 0
    while clock.monotonic() < YEAR:
        await asyncio.sleep(luck.uniform(0.1, 7.0) * DAY)
        match luck.randrange(3):
            case 0:
                clock.set_by_ms += round(luck.choice([-1, 1]) * luck.choice([3.0, 3600.0, DAY, 400 * DAY]) * 1000)
                leaps += 1
            case 1:
                begin = clock.monotonic()
                clock.slept += luck.choice([10.0, INTERVAL, 8 * 3600.0, 3 * DAY])
                sleeps.append(Sleep(begin, clock.monotonic()))
            case _:
                pass
    await asyncio.sleep(60.0)
    await schedule.stop()
    assert len(jumps) == leaps
    return sleeps


@pytest.mark.usefixtures("berlin")
def test_schedule_over_a_year_misses_and_doubles_no_round() -> None:
    loop = VirtualTimeLoop()
    clock = MachineClock()
    acme, slow = Rounds(clock), Rounds(clock, takes=600.0)

    async def live() -> list[Sleep]:
        schedule = Schedule(clock)
        schedule.add("acme", INTERVAL, acme.round)
        schedule.add("slow", 6 * 3600.0, slow.round)
        return await year(clock, schedule, random.Random(1))

    try:
        sleeps = loop.run_until_complete(live())
    finally:
        loop.close()
    assert len(sleeps) > 10
    for rounds, interval in ((acme, INTERVAL), (slow, 6 * 3600.0)):
        assert rounds.most == 1
        assert odd_gaps(sleeps, rounds.began, interval) == []
    awake = loop.time() + clock.slept - sum(sleep.end - sleep.begin for sleep in sleeps)
    # Each sleep costs at most a part of an interval, and causes one round at its end.
    assert abs(len(acme.began) - awake / INTERVAL) <= 2 * len(sleeps) + 1


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize("change", ["2026-03-29", "2026-10-25"])
def test_schedule_keeps_its_interval_when_daylight_saving_time_changes(change: str) -> None:
    noon = datetime.fromisoformat(f"{change}T00:00").replace(tzinfo=ZoneInfo("Europe/Berlin"))
    loop = VirtualTimeLoop()
    clock = MachineClock(set_by_ms=round(noon.astimezone(UTC).timestamp() * 1000) - NEW_YEAR_MS)
    rounds = Rounds(clock)

    async def live() -> None:
        async def on_jump() -> None:
            raise AssertionError("no clock has jumped")

        schedule = Schedule(clock)
        schedule.add("acme", 60.0, rounds.round)
        schedule.start(on_jump)
        await asyncio.sleep(6 * 3600.0 - 1.0)
        await schedule.stop()

    try:
        loop.run_until_complete(live())
    finally:
        loop.close()
    assert len(rounds.began) == 360
    assert {round(later - earlier, 3) for earlier, later in pairwise(rounds.began)} == {60.0}
