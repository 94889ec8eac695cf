"""Conditions of a real daemon: each is alerted once, even if the daemon restarts, and resolved once."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from notifier.config import Settings
from notifier.daemon.configuration import ReloadHooks
from notifier.daemon.daemon import EVALUATION_JOB, Daemon
from notifier.store.database import Database
from notifier.store.errors import StoreError, StoreReason
from notifier.store.file.store import FileStore
from notifier.store.tables.destinations import Health, HealthState, store_health
from tests.support.daemon import running
from tests.support.notices import LONG, NoticeReceiver, settings_with_notices, wait_for_evaluations
from tests.support.servers import serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.daemon import World


async def written(settings: Settings, write: Callable[[Database], object]) -> None:
    """Change the state file while no daemon runs."""
    store = FileStore(settings.store.path)
    await store.open()
    await store.run(write)
    await store.close()


async def firing_conditions(daemon: Daemon) -> list[str]:
    return [condition["condition"] for condition in (await daemon.operations.status())["conditions"]]


async def test_long_receiver_outage_is_alerted_once_across_a_restart_and_resolved_once(
    world: "World", notice_receiver: NoticeReceiver
) -> None:
    settings = settings_with_notices(world, notice_receiver)
    world.receiver_answers = 503
    firing = ("destination_failing", "destinations/hr", "firing")
    async with running(settings) as daemon:
        await until(lambda: not daemon.operations.unready())
        key = world.complete()
        await until(lambda: notice_receiver.summaries() == [firing])
        await wait_for_evaluations(notice_receiver)
    assert notice_receiver.notices[0]["summary"].endswith(
        "once it works, `notifier retry --state pending --destination hr` tries at once; 1 event waits"
    )
    async with running(settings) as daemon:
        await wait_for_evaluations(notice_receiver)
        assert (notice_receiver.summaries(), await firing_conditions(daemon)) == ([firing], ["destination_failing"])
        world.receiver_answers = 200
        await until(lambda: len(notice_receiver.notices) == 2)
        await wait_for_evaluations(notice_receiver)
    assert notice_receiver.summaries() == [firing, ("destination_failing", "destinations/hr", "resolved")]
    assert {event["subject"] for event in world.received} == {key}


async def test_short_receiver_outage_before_a_stop_raises_no_condition(
    world: "World", notice_receiver: NoticeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.alerts.destination_rules.FAILING_FOR_SECONDS", 30.0)
    settings = settings_with_notices(world, notice_receiver, retry_first="10m", retry_max="10m")
    world.receiver_answers = 503
    async with running(settings) as daemon:
        await until(lambda: not daemon.operations.unready())
        world.complete()
        await until(lambda: daemon._dispatcher.health()["hr"].state is HealthState.RETRYING)
    await written(settings, lambda db: db.execute("UPDATE deliveries SET first_attempt_at = 1"))
    async with running(settings) as daemon:
        await wait_for_evaluations(notice_receiver)
        assert await firing_conditions(daemon) == []


async def test_alert_destination_gets_no_alerts_about_itself(world: "World", notice_receiver: NoticeReceiver) -> None:
    settings = settings_with_notices(world, notice_receiver)
    settings = settings.model_copy(update={"alerts": settings.alerts.model_copy(update={"destination": "hr"})})
    world.receiver_answers = 503
    async with running(settings) as daemon:
        await until(lambda: not daemon.operations.unready())
        world.complete()
        while "destination_failing" not in await firing_conditions(daemon):
            await wait_for_evaluations(notice_receiver)
        world.receiver_answers = 200
        while await firing_conditions(daemon):
            await wait_for_evaluations(notice_receiver)
    assert {event["type"] for event in world.received} == {"completion.created"}


async def test_long_source_outage_is_alerted_once_across_a_restart_and_resolved_once(
    world: "World", notice_receiver: NoticeReceiver
) -> None:
    settings = settings_with_notices(world, notice_receiver)
    firing = ("source_failing", "sources/acme-1", "firing")
    async with running(settings) as daemon:
        await until(lambda: not daemon.operations.unready())
        world.api_answers = 503
        await until(lambda: notice_receiver.summaries() == [firing])
    async with running(settings) as daemon:
        await wait_for_evaluations(notice_receiver)
        assert (notice_receiver.summaries(), await firing_conditions(daemon)) == ([firing], ["source_failing"])
        world.api_answers = 200
        await until(lambda: len(notice_receiver.notices) == 2)
        await wait_for_evaluations(notice_receiver)
    assert notice_receiver.summaries() == [firing, ("source_failing", "sources/acme-1", "resolved")]
    assert "the answer did not have HTTP status 200" in notice_receiver.notices[0]["summary"]


@pytest.mark.parametrize(
    ("write", "word"),
    [
        (lambda db: store_health(db, "hr", Health(HealthState.DISABLED, "gone", 1)), "destination_disabled"),
        (lambda db: db.execute("UPDATE deliveries SET state = 'dead', reason = 'refused'"), "deliveries_dead"),
    ],
)
async def test_stored_destination_condition_is_alerted_after_the_next_start(
    world: "World", notice_receiver: NoticeReceiver, write: Callable[[Database], object], word: str
) -> None:
    settings = settings_with_notices(world, notice_receiver)
    world.receiver_answers = 422
    async with running(settings) as daemon:
        await until(lambda: not daemon.operations.unready())
        world.complete()
        await until(lambda: len(world.received) == 1)
    await written(settings, write)
    async with running(settings):
        await until(lambda: notice_receiver.summaries() == [(word, "destinations/hr", "firing")])


async def test_nearly_full_disk_is_alerted_and_resolved_only_at_twice_the_limit(
    world: "World", notice_receiver: NoticeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = {"free": 10}
    monkeypatch.setattr("notifier.alerts.disk_rules.MIN_FREE_BYTES", 11)
    monkeypatch.setattr("notifier.alerts.disk_rules.shutil.disk_usage", lambda _: Usage(10**6, disk["free"]))
    async with running(settings_with_notices(world, notice_receiver)):
        await until(lambda: notice_receiver.summaries() == [("disk_nearly_full", "store", "firing")])
        disk["free"] = 21
        await wait_for_evaluations(notice_receiver)
        assert len(notice_receiver.notices) == 1
        disk["free"] = 22
        await until(lambda: len(notice_receiver.notices) == 2)


@dataclass
class Usage:
    total: int
    free: int


async def test_unwritable_state_file_fails_the_source_and_makes_the_daemon_unready(
    world: "World", notice_receiver: NoticeReceiver
) -> None:
    async with running(settings_with_notices(world, notice_receiver)) as daemon:
        await until(lambda: not daemon.operations.unready())
        await daemon._store.run(lambda db: db.execute("PRAGMA query_only = 1"))
        # A poll that finds nothing new writes only every 30 seconds.
        await until(lambda: "read_only" in daemon.operations.unready().get("acme-1", ""), deadline=60)
        source: Any = (await daemon.operations.status())["sources"]["acme-1"]
        assert (source["state"], source["last_error"]["reason"]) == ("failing", "read_only")
        await daemon._store.run(lambda db: db.execute("PRAGMA query_only = 0"))
        await until(lambda: not daemon.operations.unready())


async def test_unwritable_state_file_is_alerted_and_resolved_once(
    world: "World", notice_receiver: NoticeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.alerts.unwritable.FAILING_FOR_MS", 100)
    async with running(settings_with_notices(world, notice_receiver)) as daemon:
        await until(lambda: not daemon.operations.unready())
        await daemon._store.run(lambda db: db.execute("PRAGMA query_only = 1"))
        await until(lambda: notice_receiver.of_the_store() == ["firing"])
        assert "it is read-only: make the file and its folder writable" in notice_receiver.notices[0]["summary"]
        await wait_for_evaluations(notice_receiver)
        status = await daemon.operations.status()
        assert "store_unwritable" in [it["condition"] for it in status["conditions"]]
        assert (
            b'notifier_condition{condition="store_unwritable",subject="store"} 1' in await daemon.operations.metrics()
        )
        await daemon._store.run(lambda db: db.execute("PRAGMA query_only = 0"))
        await until(lambda: notice_receiver.of_the_store() == ["firing", "resolved"])
        await until(lambda: not daemon.operations.unready())
        await wait_for_evaluations(notice_receiver)
        assert (await daemon.operations.status())["conditions"] == []
    assert notice_receiver.of_the_store() == ["firing", "resolved"]
    assert len(notice_receiver.ids) == len({*notice_receiver.ids})


async def test_unwritable_state_file_is_resolved_by_the_next_run_if_the_daemon_stops_before_it_looks_again(
    world: "World", notice_receiver: NoticeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.alerts.unwritable.FAILING_FOR_MS", 100)
    settings = settings_with_notices(world, notice_receiver)
    async with running(settings) as daemon:
        await until(lambda: not daemon.operations.unready())
        await daemon._store.run(lambda db: db.execute("PRAGMA query_only = 1"))
        await until(lambda: daemon._unwritable._alerted_to == "safety")
        daemon._schedule.remove(EVALUATION_JOB)
        await daemon._store.run(lambda db: db.execute("PRAGMA query_only = 0"))
    async with running(settings):
        await until(lambda: notice_receiver.of_the_store() == ["firing", "resolved"])


async def test_single_failed_write_is_not_alerted_even_without_later_writes(
    world: "World",
    notice_receiver: NoticeReceiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """For example, another program locks the file, or the database restarts, while polls are far apart."""
    monkeypatch.setattr("notifier.alerts.unwritable.FAILING_FOR_MS", 100)
    document = settings_with_notices(world, notice_receiver).model_dump(mode="python")
    document["sources"]["acme-1"] |= {"token": "sandbox", "poll_interval": "1h"}
    document["destinations"]["hr"]["url"] = world.receiver
    async with running(Settings.model_validate(document)) as daemon:
        await until(lambda: not daemon.operations.unready())
        store, written = daemon._store, -1
        assert isinstance(store, FileStore)
        while store._db is not None and written != store._db.changes:
            written = store._db.changes
            await asyncio.sleep(0.5)
        store.last_error = StoreError(StoreReason.LOCKED, "another program locks it")
        await until(lambda: store.last_error is None)
        await wait_for_evaluations(notice_receiver)
        assert await firing_conditions(daemon) == []
    assert notice_receiver.of_the_store() == []
    assert "a condition" not in caplog.text


async def test_unwritable_state_file_without_an_alert_destination_is_logged_until_over(
    world: "World", monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("notifier.alerts.unwritable.FAILING_FOR_MS", 100)
    monkeypatch.setattr("notifier.daemon.daemon.EVALUATE_EVERY_SECONDS", 0.05)
    async with running(world.settings()) as daemon:
        await daemon._store.run(lambda db: db.execute("PRAGMA query_only = 1"))
        await until(lambda: "a condition requires action" in caplog.text)
        await daemon._store.run(lambda db: db.execute("PRAGMA query_only = 0"))
        await until(lambda: "a condition is resolved" in caplog.text)


async def test_heartbeat_stops_while_conditions_are_not_evaluated(
    world: "World", notice_receiver: NoticeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.alerts.evaluation.STALE_AFTER_SECONDS", LONG)
    beats = 0

    async def beat(_: web.Request) -> web.Response:
        nonlocal beats
        beats += 1
        return web.Response()

    app = web.Application()
    app.router.add_get("/", beat)
    async with serving(app) as url:
        document = settings_with_notices(world, notice_receiver).model_dump(mode="python")
        document["sources"]["acme-1"]["token"] = "sandbox"
        document["destinations"]["hr"]["url"] = world.receiver
        document["alerts"]["heartbeat_url"] = f"{url}/"
        async with running(Settings.model_validate(document)) as daemon:
            await until(lambda: beats > 3)
            # For example, a reload hangs in a file system.
            async with daemon._reloader.apply_lock:
                await until(lambda: "evaluation" in daemon.operations.unready())
                await asyncio.sleep(0.1)
                beaten, polled = beats, world.asked
                await until(lambda: world.asked > polled + 5)
                assert beats == beaten
            await until(lambda: beats > beaten + 3)


async def test_essentials_that_cannot_be_written_for_long_are_alerted(
    world: "World", notice_receiver: NoticeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.daemon.file_upkeep.ESSENTIALS_GRACE_SECONDS", LONG)
    settings = settings_with_notices(world, notice_receiver)
    in_the_way = settings.store.path.with_name(f"{settings.store.path.name}.essentials.new")
    in_the_way.mkdir()
    async with running(settings) as daemon:
        await until(lambda: notice_receiver.summaries() == [("essentials_not_kept", "store", "firing")])
        assert "Is a directory" in notice_receiver.notices[0]["summary"]
        in_the_way.rmdir()
        world.complete()
        await until(lambda: len(notice_receiver.notices) == 2)
        await wait_for_evaluations(notice_receiver)
        assert await firing_conditions(daemon) == []


@pytest.mark.parametrize("part", ["", "-wal"])
async def test_deleted_state_file_ends_the_daemon_and_the_next_start_loses_nothing(
    world: "World", notice_receiver: NoticeReceiver, part: str
) -> None:
    settings = settings_with_notices(world, notice_receiver)
    path = settings.store.path
    world.receiver_answers = 503
    async with running(settings) as daemon:
        await until(lambda: not daemon.operations.unready())
        world.complete()
        await until(lambda: path.with_name(f"{path.name}.essentials").exists())
        path.with_name(f"{path.name}{part}").unlink()
        error = await daemon.wait_for_store_loss()
        assert error.reason is StoreReason.DISPLACED
    world.receiver_answers = 200
    async with running(settings):
        await until(lambda: len(world.received) > 0)
        await wait_for_evaluations(notice_receiver)
    # Nothing was lost, so there is no alert.
    assert [word for word, *_ in notice_receiver.summaries() if word.startswith("state_")] == []


async def test_reload_does_not_resolve_a_condition(
    world: "World", notice_receiver: NoticeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.daemon.daemon.DRAIN_SECONDS", 0.5)
    now = settings_with_notices(world, notice_receiver)
    world.receiver_answers = 503
    daemon = Daemon(now, reload_hooks=ReloadHooks(lambda: settings_with_notices(world, notice_receiver, timeout="20s")))
    await daemon.start()
    try:
        await until(lambda: not daemon.operations.unready())
        world.complete()
        await until(lambda: len(notice_receiver.notices) == 1)
        # The old worker has a request in progress. The reload waits for this worker before it starts a new one.
        world.receiver_takes = 30.0
        tried = len(world.received)
        await until(lambda: len(world.received) > tried)
        assert (await daemon.reload()).ok
        await wait_for_evaluations(notice_receiver)
        assert await firing_conditions(daemon) == ["destination_failing"]
    finally:
        await daemon.stop()
    assert notice_receiver.summaries() == [("destination_failing", "destinations/hr", "firing")]
