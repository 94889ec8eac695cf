"""The dispatcher: all destinations side by side, and changes of the wall clock that they share."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from aiohttp import web

from notifier.config.webhooks import HttpSettings
from notifier.delivery.dispatcher import Dispatcher
from notifier.delivery.subscriptions import subscription_of
from notifier.store.database import Database
from notifier.store.tables.destinations import HealthState
from tests.support.waiting import until
from tests.support.workers import SHORT_WAITS, Arrival, Receiver, Rig, answering, keys, refusing

HOUR = 3600.0


@pytest.fixture
async def dispatcher(rig: Rig, receiver: Receiver) -> AsyncIterator[Dispatcher]:
    """Deliver to one destination, hr."""
    settings = HttpSettings.model_validate({"type": "http", "url": receiver.url, **SHORT_WAITS})
    delivering = Dispatcher({"hr": settings}, rig.store, rig.clock)
    await delivering.start(rig.session)
    yield delivering
    await delivering.stop(0.2)


async def test_hand_over_sends_new_events_without_reading_them_from_the_store(
    rig: Rig, receiver: Receiver, dispatcher: Dispatcher
) -> None:
    for key in keys(3):
        await wait_until_all_read(dispatcher)
        written = await rig.enter(key)
        dispatcher.hand_over(written.events, written.deliveries)
        await rig.settled()
    assert receiver.subjects == keys(3)


async def test_hand_over_claims_no_event_while_an_earlier_stored_one_is_unread(
    rig: Rig, receiver: Receiver, dispatcher: Dispatcher
) -> None:
    await wait_until_all_read(dispatcher)
    await rig.enter("1")
    later = await rig.enter("2")
    dispatcher.hand_over(later.events, later.deliveries)
    assert not dispatcher._workers["hr"]._queue.claimed
    dispatcher.wake()
    await rig.settled()
    assert sorted(receiver.subjects) == ["1", "2"]


async def test_hand_over_during_a_retry_wait_leaves_new_events_to_the_next_read(
    rig: Rig, receiver: Receiver, dispatcher: Dispatcher
) -> None:
    receiver.answer = refusing(422, "1")
    await rig.enter("1")
    dispatcher.wake()
    worker = dispatcher._workers["hr"]
    await until(lambda: bool(receiver.arrivals) and not worker._queue.claimed)
    await until(lambda: not worker._reader.may_have_more and not worker._reader.is_reading)
    written = await rig.enter("2")
    worker.hand_over(written.deliveries)
    assert not worker._queue.claimed
    dispatcher.wake()
    await until(lambda: "2" in receiver.subjects)


async def test_hand_over_to_a_disabled_destination_claims_no_events(rig: Rig, dispatcher: Dispatcher) -> None:
    await wait_until_all_read(dispatcher)
    await dispatcher.set_enabled("hr", enabled=False)
    written = await rig.enter("1")
    dispatcher.hand_over(written.events, written.deliveries)
    assert not dispatcher._workers["hr"]._queue.claimed


async def wait_until_all_read(dispatcher: Dispatcher) -> None:
    """Wait until the worker has read all waiting deliveries."""
    await until(lambda: dispatcher._workers["hr"]._reader.has_read_all)


async def test_dead_and_hanging_destinations_do_not_delay_a_healthy_one(rig: Rig, receiver: Receiver) -> None:
    hanging = await rig.receiver()

    async def hang(_arrival: Arrival, _request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3600)
        raise AssertionError

    hanging.answer = hang
    urls = {"healthy": receiver.url, "hanging": hanging.url, "dead": "http://127.0.0.1:9/"}
    settings = {
        name: HttpSettings.model_validate({"type": "http", "url": url, **SHORT_WAITS}) for name, url in urls.items()
    }
    dispatcher = Dispatcher(settings, rig.store, rig.clock)
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
    # The median: the slowest ones only show how busy the machine was.
    assert latencies[50] < 0.1
    assert health["dead"].state is HealthState.RETRYING
    waiting = await rig.ask("SELECT count(*) FROM deliveries WHERE state = 'pending' GROUP BY destination")
    assert waiting == [(100,), (100,)]


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from an event's entry to its arrival: the median, and what 95 of 100 take at most."""

    median: float
    percentile_95: float

    def is_like(self, other: "Latency") -> bool:
        """Return whether it is not longer than another latency, apart from what a busy machine adds."""
        return self.median <= 1.5 * other.median + 0.02 and self.percentile_95 <= 1.5 * other.percentile_95 + 0.02


async def measure_latency(receiver: Receiver, rig: Rig, urls: dict[str, str], begin: int) -> Latency:
    """Deliver a hundred events to all of `urls`, with the default settings, and measure at `receiver`."""
    settings = {name: HttpSettings.model_validate({"type": "http", "url": url}) for name, url in urls.items()}
    dispatcher = Dispatcher(settings, rig.store, rig.clock)
    await dispatcher.start(rig.session)
    entered: dict[str, float] = {}
    for key in keys(100, begin):
        entered[key] = time.monotonic()
        await rig.enter(key, to=tuple(urls))
        dispatcher.wake()
        await asyncio.sleep(0.005)
    await until(lambda: set(entered) <= set(receiver.subjects))
    await dispatcher.stop(0.1)
    found = [arrival for arrival in receiver.arrivals if arrival.subjects[0] in entered]
    took = sorted(arrival.at - entered[arrival.subjects[0]] for arrival in found)
    return Latency(took[50], took[95])


async def test_healthy_destination_keeps_its_latency_beside_failing_ones(rig: Rig, receiver: Receiver) -> None:
    poisoned = await rig.receiver()
    tries = 3
    for number in range(tries):
        begin = 1 + 1000 * number
        poisoned.answer = refusing(500, str(begin + 110))
        alone = await measure_latency(receiver, rig, {"healthy": receiver.url}, begin)
        urls = {"healthy": receiver.url, "dead": "http://127.0.0.1:9/", "poisoned": poisoned.url}
        beside = await measure_latency(receiver, rig, urls, begin + 100)
        if beside.is_like(alone):
            break
    assert beside.is_like(alone), (alone, beside)
    assert str(begin + 110) in poisoned.subjects


async def test_retry_of_an_unwritten_outcome_is_not_delayed_by_a_clock_set_back(
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
    await rig.store.run(read_only, on=True)
    released.set()
    await until(lambda: "read-only" in caplog.text)
    receiver.answer = answering(200)
    rig.clock.set_wall_clock(-HOUR)
    await rig.store.run(read_only, on=False)
    await dispatcher.follow_clock()
    await rig.settled(deadline=5.0)


async def test_retry_after_an_outcome_during_follow_clock_is_not_delayed(
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
    busy = asyncio.create_task(rig.store.run(be_busy))
    await asyncio.sleep(0)
    following = asyncio.create_task(dispatcher.follow_clock())
    await asyncio.sleep(0)
    released.set()
    receiver.answer = answering(200)
    await asyncio.gather(busy, following)
    await rig.settled(deadline=5.0)


async def test_apply_settings_during_follow_clock_completes_both(
    rig: Rig, receiver: Receiver, dispatcher: Dispatcher
) -> None:
    added = HttpSettings.model_validate({"type": "http", "url": receiver.url, **SHORT_WAITS})
    settings = {**dispatcher._settings, "added": added}
    rig.clock.set_wall_clock(-HOUR)
    async with dispatcher._workers["hr"].write_lock:
        following = asyncio.create_task(dispatcher.follow_clock())
        await asyncio.sleep(0)
        reload = asyncio.create_task(dispatcher.apply_settings(settings, rig.session, changed=["added"]))
        await asyncio.sleep(0.2)
    await asyncio.gather(following, reload)
    assert not dispatcher._jump_free_clock.has_jumped
    assert dispatcher.health().keys() == {"hr", "added"}


async def test_subscription_of_contains_the_filters_of_the_destination() -> None:
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
    made = subscription_of("hr", settings)
    assert made.destination == "hr"
    assert (made.events, made.sources) == (frozenset({"completion.created"}), frozenset({"acme"}))
    assert (made.training_ids, made.user_ids) == (frozenset({"1046"}), frozenset({"5e58"}))
