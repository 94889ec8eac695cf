"""The event loop of the simulation: it sets the time instead of waiting, and has the same order in every process."""

import asyncio
import time

import pytest

from tests.simulation.loop import START_SECONDS, DeadlockError, SimulatedClock, SimulatedLoop


def test_loop_passes_an_hour_at_once_and_ends_timers_exactly() -> None:
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


def test_loop_raises_deadlock_error_if_nothing_can_happen() -> None:
    loop = SimulatedLoop()
    with pytest.raises(DeadlockError):
        loop.run_until_complete(loop.create_future())
    loop.close()


def test_run_in_executor_does_the_work_at_once_and_completes_later() -> None:
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


def test_set_of_tasks_iterates_in_order_of_creation() -> None:
    loop = SimulatedLoop()

    async def stay() -> None:
        await asyncio.sleep(1)

    async def make() -> None:
        tasks = [asyncio.create_task(stay()) for _ in range(50)]
        assert [*{*reversed(tasks)}] == tasks
        await asyncio.wait(tasks)

    loop.run_until_complete(make())
    loop.close()


def test_wall_error_changes_the_wall_clock_and_not_the_monotonic_clock() -> None:
    loop = SimulatedLoop()
    clock = SimulatedClock(loop)
    true = clock.now_ms()
    clock.wall_error_seconds = -7200
    assert (clock.now_ms(), clock.monotonic()) == (true - 7_200_000, START_SECONDS)
    loop.close()
