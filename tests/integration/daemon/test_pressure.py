"""A running daemon and receivers that recover, are slow, or are changed: the numbered cases of delivery under pressure
that a test of the whole program shows better than a test of one worker."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from notifier.daemon.configuration import ReloadHooks
from notifier.daemon.daemon import Daemon
from notifier.store.tables.requeue import DropSelection, RetrySelection
from notifier.web.requests import ReplaySelection
from notifier.web.response_models.status import StatusDocument
from tests.support.changing_configuration import Written, dumped
from tests.support.clocks import SettableClock
from tests.support.daemon import World, ready
from tests.support.waiting import DEADLINE, until

HOUR = {"Retry-After": "3600"}


async def status_when(daemon: Daemon, so: Callable[[StatusDocument], bool]) -> StatusDocument:
    """Wait until the status is as wanted, and return it."""
    async with asyncio.timeout(DEADLINE):
        while not so(status := await daemon.operations.status()):
            await asyncio.sleep(0.02)
    return status


async def complete_while_receiver_waits(world: World, daemon: Daemon) -> str:
    """Add a completion that the receiver refuses with a `Retry-After` of one hour; return the record's key."""
    world.receiver_answers, world.receiver_says = 503, HOUR
    key = world.complete()
    status = await status_when(daemon, lambda status: status["destinations"]["hr"]["state"] == "retrying")
    assert status["destinations"]["hr"]["next_attempt"] is not None
    world.receiver_answers, world.receiver_says = 200, {}
    return key


def subjects(world: World) -> list[str]:
    return [event["subject"] for event in world.received if event["subject"] != "sample"]


async def test_09_reload_with_another_url_sends_waiting_events_at_once(world: World, run: Any) -> None:
    written = Written(world.settings())
    daemon = await run(written.settings, None, ReloadHooks(written.read, written.followed.append))
    await ready(daemon)
    key = await complete_while_receiver_waits(world, daemon)
    written.change(
        destinations={"hr": dumped(written.settings)["destinations"]["hr"] | {"url": f"{world.receiver}?new"}}
    )
    assert (await daemon.reload()).ok
    await until(lambda: subjects(world) == [key, key], deadline=5.0)
    status = await status_when(daemon, lambda status: not status["destinations"]["hr"]["pending"])
    assert (status["destinations"]["hr"]["state"], status["destinations"]["hr"]["next_attempt"]) == ("ok", None)


@pytest.mark.parametrize("way", ["test", "enable", "retry", "try"])
async def test_10_operator_actions_end_the_pause_of_a_destination(world: World, run: Any, way: str) -> None:
    daemon = await run()
    await ready(daemon)
    key = await complete_while_receiver_waits(world, daemon)
    match way:
        case "test":
            answer = await daemon.deliveries.test("hr")
        case "enable":
            answer = await daemon.deliveries.set_enabled("hr", enabled=True)
        case "retry":
            answer = await daemon.deliveries.retry(RetrySelection())
            assert (answer["deliveries"], answer["waited"]) == (0, ["hr"])
        case _:
            answer = await daemon.deliveries.try_now("hr")
    assert answer["waited"]
    await until(lambda: subjects(world) == [key, key], deadline=5.0)


async def test_11_backlog_raises_destination_behind_and_names_the_rates(
    world: World, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.daemon.daemon.EVALUATE_EVERY_SECONDS", 0.05)
    monkeypatch.setattr("notifier.alerts.destination_rules.FAILING_FOR_SECONDS", 0.5)
    daemon = await run(world.settings(rate=0.5, concurrency=1))
    await ready(daemon)
    for _ in range(6):
        world.complete()
    status = await status_when(daemon, lambda status: any(status["conditions"]))
    (condition,) = status["conditions"]
    assert condition["condition"] == "destination_behind"
    assert "new events an hour: 6; its `rate` allows 1,800 requests an hour" in condition["summary"]
    assert status["destinations"]["hr"]["state"] == "ok"


async def test_13_replay_to_a_disabled_destination_does_not_block_other_replays(
    world: World, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.delivery.replay.MAX_WAITING", 2)
    monkeypatch.setattr("notifier.daemon.api.replays.MAX_WAITING", 2)
    settings = world.settings()
    hr = settings.destinations["hr"]
    both = settings.model_copy(update={"destinations": {"hr": hr, "old": hr}})
    daemon = await run(both)
    await ready(daemon)
    for _ in range(4):
        world.complete()
    await status_when(daemon, lambda status: status["destinations"]["old"]["delivered"] == 4)
    await daemon.deliveries.set_enabled("old", enabled=False)
    first = await daemon.deliveries.replay(ReplaySelection(0))
    assert first.ok

    async def progress() -> dict[str, Any]:
        told = await daemon.deliveries.replay_progress()
        return {name: (part["state"], part["waits"]) for name, part in told["destinations"].items()}

    waits = ("running", "`old` is disabled; `notifier enable old` enables it")
    async with asyncio.timeout(20):
        while await progress() != {"hr": ("done", None), "old": waits}:
            await asyncio.sleep(0.05)
    second = await daemon.deliveries.replay(ReplaySelection(0, destination="hr"))
    assert second.ok
    third = await daemon.deliveries.replay(ReplaySelection(0, destination="old"))
    assert not third.ok
    assert "`old` is under way already" in third.body["message"]
    await daemon.deliveries.set_enabled("old", enabled=True)
    async with asyncio.timeout(20):
        while (await daemon.deliveries.replay_progress())["previous"]["state"] != "done":
            await asyncio.sleep(0.05)


async def test_15_changed_destination_is_draining_until_its_requests_end(world: World, run: Any) -> None:
    written = Written(world.settings())
    daemon = await run(written.settings, None, ReloadHooks(written.read, written.followed.append))
    await ready(daemon)
    world.receiver_takes = 1.5
    world.complete()
    await until(lambda: bool(world.received))
    written.change(destinations={"hr": dumped(written.settings)["destinations"]["hr"] | {"timeout": "20s"}})
    reloading = asyncio.create_task(daemon.reload())
    status = await status_when(daemon, lambda status: status["destinations"]["hr"]["state"] == "draining")
    assert status["destinations"]["hr"]["pending"] == 1
    parked = asyncio.create_task(daemon.deliveries.set_enabled("hr", enabled=False))
    assert (await reloading).ok
    assert (await parked)["state"] == "disabled"
    assert (await daemon.operations.status())["destinations"]["hr"]["delivered"] == 1


async def test_20_reloads_do_not_raise_the_request_rate(world: World, run: Any) -> None:
    written = Written(world.settings(rate=1.0, concurrency=1))
    daemon = await run(written.settings, None, ReloadHooks(written.read, written.followed.append))
    await ready(daemon)
    for _ in range(10):
        world.complete()
    began = asyncio.get_running_loop().time()
    await until(lambda: bool(world.received))
    for number in range(8):
        hr = dumped(written.settings)["destinations"]["hr"] | {"timeout": f"{20 + number}s"}
        written.change(destinations={"hr": hr})
        assert (await daemon.reload()).ok
    passed = asyncio.get_running_loop().time() - began
    assert len(world.received) <= 2 + passed


async def test_21_reload_counts_unmatched_deliveries_and_drop_removes_them(world: World, run: Any) -> None:
    written = Written(world.settings())
    daemon = await run(written.settings, None, ReloadHooks(written.read, written.followed.append))
    await ready(daemon)
    await daemon.deliveries.set_enabled("hr", enabled=False)
    for _ in range(2):
        world.complete()
    await status_when(daemon, lambda status: status["destinations"]["hr"]["pending"] == 2)
    hr = dumped(written.settings)["destinations"]["hr"]
    written.change(destinations={"hr": hr | {"user_ids": ["somebody-else"]}})
    answer = await daemon.reload()
    assert answer.body["unmatched"] == {"hr": 2}
    wish = DropSelection(destination="hr", unmatched=True)
    assert (await daemon.deliveries.drop(wish, dry_run=True))["destinations"] == {"hr": 2}
    assert (await daemon.deliveries.drop(wish, dry_run=False))["destinations"] == {"hr": 2}
    await daemon.deliveries.set_enabled("hr", enabled=True)
    assert (await daemon.operations.status())["destinations"]["hr"]["pending"] == 0
    assert world.received == []


async def test_22_clock_a_day_ahead_raises_clock_off_until_it_is_set_back(
    world: World, run: Any, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.daemon.daemon.EVALUATE_EVERY_SECONDS", 0.05)
    clock.set_wall_clock(86_400)
    daemon = await run(world.settings(), clock)
    await ready(daemon)
    world.complete()
    status = await status_when(
        daemon, lambda status: "clock_off" in {condition["condition"] for condition in status["conditions"]}
    )
    (condition,) = [it for it in status["conditions"] if it["condition"] == "clock_off"]
    assert condition["subject"] == "clock"
    assert "this machine's clock is 24 hours ahead of" in condition["summary"]
    clock.set_wall_clock(-86_400)
    await status_when(
        daemon, lambda status: "clock_off" not in {condition["condition"] for condition in status["conditions"]}
    )
