"""A machine that sleeps: work that became due meanwhile is done once, soon afterwards, and pauses have ended."""

from typing import Any

import pytest
from pydantic import SecretStr

from tests.support.clocks import SettableClock
from tests.support.daemon import World, ready, status_when
from tests.support.waiting import until

HOUR = 3_600.0


async def test_poll_due_during_a_sleep_is_made_soon_afterwards(world: World, run: Any, clock: SettableClock) -> None:
    settings = world.settings()
    source = settings.sources["acme-1"].model_copy(update={"poll_interval": 6 * HOUR})
    daemon = await run(settings.model_copy(update={"sources": {"acme-1": source}}), clock)
    await ready(daemon)
    key = world.complete()
    clock.sleep(8 * HOUR)
    await until(lambda: [event["subject"] for event in world.received] == [key])
    status = await daemon.operations.status()
    assert status["sources"]["acme-1"]["state"] == "ok"


async def test_retry_after_ends_during_a_sleep_and_each_event_is_sent_once(
    world: World, run: Any, clock: SettableClock
) -> None:
    world.receiver_answers, world.receiver_says = 503, {"Retry-After": str(2 * 3600)}
    daemon = await run(world.settings(retry_first="2h", retry_max="6h"), clock)
    await ready(daemon)
    keys = {world.complete() for _ in range(3)}
    await status_when(daemon, "hr", "state", "retrying")
    await status_when(daemon, "hr", "pending", 3)
    world.receiver_answers, world.receiver_says = 200, {}
    asked = len(world.received)
    clock.sleep(8 * HOUR)
    await status_when(daemon, "hr", "delivered", 3)
    assert sorted(event["subject"] for event in world.received[asked:]) == sorted(keys)
    await status_when(daemon, "hr", "state", "ok")


async def test_rate_limit_pause_ends_during_a_sleep(world: World, run: Any, clock: SettableClock) -> None:
    settings = world.settings()
    source = settings.sources["acme-1"].model_copy(update={"rate_limit_pause": 4 * HOUR})
    daemon = await run(settings.model_copy(update={"sources": {"acme-1": source}}), clock)
    await ready(daemon)
    world.api_limits = True
    await until(lambda: daemon._sources.watcher("acme-1").silence_seconds() > HOUR)
    world.api_limits = False
    key = world.complete()
    clock.sleep(5 * HOUR)
    await until(lambda: [event["subject"] for event in world.received] == [key])


async def test_sleep_with_unreachable_peers_raises_no_condition_but_clock_off(
    world: World, run: Any, clock: SettableClock
) -> None:
    settings = world.settings()
    alerts = settings.alerts.model_copy(update={"heartbeat_url": SecretStr("http://127.0.0.1:9/")})
    daemon = await run(settings.model_copy(update={"alerts": alerts}), clock)
    await ready(daemon)
    await until(lambda: daemon._heartbeat.problem is not None)
    world.receiver_answers = 503
    world.complete()
    await status_when(daemon, "hr", "state", "retrying")
    world.api_answers = 503
    await until(lambda: daemon.operations.unready() != {})
    clock.sleep(12 * HOUR)
    await daemon._evaluate_conditions()
    # The API and the receiver of the test have not slept, so the daemon's clock differs from theirs.
    conditions = [it["condition"] for it in (await daemon.operations.status())["conditions"]]
    assert conditions in ([], ["clock_off"])


@pytest.mark.parametrize("noticed_first", [True, False], ids=["noticed first", "an attempt ends first"])
async def test_time_slept_does_not_count_towards_give_up_after(
    world: World, run: Any, clock: SettableClock, *, noticed_first: bool
) -> None:
    world.receiver_answers = 400
    daemon = await run(world.settings(give_up_after="2h"), clock)
    await ready(daemon)
    key = world.complete()
    await until(lambda: len(world.received) >= 2)
    clock.sleep(12 * HOUR)
    if noticed_first:
        await daemon._evaluate_conditions()
    tried = len(world.received)
    await until(lambda: len(world.received) >= tried + 3)
    assert (await daemon.operations.status())["destinations"]["hr"]["dead"] == 0
    world.receiver_answers = 200
    await status_when(daemon, "hr", "delivered", 1)
    assert {event["subject"] for event in world.received} == {key}
