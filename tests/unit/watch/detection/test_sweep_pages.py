"""Pages of many sweeps: few are in memory, and an API that does not answer delays other sources only briefly."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from notifier.watch.detection.sweep_pages import MAX_PAGES, UNANSWERED_SECONDS, SweepPageLimiter
from tests.support.virtual_time import VirtualTimeLoop

SLOW_ANSWER_SECONDS = 30.0


def run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(work)


def test_sweep_page_limiter_allows_at_most_max_pages() -> None:
    pages, present, most = SweepPageLimiter(), 0, 0

    async def sweep() -> None:
        nonlocal present, most
        async with pages.requesting():
            present += 1
            most = max(most, present)
            await asyncio.sleep(UNANSWERED_SECONDS / 2)
        with pages.writing():
            await asyncio.sleep(2 * UNANSWERED_SECONDS)
            present -= 1

    async def sweep_many() -> None:
        await asyncio.gather(*(sweep() for _ in range(5 * MAX_PAGES)))

    run(sweep_many())
    assert (most, present) == (MAX_PAGES, 0)


def test_sweep_page_limiter_unanswered_requests_delay_others_only_briefly() -> None:
    pages = SweepPageLimiter()

    async def hang() -> None:
        async with pages.requesting():
            await asyncio.sleep(SLOW_ANSWER_SECONDS)

    async def ask_beside_hanging_sources() -> None:
        hanging = [asyncio.create_task(hang()) for _ in range(MAX_PAGES)]
        await asyncio.sleep(0)
        async with pages.requesting():
            assert asyncio.get_running_loop().time() == pytest.approx(UNANSWERED_SECONDS, abs=0.01)
        await asyncio.gather(*hanging)

    run(ask_beside_hanging_sources())


def test_sweep_page_limiter_cancelled_request_gives_its_place_to_the_next() -> None:
    pages = SweepPageLimiter()

    async def ask() -> None:
        async with pages.requesting():
            pass

    async def stop_one_of_two() -> None:
        with pages.writing(), pages.writing(), pages.writing(), pages.writing():
            stopped, other = asyncio.create_task(ask()), asyncio.create_task(ask())
            await asyncio.sleep(0)
            stopped.cancel()
            await asyncio.sleep(0)
            assert not other.done()
        await asyncio.wait_for(other, UNANSWERED_SECONDS / 2)

    run(stop_one_of_two())
