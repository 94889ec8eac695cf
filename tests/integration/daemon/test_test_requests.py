"""`test` is a request like every other: at the destination's rate, and one at a time."""

import asyncio
import time
from typing import TYPE_CHECKING, Any

from tests.support.daemon import World, status_when

if TYPE_CHECKING:
    from notifier.daemon.daemon import Daemon


async def test_samples_keep_the_rate_of_the_destination(world: World, run: Any) -> None:
    daemon: Daemon = await run(world.settings(rate=4))
    began = time.monotonic()
    results = await asyncio.gather(*(daemon.deliveries.test("hr") for _ in range(7)))
    # The requests of one second are sent at once, then one in each quarter of a second.
    assert time.monotonic() - began >= 0.7
    assert [result["result"] for result in results] == ["delivered"] * 7
    assert len(world.received) == 7


async def test_samples_and_deliveries_together_keep_the_rate(world: World, run: Any) -> None:
    daemon: Daemon = await run(world.settings(rate=2))
    await asyncio.gather(*(daemon.deliveries.test("hr") for _ in range(2)))
    began = time.monotonic()
    tests = [asyncio.create_task(daemon.deliveries.test("hr")) for _ in range(2)]
    world.complete()
    await status_when(daemon, "hr", "delivered", 1)
    await asyncio.gather(*tests)
    assert len(world.received) == 5
    assert time.monotonic() - began >= 0.9


async def test_samples_are_sent_one_at_a_time(world: World, run: Any) -> None:
    world.receiver_takes = 0.2
    daemon: Daemon = await run(world.settings())
    began = time.monotonic()
    await asyncio.gather(*(daemon.deliveries.test("hr") for _ in range(5)))
    assert time.monotonic() - began >= 1.0
