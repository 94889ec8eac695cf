"""The event loop of the simulation: it sets the time instead of waiting, and has the same order in every process."""

import asyncio
import time

import pytest

from tests.simulation.loop import START_SECONDS, DeadlockError, SimulatedClock, SimulatedLoop


def test_an_hour_passes_at_once_and_to_the_timer_exactly() -> None:
    loop = SimulatedLoop()
    begun = time.monotonic()
    moments: list[float] = []

    async def wait() -> None:
        for seconds in (0.1, 0.2, 3600.3):
            await asyncio.sleep(seconds)
            moments.append(loop.time())

    loop.run_until_complete(wait())
    loop.close()
    first = START_SECONDS + 0.1
    second = first + 0.2
    assert moments == [first, second, second + 3600.3]
    assert time.monotonic() - begun < 5


def test_who_waits_for_what_never_comes_is_a_deadlock() -> None:
    loop = SimulatedLoop()
    with pytest.raises(DeadlockError):
        loop.run_until_complete(loop.create_future())
    loop.close()


def test_work_for_a_thread_is_done_at_once_and_known_to_be_done_later() -> None:
    loop = SimulatedLoop(delay=lambda: 0.5)

    def fail() -> None:
        raise ValueError("no")

    async def work() -> float:
        done: list[str] = []
        future = loop.run_in_executor(None, done.append, "this")
        assert done == ["this"]
        await future
        with pytest.raises(ValueError, match="no"):
            await loop.run_in_executor(None, fail)
        return loop.seconds

    assert loop.run_until_complete(work()) == 1.0
    loop.close()


def test_sets_of_tasks_are_walked_in_the_order_in_which_they_were_made() -> None:
    loop = SimulatedLoop()

    async def stay() -> None:
        await asyncio.sleep(1)

    async def make() -> None:
        tasks = [asyncio.create_task(stay()) for _ in range(50)]
        assert [*{*reversed(tasks)}] == tasks
        await asyncio.wait(tasks)

    loop.run_until_complete(make())
    loop.close()


def test_the_wall_clock_may_be_wrong_and_the_steady_one_is_not() -> None:
    loop = SimulatedLoop()
    clock = SimulatedClock(loop)
    true = clock.now_ms()
    clock.wall_error_seconds = -7200
    assert (clock.now_ms(), clock.monotonic()) == (true - 7_200_000, START_SECONDS)
    loop.close()
