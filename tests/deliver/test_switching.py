"""Destinations that an operator parks, resumes, or wants tried at once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from notifier.deliver.health import Switch, moved, switch_unserved, switched, tried_at_once
from notifier.deliver.outcome import Reason
from notifier.deliver.sample import sample_event
from notifier.ledger import again, destinations
from notifier.ledger.again import Retry
from notifier.ledger.destinations import Health, HealthState
from notifier.ledger.outbox import DeliveryState
from tests.deliver.harness import Receiver, Rig, answering, keys
from tests.real_time import until

NOW = 1_795_280_400_123
GONE = Health(HealthState.DISABLED, "gone", NOW)
RETRYING = Health(HealthState.RETRYING, "timeout", NOW, 3, NOW + 60_000)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path / "notifier.db") as opened:
        yield opened


@pytest.fixture
async def receiver(rig: Rig) -> Receiver:
    return await rig.receiver()


@pytest.mark.parametrize(
    ("before", "enabled", "expected"),
    [
        (Health(), True, None),
        (RETRYING, True, None),
        (GONE, False, None),
        (GONE, True, Switch(Health(), 5000)),
        (RETRYING, False, Switch(Health(HealthState.DISABLED, "operator", NOW + 5000))),
        # A clock that was set back makes nothing older.
        (Health(HealthState.DISABLED, "gone", NOW + 9000), True, Switch(Health(), 0)),
        (Health(HealthState.DISABLED, "gone"), True, Switch(Health(), 0)),
    ],
)
def test_a_switch_is_decided(before: Health, enabled: bool, expected: Switch | None) -> None:
    assert switched(before, enabled=enabled, now_ms=NOW + 5000) == expected


def test_only_trouble_is_tried_at_once() -> None:
    assert tried_at_once(RETRYING) == Health(HealthState.RETRYING, "timeout", NOW, 3, None)
    assert tried_at_once(GONE) == GONE
    assert tried_at_once(Health()) == Health()


def test_what_was_remembered_moves_with_the_clock() -> None:
    assert moved(RETRYING, 7) == Health(HealthState.RETRYING, "timeout", NOW + 7, 3, NOW + 60_007)
    assert moved(Health(), 7) == Health()


async def test_a_parked_destination_stays_parked_over_a_restart_and_gets_everything_once_resumed(
    rig: Rig, receiver: Receiver
) -> None:
    async with rig.running(rig.http(receiver.url)) as worker:
        await worker.set_enabled(enabled=False)
    await rig.enter(*keys(5))
    async with rig.running(rig.http(receiver.url)) as worker:
        worker.wake()
        worker.try_at_once()
        await asyncio.sleep(0.1)
        assert (worker.health.state, worker.health.reason) == (HealthState.DISABLED, "operator")
        assert receiver.arrivals == []
        await worker.set_enabled(enabled=True)
        await rig.settled()
    assert sorted(receiver.subjects) == keys(5)


async def test_without_a_worker_a_destination_is_switched_in_the_state_file_and_its_events_grow_no_older(
    rig: Rig,
) -> None:
    await rig.enter("1")
    first = await rig.ledger.run(switch_unserved, "hr", enabled=False, now_ms=NOW)
    assert first == Health(HealthState.DISABLED, "operator", NOW)
    assert await rig.ledger.run(switch_unserved, "hr", enabled=False, now_ms=NOW + 1) == first
    await rig.ask(f"UPDATE deliveries SET first_attempt_at = {NOW - 1000}")
    assert await rig.ledger.run(switch_unserved, "hr", enabled=True, now_ms=NOW + 9000) == Health()
    assert await rig.ask("SELECT first_attempt_at FROM deliveries") == [(NOW + 8000,)]
    assert await rig.ledger.run(destinations.recall, "hr") == Health()


async def test_a_destination_in_trouble_need_not_wait_when_the_operator_retries(rig: Rig, receiver: Receiver) -> None:
    receiver.answer = answering(503, Retry_After="3600")
    await rig.enter(*keys(3))
    async with rig.running(rig.http(receiver.url, concurrency=1)) as worker:
        await until(lambda: worker.health.state is HealthState.RETRYING)
        worker.wake()
        await asyncio.sleep(0.1)
        assert len(receiver.arrivals) == 1
        receiver.answer = answering(200)
        assert await rig.ledger.run(again.retry, Retry(DeliveryState.PENDING), ["hr"]) == {"hr": 3}
        worker.try_at_once()
        await rig.settled(deadline=5.0)
        await until(lambda: worker.health.state is HealthState.OK)
    assert await rig.ask("SELECT state, retry_at FROM destinations") == [("ok", None)]


async def test_one_that_still_fails_is_tried_once_and_waits_again(rig: Rig, receiver: Receiver) -> None:
    receiver.answer = answering(503, Retry_After="3600")
    await rig.enter(*keys(3))
    async with rig.running(rig.http(receiver.url, concurrency=1)) as worker:
        await until(lambda: worker.health.state is HealthState.RETRYING)
        await rig.ledger.run(again.retry, Retry(DeliveryState.PENDING), ["hr"])
        worker.try_at_once()
        await until(lambda: worker.health.failures == 2)
        await asyncio.sleep(0.1)
    assert len(receiver.arrivals) == 2


async def test_a_dead_delivery_goes_out_again_under_its_id(rig: Rig, receiver: Receiver) -> None:
    receiver.answer = answering(400)
    await rig.enter("1")
    async with rig.running(rig.http(receiver.url, give_up_after="1ms")) as worker:
        await rig.settled()
        assert await rig.states() == {"dead": 1}
        receiver.answer = answering(200)
        await rig.ledger.run(again.retry, Retry(), ["hr"])
        worker.try_at_once()
        await rig.settled()
    assert await rig.states() == {"delivered": 1}
    assert len(set(receiver.ids)) == 1


async def test_a_sample_leaves_no_trace(rig: Rig, receiver: Receiver) -> None:
    receiver.answer = answering(503)
    async with rig.running(rig.http(receiver.url)) as worker:
        outcome = await worker.send_sample(sample_event("acme", NOW))
        assert (outcome.reason, outcome.status) == (Reason.SERVER_ERROR, 503)
        assert worker.health == Health()
    assert receiver.subjects == ["sample"]
    assert await rig.states() == {}
