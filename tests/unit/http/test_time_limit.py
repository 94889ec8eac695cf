"""One time limit and one timer for parts of many tasks."""

import asyncio
from collections.abc import Callable

import pytest

from notifier.http.time_limit import TimeLimit

SECONDS = 30.0


class StoppedClock:
    """The event loop's time, which moves only when a test moves it; due timers run then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, Callable[[], object]]] = []
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "time", lambda: self.now)
        monkeypatch.setattr(loop, "call_at", self._call_at)

    def _call_at(self, at: float, call: Callable[[], object]) -> object:
        self.timers.append((at, call))
        return call

    async def move_to(self, now: float) -> None:
        self.now = now
        due = [timer for timer in self.timers if timer[0] <= now]
        self.timers = [timer for timer in self.timers if timer[0] > now]
        for _, call in due:
            call()
        # The turns of the loop in which a part expires, is cancelled, and ends.
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> StoppedClock:
    return StoppedClock(monkeypatch)


async def _wait_for(limit: TimeLimit, event: asyncio.Event) -> str:
    try:
        async with asyncio.timeout(None) as part:
            limit.begin(part)
            try:
                await event.wait()
            finally:
                limit.end(part)
    except TimeoutError:
        return "late"
    return "in time"


async def _begin(limit: TimeLimit) -> tuple[asyncio.Task[str], asyncio.Event]:
    event = asyncio.Event()
    task = asyncio.create_task(_wait_for(limit, event))
    await asyncio.sleep(0)
    return task, event


async def test_time_limit_gives_each_part_the_whole_limit_with_one_timer(clock: StoppedClock) -> None:
    limit = TimeLimit(SECONDS)
    first, _ = await _begin(limit)
    await clock.move_to(1010.0)
    second, _ = await _begin(limit)
    assert len(clock.timers) == 1
    await clock.move_to(1029.9)
    assert not first.done()
    await clock.move_to(1030.0)
    assert first.result() == "late"
    await clock.move_to(1039.9)
    assert not second.done()
    await clock.move_to(1040.0)
    assert second.result() == "late"
    assert clock.timers == []


async def test_time_limit_ignores_an_ended_part_and_stops_a_later_one(clock: StoppedClock) -> None:
    limit = TimeLimit(SECONDS)
    ended, event = await _begin(limit)
    event.set()
    assert await ended == "in time"
    await clock.move_to(1010.0)
    later, _ = await _begin(limit)
    await clock.move_to(1030.0)
    assert not later.done()
    await clock.move_to(1040.0)
    assert later.result() == "late"


async def test_time_limit_leaves_a_cancelled_part_cancelled(clock: StoppedClock) -> None:
    limit = TimeLimit(SECONDS)
    task, _ = await _begin(limit)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await clock.move_to(1030.0)
    assert clock.timers == []
