"""Destinations that an operator disables, enables, or has tried at once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from notifier.delivery.health import (
    DestinationState,
    after_switch,
    set_enabled_without_worker,
    shifted,
    state_to_show,
    without_wait,
)
from notifier.destinations.outcome import AttemptResult
from notifier.destinations.sample import sample_event
from notifier.store.tables import destinations, requeue
from notifier.store.tables.destinations import Health, HealthState
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.requeue import RetryResult, RetrySelection
from tests.support.waiting import until
from tests.support.workers import Receiver, Rig, answering, keys

NOW = 1_795_280_400_123
GONE = Health(HealthState.DISABLED, "gone", NOW)
RETRYING = Health(HealthState.RETRYING, "timeout", NOW, 3, NOW + 60_000)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path / "notifier.db") as opened:
        yield opened


@pytest.mark.parametrize(
    ("before", "enabled", "expected"),
    [
        (Health(), True, None),
        (RETRYING, True, None),
        (GONE, False, None),
        (GONE, True, Health()),
        (RETRYING, False, Health(HealthState.DISABLED, "operator", NOW + 5000)),
        (Health(HealthState.DISABLED, "gone"), True, Health()),
    ],
)
def test_after_switch_returns_the_new_health(before: Health, enabled: bool, expected: Health | None) -> None:
    assert after_switch(before, enabled=enabled, now_ms=NOW + 5000) == expected


def test_without_wait_removes_the_retry_time_of_a_retrying_destination_only() -> None:
    assert without_wait(RETRYING) == Health(HealthState.RETRYING, "timeout", NOW, 3, None)
    assert without_wait(GONE) == GONE
    assert without_wait(Health()) == Health()


def test_shifted_moves_the_times_of_the_health() -> None:
    assert shifted(RETRYING, 7) == Health(HealthState.RETRYING, "timeout", NOW + 7, 3, NOW + 60_007)
    assert shifted(Health(), 7) == Health()


async def test_set_enabled_without_worker_stores_the_state(rig: Rig) -> None:
    await rig.enter("1")
    first = await rig.store.run(set_enabled_without_worker, "hr", enabled=False, now_ms=NOW)
    assert first == (Health(HealthState.DISABLED, "operator", NOW), False)
    assert await rig.store.run(set_enabled_without_worker, "hr", enabled=False, now_ms=NOW + 1) == first
    assert await rig.store.run(set_enabled_without_worker, "hr", enabled=True, now_ms=NOW + 9000) == (Health(), False)
    assert await rig.store.run(destinations.read_or_create, "hr") == Health()


async def test_set_enabled_without_worker_ends_the_wait_of_an_enabled_destination(rig: Rig) -> None:
    await rig.store.run(destinations.read_or_create, "hr")
    await rig.store.run(destinations.store_health, "hr", RETRYING)
    health, waited = await rig.store.run(set_enabled_without_worker, "hr", enabled=True, now_ms=NOW)
    assert (health.retry_at_ms, waited) == (None, True)
    assert await rig.store.run(set_enabled_without_worker, "hr", enabled=True, now_ms=NOW) == (health, False)


@pytest.mark.parametrize(
    ("health", "pending", "draining", "shown"),
    [
        (Health(), 0, False, DestinationState.OK),
        (RETRYING, 1, False, DestinationState.RETRYING),
        (RETRYING, 0, False, DestinationState.IDLE),
        (GONE, 0, True, DestinationState.DISABLED),
        (Health(), 1, True, DestinationState.DRAINING),
    ],
)
def test_state_to_show_returns_the_state_for_health_queue_and_draining(
    health: Health, pending: int, *, draining: bool, shown: DestinationState
) -> None:
    assert state_to_show(health, pending, is_draining=draining) is shown


async def test_retry_by_the_operator_ends_the_wait_of_a_failing_destination(rig: Rig, receiver: Receiver) -> None:
    receiver.answer = answering(503, Retry_After="3600")
    await rig.enter(*keys(3))
    async with rig.running(rig.http(receiver.url, concurrency=1)) as worker:
        await until(lambda: worker.health.state is HealthState.RETRYING)
        worker.wake()
        await asyncio.sleep(0.1)
        assert len(receiver.arrivals) == 1
        receiver.answer = answering(200)
        assert await rig.store.run(requeue.retry, RetrySelection(DeliveryState.PENDING), ["hr"], NOW) == RetryResult(
            {"hr": 3}, ("hr",)
        )
        worker.try_at_once()
        await rig.settled(deadline=5.0)
        await until(lambda: worker.health.state is HealthState.OK)
    assert await rig.ask("SELECT state, retry_at FROM destinations") == [("ok", None)]


async def test_retry_of_a_failing_destination_sends_one_request_and_waits_again(rig: Rig, receiver: Receiver) -> None:
    receiver.answer = answering(503, Retry_After="3600")
    await rig.enter(*keys(3))
    async with rig.running(rig.http(receiver.url, concurrency=1)) as worker:
        await until(lambda: worker.health.state is HealthState.RETRYING)
        await rig.store.run(requeue.retry, RetrySelection(DeliveryState.PENDING), ["hr"], NOW)
        worker.try_at_once()
        await until(lambda: worker.health.failures == 2)
        await asyncio.sleep(0.1)
    assert len(receiver.arrivals) == 2


async def test_retry_of_a_dead_delivery_sends_it_under_the_same_id(rig: Rig, receiver: Receiver) -> None:
    receiver.answer = answering(400)
    await rig.enter("1")
    async with rig.running(rig.http(receiver.url, give_up_after="1ms")) as worker:
        await rig.settled()
        assert await rig.states() == {"dead": 1}
        receiver.answer = answering(200)
        await rig.store.run(requeue.retry, RetrySelection(), ["hr"], NOW)
        worker.try_at_once()
        await rig.settled()
    assert await rig.states() == {"delivered": 1}
    assert len(set(receiver.ids)) == 1


async def test_sample_leaves_health_and_deliveries_unchanged(rig: Rig, receiver: Receiver) -> None:
    receiver.answer = answering(503)
    async with rig.running(rig.http(receiver.url)) as worker:
        outcome, waited = await worker.send_sample(sample_event("acme", NOW))
        assert not waited
        assert (outcome.reason, outcome.status) == (AttemptResult.SERVER_ERROR, 503)
        assert worker.health == Health()
    assert receiver.subjects == ["sample"]
    assert await rig.states() == {}
