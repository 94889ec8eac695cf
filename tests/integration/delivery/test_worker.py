"""A worker in normal operation: a real state file, real receivers, and every event delivered once."""

import asyncio
import time
from itertools import pairwise
from pathlib import Path

import pytest
from aiohttp import web

from notifier.delivery import outcome_writer
from notifier.store.database import Database
from notifier.store.tables.destinations import HealthState
from tests.support.waiting import until
from tests.support.workers import Answer, Arrival, Receiver, Rig, answering, keys


def answer_slowly(seconds: float, at_once: int = 0) -> Answer:
    """Answer after `seconds`, but the first `at_once` requests at once: each of them raises the concurrency by one."""
    first = iter(range(at_once))

    async def answer(_arrival: Arrival, _request: web.Request) -> web.StreamResponse:
        if next(first, None) is None:
            await asyncio.sleep(seconds)
        return web.Response()

    return answer


async def test_worker_delivers_every_pending_event_once(rig: Rig, receiver: Receiver) -> None:
    await rig.enter(*keys(1200))
    async with rig.running(rig.http(receiver.url)):
        await rig.settled()
    assert sorted(receiver.subjects, key=int) == keys(1200)
    assert await rig.ask("SELECT delivered FROM destinations") == [(1200,)]
    assert await rig.ask("SELECT count(*), min(attempts), max(attempts) FROM deliveries") == [(1200, 1, 1)]


async def test_outcome_writer_writes_at_once_when_no_more_outcomes_are_expected(
    rig: Rig, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcome_writer, "COLLECT_SECONDS", 600.0)
    await rig.enter(*keys(20))
    async with rig.running(rig.http(receiver.url)):
        await rig.settled()
    assert sorted(receiver.subjects, key=int) == keys(20)


async def test_worker_reads_the_next_deliveries_while_requests_are_under_way(rig: Rig, receiver: Receiver) -> None:
    receiver.answer = answer_slowly(600.0, at_once=7)
    await rig.enter(*keys(2500))
    async with rig.running(rig.http(receiver.url, batch_size=100, concurrency=8, timeout="60s")) as worker:
        await until(lambda: receiver.active == 8 and len(worker._queue.ready) >= 800)


async def test_worker_delivers_events_entered_meanwhile_when_it_is_woken(rig: Rig, receiver: Receiver) -> None:
    async with rig.running(rig.http(receiver.url)) as worker:
        for number in range(1, 40):
            await rig.enter(str(number))
            worker.wake()
        await rig.settled()
    assert sorted(receiver.subjects, key=int) == keys(39)


async def test_worker_with_concurrency_one_keeps_the_order(rig: Rig, receiver: Receiver) -> None:
    await rig.enter(*keys(60))
    async with rig.running(rig.http(receiver.url, concurrency=1)) as worker:
        await rig.enter(*keys(60, begin=61))
        worker.wake()
        await rig.settled()
    assert receiver.subjects == keys(120)
    assert {arrival.active for arrival in receiver.arrivals} == {1}


async def test_worker_reaches_but_never_exceeds_the_concurrency(rig: Rig, receiver: Receiver) -> None:
    receiver.answer = answer_slowly(0.02)
    await rig.enter(*keys(30))
    async with rig.running(rig.http(receiver.url, concurrency=4)):
        await rig.settled()
    assert max(arrival.active for arrival in receiver.arrivals) == 4


async def test_worker_sends_full_batches_and_the_rest_after_batch_wait(rig: Rig, receiver: Receiver) -> None:
    detected_at = time.monotonic()
    await rig.enter(*keys(25))
    async with rig.running(rig.http(receiver.url, batch_size=10, batch_wait="300ms")):
        await rig.settled()
    assert [len(arrival.ids) for arrival in receiver.arrivals] == [10, 10, 5]
    assert sorted(receiver.subjects, key=int) == keys(25)
    assert receiver.arrivals[2].at - detected_at >= 0.29


async def test_slack_gets_at_most_one_message_a_second_and_bursts_as_digests(rig: Rig, receiver: Receiver) -> None:
    async with rig.running(rig.slack(receiver.url)) as worker:
        began = time.monotonic()
        for page in range(5):
            await rig.enter(*keys(100, begin=1 + 100 * page))
            worker.wake()
        await rig.settled()
    assert len(receiver.arrivals) <= 3
    # No request may begin before its second. On a busy machine the first may take longer than the next.
    assert all(arrival.at - began >= 0.995 * number for number, arrival in enumerate(receiver.arrivals))
    assert all(later.at - earlier.at >= 0.9 for earlier, later in pairwise(receiver.arrivals))


async def test_worker_reads_templates_before_any_event_is_due(rig: Rig, receiver: Receiver, tmp_path: Path) -> None:
    template = tmp_path / "completed.j2"
    template.write_text("{{ key }} is new")
    async with rig.running(rig.slack(receiver.url, templates=str(tmp_path))) as worker:
        template.unlink()
        await rig.enter("1238")
        worker.wake()
        await rig.settled()
    assert [arrival.body["text"] for arrival in receiver.arrivals] == ["1238 is new"]


async def test_slack_message_holds_up_to_ten_events(rig: Rig, receiver: Receiver) -> None:
    await rig.enter(*keys(25))
    async with rig.running(rig.slack(receiver.url, rate=20)):
        await rig.settled()
    assert len(receiver.arrivals) == 3


async def test_new_worker_continues_where_the_previous_one_stopped(rig: Rig, receiver: Receiver) -> None:
    receiver.answer = answer_slowly(0.02)
    await rig.enter(*keys(100))
    for begun in (20, 60, 100):
        async with rig.running(rig.http(receiver.url)):
            await until(lambda begun=begun: len(receiver.arrivals) >= begun)  # type: ignore[misc]
    assert sorted(receiver.subjects, key=int) == keys(100)
    assert await rig.states() == {"delivered": 100}


# Stopping


async def test_stop_lets_slow_requests_finish_within_the_grace_period(rig: Rig, receiver: Receiver) -> None:
    receiver.answer = answer_slowly(0.4, at_once=4)
    await rig.enter(*keys(50))
    worker = rig.http(receiver.url, concurrency=5)
    await worker.start()
    await until(lambda: receiver.active == 5)
    await worker.stop(5.0)
    assert await rig.states() == {"delivered": 9, "pending": 41}
    assert len(receiver.arrivals) == 9


async def test_stop_cancels_hanging_requests_and_the_next_run_sends_them_with_the_same_id(
    rig: Rig, receiver: Receiver
) -> None:
    receiver.answer = answer_slowly(60, at_once=2)
    await rig.enter(*keys(20))
    worker = rig.http(receiver.url, concurrency=3)
    await worker.start()
    await until(lambda: receiver.active == 3)
    began = time.monotonic()
    await worker.stop(0.3)
    assert time.monotonic() - began < 10
    assert await rig.ask("SELECT count(*), sum(attempts) FROM deliveries WHERE state = 'pending'") == [(18, 0)]
    cut_off = receiver.ids[2:]
    receiver.answer = answering(200)
    async with rig.running(rig.http(receiver.url, concurrency=1)):
        await rig.settled()
    assert receiver.ids[5:8] == cut_off
    assert len(set(receiver.ids)) == 20


async def test_stop_writes_all_outcomes_although_the_store_is_busy(rig: Rig, receiver: Receiver) -> None:
    def be_busy(_db: Database) -> None:
        time.sleep(0.3)

    receiver.answer = answer_slowly(0.1, at_once=7)
    await rig.enter(*keys(15))
    worker = rig.http(receiver.url)
    await worker.start()
    await until(lambda: receiver.active == 8)
    busy = asyncio.create_task(rig.store.run(be_busy))
    await until(lambda: receiver.active == 0)
    await worker.stop(1.0)
    await busy
    assert await rig.states() == {"delivered": 15}


# Disabling


async def test_disabled_destination_keeps_its_events_across_a_restart_until_enabled(
    rig: Rig, receiver: Receiver
) -> None:
    async with rig.running(rig.http(receiver.url)) as worker:
        await worker.set_enabled(enabled=False)
        await rig.enter(*keys(10))
        worker.wake()
    async with rig.running(rig.http(receiver.url)) as worker:
        worker.wake()
        worker.try_at_once()
        await asyncio.sleep(0.1)
        assert worker.health.state is HealthState.DISABLED
        assert (worker.health.reason, receiver.arrivals) == ("operator", [])
        assert await rig.states() == {"pending": 10}
        await worker.set_enabled(enabled=True)
        await rig.settled()
    assert sorted(receiver.subjects, key=int) == keys(10)


async def test_outcome_during_set_enabled_does_not_undo_the_disabling(rig: Rig, receiver: Receiver) -> None:
    def be_busy(_db: Database) -> None:
        time.sleep(0.3)

    released = asyncio.Event()

    async def answer(_arrival: Arrival, _request: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.Response(status=500)

    receiver.answer = answer
    await rig.enter("1")
    async with rig.running(rig.http(receiver.url)) as worker:
        await until(lambda: receiver.active == 1)
        busy = asyncio.create_task(rig.store.run(be_busy))
        await asyncio.sleep(0)
        parking = asyncio.create_task(worker.set_enabled(enabled=False))
        await asyncio.sleep(0)
        released.set()
        await until(lambda: not receiver.active)
        await asyncio.gather(busy, parking)
        assert worker.health.state is HealthState.DISABLED
    assert await rig.ask("SELECT state, reason FROM destinations") == [("disabled", "operator")]
    assert await rig.states() == {"pending": 1}
