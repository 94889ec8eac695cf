"""A worker whose endpoint, events, clock or state file fail: requests stay few, and no event is lost."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from aiohttp import web

from notifier.config.webhooks import HttpSettings
from notifier.delivery import queue_reader
from notifier.delivery import worker as worker_module
from notifier.delivery.policy import decisions
from notifier.destinations.base import Grouping
from notifier.destinations.outcome import AttemptResult, Outcome
from notifier.store.database import Database
from notifier.store.tables import alert_events, outbox
from notifier.store.tables.conditions import ConditionChange, ConditionState, StoredCondition
from notifier.store.tables.destinations import HealthState
from notifier.store.tables.outbox import Delivery
from tests.support.waiting import DEADLINE, until
from tests.support.workers import SHORT_WAITS, Arrival, Receiver, Rig, answering, keys, refusing

DAY = 86_400.0
CLOSED = "http://127.0.0.1:9/"
"""An address at which no server listens."""


async def wait_for_attempts(rig: Rig, times: int) -> None:
    """Wait until `times` attempts have been made in total."""
    async with asyncio.timeout(DEADLINE):
        while (await rig.ask("SELECT count(*) FROM attempts"))[0][0] < times:
            await asyncio.sleep(0.01)


# The endpoint fails


async def test_worker_after_an_outage_sends_one_probe_and_raises_concurrency_gradually(
    rig: Rig, receiver: Receiver
) -> None:
    works = asyncio.Event()

    async def answer(_arrival: Arrival, _request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.03)
        return web.Response(status=200 if works.is_set() else 500)

    receiver.answer = answer
    await rig.enter(*keys(60))
    async with rig.running(rig.http(receiver.url, concurrency=8)):
        await until(lambda: len(receiver.arrivals) == 8 + 3)
        works.set()
        await rig.settled()
    since_the_first_failures = [arrival.active for arrival in receiver.arrivals[8:]]
    assert since_the_first_failures[:3] == [1, 1, 1]
    assert next(active for active in since_the_first_failures if active > 1) == 2
    assert max(since_the_first_failures) == 8
    assert len(set(receiver.ids)) == 60
    assert await rig.ask("SELECT state, failures FROM destinations") == [("ok", 0)]


async def raise_alert(rig: Rig, number: int = 0) -> None:
    """Write an alert for hr, as the monitor does."""
    gap = StoredCondition("gap", f"sources/acme-{number}", "something may have been missed", rig.clock.now_ms())
    change = ConditionChange(ConditionState.FIRING, gap, "began", "hr")
    await rig.store.run(alert_events.write, [change], rig.clock.now_ms())


async def test_refused_alert_makes_the_destination_retrying_but_a_refused_event_does_not(
    rig: Rig, receiver: Receiver
) -> None:
    receiver.answer = answering(404)
    await rig.enter("1")
    async with rig.running(rig.http(receiver.url, retry_first="3s", retry_max="3s")) as worker:
        await wait_for_attempts(rig, 1)
        assert worker.health.state is HealthState.OK
        await raise_alert(rig)
        worker.wake()
        await wait_for_attempts(rig, 2)
        assert (worker.health.state, worker.health.reason) == (HealthState.RETRYING, AttemptResult.EVERYTHING_REFUSED)
        assert await rig.store.run(alert_events.latest_refusal, "hr", ("refused",)) == "refused, HTTP 404"
        receiver.answer = answering(200)
        await rig.settled()
        assert worker.health.state is HealthState.OK
        assert await rig.store.run(alert_events.latest_refusal, "hr", ("refused",)) is None


async def test_refused_alert_leaves_the_destination_ok_once_others_are_delivered(rig: Rig, receiver: Receiver) -> None:
    receiver.answer = refusing(422, "sources/acme-0")
    await raise_alert(rig)
    async with rig.running(rig.http(receiver.url)) as worker:
        await wait_for_attempts(rig, 1)
        await until(lambda: worker.health.state is HealthState.RETRYING)
        for number in range(2, 6):
            await rig.enter(str(number))
            worker.wake()
            while (await rig.ask("SELECT count(*) FROM deliveries WHERE state = 'delivered'"))[0][0] < number - 1:
                await asyncio.sleep(0.01)
        tried = receiver.subjects.count("sources/acme-0")
        await until(lambda: receiver.subjects.count("sources/acme-0") > tried)
        await wait_for_attempts(rig, len(receiver.arrivals))
        assert worker.health.state is HealthState.OK
        assert await rig.store.run(alert_events.latest_refusal, "hr", ("refused",)) == "refused, HTTP 422"


async def test_retry_after_is_obeyed_although_other_requests_are_delivered(rig: Rig, receiver: Receiver) -> None:
    throttled: list[float] = []

    async def answer(arrival: Arrival, _request: web.Request) -> web.StreamResponse:
        if not throttled and arrival.active == 8:
            throttled.append(time.monotonic())
            return web.Response(status=429, headers={"Retry-After": "1"})
        await asyncio.sleep(0.1)
        return web.Response()

    receiver.answer = answer
    await rig.enter(*keys(40))
    async with rig.running(rig.http(receiver.url, concurrency=8)):
        await rig.settled()
    assert len(throttled) == 1
    after = [arrival for arrival in receiver.arrivals if arrival.at > throttled[0]]
    assert after[0].at - throttled[0] >= 0.99
    assert after[0].active == 1
    assert len(set(receiver.ids)) == 40


async def test_probe_is_the_next_event_in_order_although_the_store_is_slow(rig: Rig, receiver: Receiver) -> None:
    def be_busy(_db: Database) -> None:
        time.sleep(0.1)

    busy: list[asyncio.Task[None]] = []

    async def answer(_arrival: Arrival, _request: web.Request) -> web.StreamResponse:
        if len(receiver.arrivals) > 2:
            return web.Response()
        busy.append(asyncio.create_task(rig.store.run(be_busy)))
        await asyncio.sleep(0.02)
        return web.Response(status=429, headers={"Retry-After": "0"})

    receiver.answer = answer
    await rig.enter(*keys(3))
    async with rig.running(rig.http(receiver.url, concurrency=1)):
        await rig.settled()
    assert receiver.subjects == ["1", "1", "1", "2", "3"]


async def test_retry_sent_before_its_failure_is_written_is_not_sent_twice(rig: Rig, receiver: Receiver) -> None:
    goes_on = threading.Event()

    def be_busy(_db: Database) -> None:
        goes_on.wait(DEADLINE)

    busy: list[asyncio.Task[None]] = []

    async def answer(_arrival: Arrival, _request: web.Request) -> web.StreamResponse:
        match len(receiver.arrivals):
            case 1:
                busy.append(asyncio.create_task(rig.store.run(be_busy)))
                await asyncio.sleep(0.02)
                return web.Response(status=500)
            case 3:
                # The first half is delivered. Only now is the group's failure written, before this success.
                goes_on.set()
                await asyncio.sleep(0.5)
        return web.Response()

    receiver.answer = answer
    await rig.enter(*keys(2))
    async with rig.running(rig.http(receiver.url, concurrency=2, batch_size=2)):
        await rig.settled()
    assert receiver.subjects == ["1", "2", "1", "2"]


async def test_retry_after_is_obeyed_after_a_restart(rig: Rig, receiver: Receiver) -> None:
    receiver.answer = answering(503, Retry_After="2")
    await rig.enter(*keys(3))
    async with rig.running(rig.http(receiver.url, concurrency=1)) as worker:
        await until(lambda: worker.health.state is HealthState.RETRYING)
    requested_at = receiver.arrivals[0].at
    receiver.answer = answering(200)
    async with rig.running(rig.http(receiver.url)) as worker:
        assert worker.health.state is HealthState.RETRYING
        await rig.settled()
    assert receiver.arrivals[1].at - requested_at >= 1.99
    assert len(receiver.arrivals) == 4


async def test_request_whose_connection_breaks_is_retried_under_the_same_id(rig: Rig, receiver: Receiver) -> None:
    async def answer(_arrival: Arrival, request: web.Request) -> web.StreamResponse:
        if len(receiver.arrivals) == 1:
            assert request.transport is not None
            request.transport.abort()
        return web.Response()

    receiver.answer = answer
    await rig.enter("1")
    async with rig.running(rig.http(receiver.url)):
        await rig.settled()
    first, second = receiver.arrivals
    assert first.message_id == second.message_id == first.ids[0]
    assert await rig.ask("SELECT reason FROM attempts ORDER BY id") == [("connection_lost",), ("delivered",)]


async def test_backlog_of_a_long_outage_is_sent_as_a_digest(rig: Rig, receiver: Receiver) -> None:
    receiver.answer = answering(503)
    await rig.enter(*keys(80))
    async with rig.running(rig.slack(receiver.url, rate=50, retry_first="20ms", retry_max="20ms")):
        await until(lambda: len(receiver.arrivals) >= 24)
        receiver.answer = answering(200)
        failed = len(receiver.arrivals)
        await rig.settled()
    told = [arrival.body["text"].splitlines()[0] for arrival in receiver.arrivals[failed:]]
    digests = [int(line.split()[0]) for line in told if line.endswith("trainings completed")]
    # The probe that is accepted, the digest, and the events that become due a moment later.
    assert max(digests) >= 79
    assert len(told) <= 4


async def test_events_used_as_probes_in_an_outage_are_later_sent_in_full_batches(rig: Rig, receiver: Receiver) -> None:
    await rig.enter(*keys(41))
    async with rig.running(rig.http(CLOSED, batch_size=20, batch_wait="10ms", retry_first="10ms", retry_max="20ms")):
        await wait_for_attempts(rig, 30)
    async with rig.running(rig.http(receiver.url, batch_size=20, batch_wait="10ms")):
        await rig.settled()
    assert [len(arrival.ids) for arrival in receiver.arrivals] == [20, 20, 1]


@pytest.mark.parametrize("batch_size", [1, 7])
async def test_endpoint_with_random_failures_accepts_every_event_exactly_once(
    rig: Rig, receiver: Receiver, batch_size: int
) -> None:
    chance = random.Random(batch_size)
    accepted: list[str] = []

    async def answer(arrival: Arrival, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(chance.random() * 0.01)
        match chance.randrange(12):
            case 0 | 1:
                return web.Response(status=500)
            case 2:
                return web.Response(status=429, headers={"Retry-After": "0.02"})
            case 3:
                return web.Response(status=400)
            case 4:
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            case _:
                accepted.extend(arrival.subjects)
                return web.Response()

    receiver.answer = answer
    await rig.enter(*keys(50))
    async with rig.running(
        rig.http(receiver.url, batch_size=batch_size, batch_wait="5ms", retry_first="10ms", retry_max="20ms")
    ):
        await rig.settled()
    assert sorted(accepted, key=int) == keys(50)
    assert await rig.states() == {"delivered": 50}


# A single event fails


@pytest.mark.parametrize("poisonous", [["1"], ["1", "2"], ["5", "6", "11"]])
async def test_event_answered_with_500_delays_others_by_at_most_three_attempts(
    rig: Rig, receiver: Receiver, poisonous: list[str]
) -> None:
    receiver.answer = refusing(500, *poisonous)
    await rig.enter(*keys(20))
    async with rig.running(rig.http(receiver.url, concurrency=2, retry_first="50ms")):
        healthy = set(keys(20)) - set(poisonous)
        await until(lambda: healthy <= set(receiver.subjects))
    for subject in healthy:
        before = receiver.subjects[: receiver.subjects.index(subject)]
        assert all(before.count(other) <= 3 for other in poisonous)
        assert receiver.subjects.count(subject) == 1


async def test_new_event_is_sent_before_the_next_retry_of_an_event_that_keeps_failing(
    rig: Rig, receiver: Receiver
) -> None:
    receiver.answer = refusing(500, "1")
    await rig.enter("1")
    async with rig.running(rig.http(receiver.url, retry_first="20ms", retry_max="1h")) as worker:
        # The rounds with ever more probes are over: now the waits grow, and this one takes half a second.
        await until(lambda: len(receiver.arrivals) >= 71)
        arrived = len(receiver.arrivals)
        await rig.enter("2")
        worker.wake()
        await until(lambda: "2" in receiver.subjects)
    assert receiver.subjects[arrived] == "2"


@pytest.mark.parametrize("status", [400, 500])
async def test_batch_is_split_until_the_bad_event_is_alone(rig: Rig, receiver: Receiver, status: int) -> None:
    receiver.answer = refusing(status, "37")
    await rig.enter(*keys(100))
    async with rig.running(
        rig.http(receiver.url, batch_size=32, batch_wait="10ms", retry_first="20ms", retry_max="40ms")
    ):
        await until(lambda: [arrival.subjects for arrival in receiver.arrivals].count(["37"]) >= 2)
        await until(lambda: set(receiver.subjects) == set(keys(100)))
    assert await rig.states() == {"delivered": 99, "pending": 1}
    assert await rig.ask("SELECT e.subject FROM deliveries JOIN events e USING (sequence) WHERE state = 'pending'") == [
        ("37",)
    ]


async def test_refused_batch_is_split_and_never_sent_again_unchanged(rig: Rig, receiver: Receiver) -> None:
    receiver.answer = refusing(400, *keys(100))
    await rig.enter(*keys(16))
    async with rig.running(rig.http(receiver.url, batch_size=16, batch_wait="10ms", retry_first="1h", retry_max="1h")):
        await until(lambda: len(receiver.arrivals) >= 9)
    groups = [tuple(arrival.ids) for arrival in receiver.arrivals if len(arrival.ids) > 1]
    assert len(groups) == len(set(groups))
    assert list(map(len, groups))[:4] == [16, 8, 4, 2]


class Faulty:
    """A destination whose code fails for some events."""

    name = "hr"
    grouping = Grouping()

    def __init__(self, *subjects: str) -> None:
        self.sent: list[str] = []
        self._subjects = subjects

    async def send(self, deliveries: Sequence[Delivery]) -> Outcome:
        (delivery,) = deliveries
        self.sent.append(delivery.event.subject)
        if delivery.event.subject in self._subjects:
            raise KeyError("an internal error")
        return Outcome(AttemptResult.DELIVERED, 200)


async def test_internal_error_in_send_fails_only_the_event_concerned(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    faulty = Faulty("3")
    settings = HttpSettings.model_validate({"type": "http", "url": "http://127.0.0.1:9/", **SHORT_WAITS})
    await rig.enter(*keys(10))
    async with rig.running(rig.worker(faulty, settings)) as worker:
        await until(lambda: faulty.sent.count("3") == 3)
        assert worker.health.state is HealthState.OK
    assert sorted(set(faulty.sent), key=int) == keys(10)
    assert len(faulty.sent) == 9 + 3
    assert await rig.ask("SELECT DISTINCT reason FROM deliveries WHERE state = 'pending'") == [("unsendable",)]
    assert "an internal error" in caplog.text


class PartlyBound:
    """A broker's exchange with a queue that does not get the messages about some records."""

    name = "hr"
    grouping = Grouping()

    def __init__(self, *subjects: str) -> None:
        self.stored: list[str] = []
        self._subjects = subjects

    async def send(self, deliveries: Sequence[Delivery]) -> Outcome:
        (delivery,) = deliveries
        if delivery.event.subject in self._subjects:
            return Outcome(AttemptResult.TARGET_MISSING)
        self.stored.append(delivery.event.subject)
        return Outcome(AttemptResult.DELIVERED)


async def test_message_that_no_queue_gets_does_not_hold_up_the_others(rig: Rig) -> None:
    exchange = PartlyBound("1", "2")
    settings = HttpSettings.model_validate({"type": "http", "url": "http://127.0.0.1:9/", **SHORT_WAITS})
    await rig.enter(*keys(20))
    async with rig.running(rig.worker(exchange, settings)):
        await until(lambda: sorted(exchange.stored, key=int) == keys(18, 3))
    assert await rig.ask("SELECT DISTINCT reason FROM deliveries WHERE state = 'pending'") == [("target_missing",)]


def fail_once(work: Callable[..., Any]) -> Callable[..., Any]:
    faults = iter([True])

    def faulty(*arguments: Any, **keywords: Any) -> Any:
        if next(faults, False):
            raise LookupError("a fault")
        return work(*arguments, **keywords)

    return faulty


async def test_internal_error_in_read_due_is_logged_and_all_events_are_delivered(
    rig: Rig, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outbox, "read_due", fail_once(outbox.read_due))
    monkeypatch.setattr(queue_reader, "FAULT_PAUSE_SECONDS", 0.05)
    await rig.enter(*keys(3))
    async with rig.running(rig.http(receiver.url)):
        await rig.settled()
    assert sorted(receiver.subjects) == keys(3)
    assert "an internal error" in caplog.text


async def test_internal_error_in_after_attempt_is_logged_and_all_events_are_delivered(
    rig: Rig, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(decisions, "after_attempt", fail_once(decisions.after_attempt))
    monkeypatch.setattr(worker_module, "FAULT_PAUSE_SECONDS", 0.05)
    await rig.enter(*keys(3))
    async with rig.running(rig.http(receiver.url)):
        await rig.settled()
    assert set(receiver.subjects) == set(keys(3))
    assert len(receiver.subjects) == 4
    assert len(set(receiver.ids)) == 3
    assert "an internal error" in caplog.text


async def test_attempt_cancelled_by_a_library_is_logged_and_all_events_are_delivered(
    rig: Rig, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A library may cancel the future for which the attempt waits."""
    monkeypatch.setattr(worker_module, "FAULT_PAUSE_SECONDS", 0.05)
    worker = rig.http(receiver.url)
    send, cancelled = worker._destination.send, iter([True])

    async def cancel_once(deliveries: Sequence[Delivery]) -> Outcome:
        if next(cancelled, False):
            raise asyncio.CancelledError
        return await send(deliveries)

    monkeypatch.setattr(worker._destination, "send", cancel_once)
    await rig.enter(*keys(3))
    async with rig.running(worker):
        await rig.settled()
    assert sorted(receiver.subjects) == keys(3)
    assert "an internal error" in caplog.text


async def test_event_that_fails_for_too_long_is_given_up_and_kept(rig: Rig, receiver: Receiver) -> None:
    receiver.answer = refusing(422, "2")
    await rig.enter(*keys(3))
    async with rig.running(rig.http(receiver.url, give_up_after="500ms")):
        await rig.settled()
    assert 3 <= receiver.subjects.count("2") <= 8
    assert await rig.ask("SELECT state, decision, reason, status FROM deliveries WHERE state <> 'delivered'") == [
        ("dead", "give_up", "refused", 422)
    ]
    assert await rig.ask("SELECT count(*) FROM events") == [(3,)]


async def test_destination_answering_410_is_disabled_and_its_events_do_not_age_meanwhile(
    rig: Rig, receiver: Receiver
) -> None:
    receiver.answer = answering(500)
    await rig.enter(*keys(5))
    async with rig.running(rig.http(receiver.url, concurrency=1)) as worker:
        await until(lambda: len(receiver.arrivals) >= 2)
        receiver.answer = answering(410)
        await until(lambda: worker.health.state is HealthState.DISABLED)
    receiver.answer = answering(500)
    met_before = len(receiver.arrivals)
    rig.clock.set_wall_clock(10 * DAY)
    async with rig.running(rig.http(receiver.url, concurrency=1)) as worker:
        worker.wake()
        await asyncio.sleep(0.1)
        assert (worker.health.reason, len(receiver.arrivals)) == ("gone", met_before)
        await worker.set_enabled(enabled=True)
        await until(lambda: len(receiver.arrivals) >= met_before + 3)
        assert await rig.states() == {"pending": 5}
        receiver.answer = answering(200)
        await rig.settled()
    assert await rig.states() == {"delivered": 5}


# The state file cannot be written


async def test_worker_sends_nothing_while_outcomes_cannot_be_written_and_then_continues(
    rig: Rig, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    def fill_the_disk(db: Database) -> None:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages}")

    def make_room(db: Database) -> None:
        db.execute("PRAGMA max_page_count = 1000000")

    await rig.enter(*keys(800))
    await rig.store.run(fill_the_disk)
    async with rig.running(rig.http(receiver.url)):
        await until(lambda: "the disk is full" in caplog.text)
        await asyncio.sleep(0.3)
        sent = len(receiver.arrivals)
        await asyncio.sleep(1.2)
        assert len(receiver.arrivals) == sent < 800
        await rig.store.run(make_room)
        await rig.settled()
    assert sorted(receiver.subjects, key=int) == keys(800)
    assert await rig.ask("SELECT delivered FROM destinations") == [(800,)]
    assert caplog.text.count("the disk is full") == 1


# The wall clock is set


async def test_retry_is_not_delayed_by_a_wall_clock_set_back(rig: Rig, receiver: Receiver) -> None:
    receiver.answer = refusing(400, "1")
    await rig.enter(*keys(2))
    async with rig.running(rig.http(receiver.url, retry_first="300ms")) as worker:
        await until(lambda: set(receiver.subjects) == {"1", "2"})
        await until(lambda: receiver.active == 0)
        receiver.answer = answering(200)
        rig.clock.set_wall_clock(-DAY)
        await rig.store.run(outbox.shift_attempts, -round(DAY * 1000))
        worker.wake()
        await rig.settled()


async def test_clock_set_back_by_30_days_between_runs_does_not_delay_a_retry(rig: Rig, receiver: Receiver) -> None:
    receiver.answer = answering(400)
    await rig.enter("1")
    async with rig.running(rig.http(receiver.url)):
        await until(lambda: len(receiver.arrivals) == 1)
    receiver.answer = answering(200)
    rig.clock.set_wall_clock(-30 * DAY)
    async with rig.running(rig.http(receiver.url)):
        await rig.settled()


async def test_failing_endpoint_gets_few_requests_after_the_clock_is_set_back(rig: Rig, receiver: Receiver) -> None:
    receiver.answer = answering(500)
    await rig.enter(*keys(200))
    async with rig.running(rig.http(receiver.url, concurrency=1, retry_first="50ms", retry_max="1h")) as worker:
        await until(lambda: worker.health.failures == 2)
        rig.clock.set_wall_clock(-3600)
        await asyncio.sleep(1.2)
    # 1 + 1 + 4 + 8 + 16 + 32 probes in six rounds, with ever longer waits.
    assert len(receiver.arrivals) <= 63
