"""The real daemon in this process, between a simulated API and a real receiver: from its start to its end."""

import asyncio
import socket
import time
from typing import Any
from unittest.mock import ANY

import aiohttp
import orjson
import pytest
from msgspec.structs import replace

from notifier.config import Settings
from notifier.config.settings import AlertSettings
from notifier.daemon.daemon import Daemon
from notifier.daemon.socket_path import socket_path
from notifier.store.database import Database
from notifier.store.errors import StoreError, StoreReason
from notifier.web.daemon_api import UnknownNameError
from notifier.web.listening.sockets import ListenError
from tests.support.clocks import SettableClock
from tests.support.daemon import World, ready, status_when, until_swept
from tests.support.waiting import until

HOUR = 3_600.0
DAY = 24 * HOUR


async def test_daemon_sends_new_records_but_not_existing_ones(world: World, run: Any) -> None:
    daemon = await run()
    await ready(daemon)
    key = world.complete()
    await status_when(daemon, "hr", "delivered", 1)
    # The event may arrive before the round that found it has ended.
    await daemon.operations.poll("acme-1")
    status = await daemon.operations.status()
    (event,) = world.received
    assert (event["type"], event["subject"], event["source"]) == ("completion.created", key, "/sources/acme-1")
    assert status["sources"]["acme-1"]["records"] == 21


async def test_clock_a_year_ahead_deletes_no_event_by_itself(world: World, run: Any, clock: SettableClock) -> None:
    daemon = await run(None, clock)
    await ready(daemon)
    world.complete()
    await status_when(daemon, "hr", "delivered", 1)
    clock.set_wall_clock(365 * DAY)
    await daemon._housekeeping.delete_old_data()
    assert await daemon._store.run(lambda db: db.execute("SELECT count(*) FROM events").fetchone()) == (1,)
    # The account's clock agrees that the time has passed.
    daemon._peer_clocks.record("sources/acme-1", clock.now_ms())
    daemon._peer_clocks.record("destinations/hr", clock.now_ms())
    await daemon._housekeeping.delete_old_data()
    assert await daemon._store.run(lambda db: db.execute("SELECT count(*) FROM events").fetchone()) == (0,)


async def test_status_has_the_keys_of_the_contract(world: World, run: Any) -> None:
    world.receiver_answers = 503
    daemon = await run()
    await ready(daemon)
    world.complete()
    status = await status_when(daemon, "hr", "last_error", {"reason": "server_error", "message": "HTTP 503", "at": ANY})
    assert set(status) == {
        "version",
        "started_at",
        "sources",
        "destinations",
        "conditions",
        "evaluation",
        "replays",
        "store",
    }
    source, destination = status["sources"]["acme-1"], status["destinations"]["hr"]
    contract = {"state", "records", "last_success", "next_poll", "requests", "last_error"}
    detection = {"unreadable", "unreadable_example", "unexplained", "count_offset", "held", "waiting"}
    assert set(source) == contract | {"sweep", "last_sweep", "searching", "budget", "failing"} | detection
    assert set(source["budget"]) == {"configured", "allowed", "used", "waiting", "by"}
    assert set(source["budget"]["by"]) == {"head", "count", "confirm", "search", "sweep", "names"}
    assert set(source["held"]) == {"removals", "arrivals", "changes"}
    assert source["waiting"] == {"removal": 0, "return": 0, "earlier_form": 0}
    assert set(destination) == {
        "next_attempt",
        "scheduled",
        "scheduled_for",
        "learned",
        "state",
        "reason",
        "pending",
        "delivered",
        "dead",
        "oldest_pending",
        "last_error",
    }
    assert (source["state"], source["last_error"]) == ("ok", None)
    assert source["requests"] >= 1
    assert (destination["reason"], destination["pending"], destination["delivered"]) == ("server_error", 1, 0)
    assert destination["state"] == "retrying"
    moments = [status["started_at"], source["last_success"], source["next_poll"], destination["oldest_pending"]]
    assert all(len(moment) == len("2026-11-21T17:00:00.123Z") and moment.endswith("Z") for moment in moments)
    orjson.dumps(status)


async def test_held_removals_raise_an_alert_until_the_records_return(
    world: World, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.daemon.daemon.EVALUATE_EVERY_SECONDS", 0.05)
    world.account.add_many(
        replace(record, id=record.id + 1_000, created=record.created - 1) for record in [*world.account.records()]
    )
    settings = world.settings(events=[])
    daemon = await run(settings.model_copy(update={"alerts": AlertSettings(destination="hr")}))
    await until_swept(daemon)
    gone = [world.account.remove(record.id) for record in [*world.account.records()][:30]]
    await until(lambda: len(world.received) == 1)
    (firing,) = world.received
    assert (firing["type"], firing["data"]["condition"]) == ("notifier.alert", "removals_held")
    assert (firing["data"]["state"], firing["data"]["subject"]) == ("firing", "sources/acme-1")
    [shown] = (await daemon.operations.status())["conditions"]
    assert (shown["condition"], shown["subject"]) == ("removals_held", "sources/acme-1")
    world.account.add_many(gone)
    await until(lambda: len(world.received) == 2)
    assert world.received[1]["data"]["state"] == "resolved"
    status = await daemon.operations.status()
    assert status["conditions"] == []
    assert status["sources"]["acme-1"]["records"] == 40


async def test_status_shows_the_request_budget_and_its_use(run: Any) -> None:
    daemon = await run()
    await until_swept(daemon)
    source = (await daemon.operations.status())["sources"]["acme-1"]
    assert source["budget"]["configured"] == source["budget"]["allowed"] == 60_000
    assert 3 <= source["budget"]["used"] <= source["requests"]
    assert source["searching"] is False


async def test_daemon_is_ready_after_all_polls_and_not_when_polls_fail_for_long(world: World, run: Any) -> None:
    world.api_answers = 503
    daemon = await run(world.settings(sources=2))
    await until(lambda: "http_status" in daemon.operations.unready().get("acme-2", ""))
    assert set(daemon.operations.unready()) == {"acme-1", "acme-2"}
    world.api_answers = 200
    await ready(daemon)
    world.api_answers = 503
    failing_since = time.monotonic()
    await until(lambda: len(daemon.operations.unready()) == 2)
    assert time.monotonic() - failing_since >= 0.15


async def test_daemon_is_not_ready_while_it_starts(world: World, run: Any) -> None:
    world.hangs = True
    settings = world.settings(sources=12)
    starting = asyncio.create_task(run(settings))
    connector = aiohttp.UnixConnector(str(socket_path(settings.store.path)))
    async with aiohttp.ClientSession(connector=connector) as session:
        answers: list[tuple[int, int]] = []
        while not starting.done() or len(answers) < 3:
            try:
                async with session.get("http://localhost/readyz") as response:
                    answers.append((response.status, len((await response.json())["unready"])))
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0)
    await starting
    assert set(answers) == {(503, 12)}


async def test_second_daemon_on_the_same_state_file_is_refused(world: World, run: Any) -> None:
    daemon = await run()
    await ready(daemon)
    with pytest.raises(StoreError, match=r"in use by process \d+") as refused:
        await Daemon(world.settings()).start()
    assert refused.value.reason is StoreReason.IN_USE
    world.complete()
    await status_when(daemon, "hr", "delivered", 1)


async def test_listen_address_in_use_raises_a_condition_until_it_is_free(
    world: World, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.web.server.RETRY_INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr("notifier.daemon.daemon.EVALUATE_EVERY_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        daemon = await run(world.settings(listen=f"127.0.0.1:{port}"))
        await until(lambda: [it.key[0] for it in daemon.evaluation.firing] == ["interface_down"])
        await ready(daemon)
        world.complete()
        await status_when(daemon, "hr", "delivered", 1)
    await until(lambda: not daemon.evaluation.firing)
    assert daemon.url == f"http://127.0.0.1:{port}/"


async def test_start_raises_and_closes_everything_if_its_socket_cannot_be_created(world: World, run: Any) -> None:
    tasks = asyncio.all_tasks()
    blocker = world.folder / "notifier.db.sock"
    blocker.mkdir()
    with pytest.raises(ListenError, match=r"notifier\.db\.sock"):
        await Daemon(world.settings()).start()
    await until(lambda: asyncio.all_tasks() <= tasks)
    assert world.asked == 0
    blocker.rmdir()
    daemon = await run()
    await ready(daemon)


async def test_stop_takes_under_5_seconds_while_everything_hangs_and_loses_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    settings = world.settings(concurrency=2)
    daemon = Daemon(settings)
    await daemon.start()
    await ready(daemon)
    world.hangs = True
    keys = {world.complete() for _ in range(3)}
    # Requests are answered until the records are found. After that, everything hangs again.
    world.hangs = False
    await until(lambda: len(world.received) >= 1)
    world.hangs = True
    keys.add(world.complete())
    asked = world.asked
    await until(lambda: world.asked > asked)
    poll = asyncio.create_task(send_request(settings, "POST", "/v1/sources/acme-1/poll"))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await daemon.stop()
    assert time.monotonic() - began < 5.0
    await asyncio.wait([poll])
    assert [record for record in caplog.records if record.name.startswith("notifier.") and record.levelno >= 40] == []
    world.hangs = False
    daemon = Daemon(settings)
    await daemon.start()
    await until(lambda: {event["subject"] for event in world.received} == keys)
    await daemon.stop()
    assert len({event["id"] for event in world.received}) == 4


async def send_request(settings: Settings, method: str, path: str) -> tuple[int, Any]:
    connector = aiohttp.UnixConnector(str(socket_path(settings.store.path)))
    async with aiohttp.ClientSession(connector=connector) as session:
        try:
            async with session.request(method, f"http://localhost{path}") as response:
                return response.status, await response.json()
        except aiohttp.ClientError:
            return 0, None


async def test_requested_polls_and_sweeps_run_at_once(world: World, run: Any) -> None:
    settings = world.settings()
    daemon = await run(settings)
    await ready(daemon)
    world.complete()
    status, answer = await send_request(settings, "POST", "/v1/sources/acme-1/poll")
    assert (status, answer["source"], answer["result"]) == (200, "acme-1", "done")
    status, answer = await send_request(settings, "POST", "/v1/sources/acme-1/sweep")
    assert (status, answer["source"], answer["message"]) == (200, "acme-1", "")
    assert answer["sweep"]["started_at"].endswith("Z")
    world.api_answers = 503
    status, answer = await send_request(settings, "POST", "/v1/sources/acme-1/poll")
    assert (status, answer["result"], answer["events"]) == (409, "failed", 0)
    with pytest.raises(UnknownNameError, match="there is no source `acme-9`; there is acme-1"):
        await daemon.operations.poll("acme-9")


@pytest.mark.parametrize("seconds", [-HOUR, -DAY])
async def test_clock_set_back_does_not_stall_polls_or_retries(
    world: World, run: Any, clock: SettableClock, seconds: float
) -> None:
    world.receiver_answers = 422
    daemon = await run(world.settings(retry_first="300ms", retry_max="300ms"), clock)
    await ready(daemon)
    world.complete()
    await until(lambda: len(world.received) == 1)
    clock.set_wall_clock(seconds)
    world.receiver_answers = 200
    world.complete()
    asked = world.asked
    await status_when(daemon, "hr", "delivered", 2)
    await until(lambda: world.asked >= asked + 3)


async def test_clock_set_forward_makes_no_delivery_dead(world: World, run: Any, clock: SettableClock) -> None:
    world.receiver_answers = 422
    daemon = await run(world.settings(retry_first="1s", retry_max="1s"), clock)
    await ready(daemon)
    world.complete()
    await until(lambda: len(world.received) == 1)
    clock.set_wall_clock(30 * DAY)
    await until(lambda: len(world.received) == 4)
    status = await daemon.operations.status()
    assert (status["destinations"]["hr"]["pending"], status["destinations"]["hr"]["dead"]) == (1, 0)


async def test_clock_set_forward_during_a_request_does_not_make_its_delivery_dead(
    world: World, run: Any, clock: SettableClock
) -> None:
    world.receiver_answers, world.receiver_takes = 422, 0.4
    daemon = await run(world.settings(), clock)
    await ready(daemon)
    world.complete()
    await until(lambda: len(world.received) == 2)
    clock.set_wall_clock(30 * DAY)
    await until(lambda: len(world.received) == 4)
    status = await daemon.operations.status()
    assert (status["destinations"]["hr"]["pending"], status["destinations"]["hr"]["dead"]) == (1, 0)


async def test_clock_jump_is_handled_even_if_the_state_file_fails_meanwhile(
    world: World, run: Any, clock: SettableClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def read_only(db: Database, *, on: bool) -> None:
        db.execute(f"PRAGMA query_only = {int(on)}")

    monkeypatch.setattr("notifier.delivery.dispatcher._STORE_RETRY_SECONDS", 0.1)
    world.receiver_answers = 422
    daemon = await run(world.settings(retry_first="300ms", retry_max="300ms"), clock)
    await ready(daemon)
    world.complete()
    await status_when(daemon, "hr", "last_error", {"reason": "refused", "message": "HTTP 422", "at": ANY})
    await daemon._store.run(read_only, on=True)
    clock.set_wall_clock(-HOUR)
    await until(lambda: "read-only" in caplog.text)
    clock.set_wall_clock(-HOUR)
    await daemon._store.run(read_only, on=False)
    world.receiver_answers = 200
    await status_when(daemon, "hr", "delivered", 1)


@pytest.mark.parametrize("noticed", [True, False])
async def test_clock_set_back_does_not_prolong_a_retry_pause_across_a_restart(
    world: World, run: Any, clock: SettableClock, *, noticed: bool
) -> None:
    world.receiver_answers, world.receiver_says = 503, {"Retry-After": "2"}
    daemon = Daemon(world.settings(), clock)
    await daemon.start()
    await ready(daemon)
    world.complete()
    await until(lambda: daemon._dispatcher.health()["hr"].retry_at_ms is not None)
    clock.set_wall_clock(-HOUR)
    if noticed:
        ends_ms = clock.now_ms() + 10_000
        await until(lambda: (daemon._dispatcher.health()["hr"].retry_at_ms or 0) < ends_ms)
    await daemon.stop()
    world.receiver_answers = 200
    await status_when(await run(None, clock), "hr", "delivered", 1)
