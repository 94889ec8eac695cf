"""All destinations side by side, and the wall clock that all of them go by."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from sqlite_utils import Database

from notifier.config.destinations import HttpSettings
from notifier.deliver.dispatcher import Dispatcher, subscription
from notifier.ledger.destinations import HealthState
from tests.deliver.harness import HASTY, Arrival, Receiver, Rig, answering, keys
from tests.real_time import until

HOUR = 3600.0


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path / "notifier.db") as standing:
        yield standing


@pytest.fixture
async def receiver(rig: Rig) -> Receiver:
    return await rig.receiver()


@pytest.fixture
async def dispatcher(rig: Rig, receiver: Receiver) -> AsyncIterator[Dispatcher]:
    """Deliver to one destination, hr."""
    settings = HttpSettings.model_validate({"type": "http", "url": receiver.url, **HASTY})
    delivering = Dispatcher({"hr": settings}, rig.ledger, rig.clock)
    await delivering.start(rig.session)
    yield delivering
    await delivering.stop(0.2)


async def test_a_dead_and_a_hanging_destination_do_not_delay_a_healthy_one(rig: Rig, receiver: Receiver) -> None:
    hanging = await rig.receiver()

    async def hang(_arrival: Arrival, _request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3600)
        raise AssertionError

    hanging.answer = hang
    urls = {"healthy": receiver.url, "hanging": hanging.url, "dead": "http://127.0.0.1:9/"}
    settings = {name: HttpSettings.model_validate({"type": "http", "url": url, **HASTY}) for name, url in urls.items()}
    dispatcher = Dispatcher(settings, rig.ledger, rig.clock)
    await dispatcher.start(rig.session)
    entered: dict[str, float] = {}
    for key in keys(100):
        entered[key] = time.monotonic()
        await rig.enter(key, to=tuple(urls))
        dispatcher.wake()
    await until(lambda: len(receiver.arrivals) == 100)
    latencies = sorted(arrival.at - entered[arrival.subjects[0]] for arrival in receiver.arrivals)
    health = dispatcher.health()
    await dispatcher.stop(0.1)
    assert latencies[50] < 0.1
    assert latencies[-1] < 1.0
    assert health["dead"].state is HealthState.RETRYING
    waiting = await rig.ask("SELECT count(*) FROM deliveries WHERE state = 'pending' GROUP BY destination")
    assert waiting == [(100,), (100,)]


async def test_outcomes_that_could_not_be_written_are_not_late_when_the_clock_was_set_back_meanwhile(
    rig: Rig, receiver: Receiver, dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture
) -> None:
    def read_only(db: Database, *, on: bool) -> None:
        db.execute(f"PRAGMA query_only = {int(on)}")

    released = asyncio.Event()

    async def refuse(_arrival: Arrival, _request: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.Response(status=422)

    receiver.answer = refuse
    await rig.enter("1")
    dispatcher.wake()
    await until(lambda: receiver.active == 1)
    await rig.ledger.run(read_only, on=True)
    released.set()
    await until(lambda: "read-only" in caplog.text)
    receiver.answer = answering(200)
    rig.clock.set_wall_clock(-HOUR)
    await rig.ledger.run(read_only, on=False)
    await dispatcher.follow_clock()
    await rig.settled(deadline=5.0)


async def test_outcomes_that_come_in_while_the_clock_is_followed_are_not_late(
    rig: Rig, receiver: Receiver, dispatcher: Dispatcher
) -> None:
    def be_busy(_db: Database) -> None:
        time.sleep(0.3)

    released = asyncio.Event()

    async def refuse(_arrival: Arrival, _request: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.Response(status=422)

    receiver.answer = refuse
    await rig.enter("1")
    dispatcher.wake()
    await until(lambda: receiver.active == 1)
    rig.clock.set_wall_clock(-HOUR)
    busy = asyncio.create_task(rig.ledger.run(be_busy))
    await asyncio.sleep(0)
    following = asyncio.create_task(dispatcher.follow_clock())
    await asyncio.sleep(0)
    released.set()
    receiver.answer = answering(200)
    await asyncio.gather(busy, following)
    await rig.settled(deadline=5.0)


async def test_a_destinations_filters_become_its_subscription() -> None:
    settings = HttpSettings.model_validate(
        {
            "type": "http",
            "url": "http://127.0.0.1:9/",
            "events": ["completion.created"],
            "sources": ["acme"],
            "training_ids": [1046],
            "user_ids": ["5e58"],
        }
    )
    made = subscription("hr", settings)
    assert made.destination == "hr"
    assert (made.events, made.sources) == (frozenset({"completion.created"}), frozenset({"acme"}))
    assert (made.training_ids, made.user_ids) == (frozenset({"1046"}), frozenset({"5e58"}))
