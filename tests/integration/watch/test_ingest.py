"""The store cannot be written: records that are not stored are not known, and are found again afterwards."""

import asyncio
import gc
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from notifier.store.errors import StoreReason
from notifier.store.tables import sweeps
from notifier.watch.detection.holds import Direction
from notifier.watch.rounds import RoundResult
from notifier.watch.source_health import SourceState

if TYPE_CHECKING:
    from tests.support.watched_source import Answer, Asked, Station

pytestmark = pytest.mark.usefixtures("small_pages")

PLENTY = 10**6
NOTES = "A remark that takes up some room. " * 20


async def test_first_poll_on_a_full_disk_fails_and_stores_no_first_contact(either: "Station") -> None:
    await either.open(200)
    await either.limit_pages(1)
    done = await either.watcher.poll()
    assert done.result is RoundResult.FAILED
    assert "the disk is full" in done.message
    assert (await either.memory()).first_contact_ms is None
    assert await either.query("SELECT * FROM records") == []
    await either.limit_pages(PLENTY)
    either.clock.advance(60)
    await either.round()
    assert either.told() == []
    assert (await either.memory()).records == 200


async def test_records_that_could_not_be_stored_are_reported_when_the_disk_has_room(either: "Station") -> None:
    await either.open(60, page_size=10)
    await either.round()
    await either.limit_pages(1)
    new = either.enter(60, notes=NOTES)
    for _ in range(3):
        done = await either.watcher.poll()
        assert done.result is RoundResult.FAILED
        assert either.watcher.state is SourceState.FAILING
        either.clock.advance(60)
    assert (await either.memory()).records == 60 + len(either.events)
    await either.limit_pages(PLENTY)
    assert (await either.watcher.poll()).result is RoundResult.DONE
    assert either.watcher.state is SourceState.OK
    assert sorted(either.told()) == sorted(either.keys_of(new))
    await either.check_consistency()


async def test_record_entered_after_a_partly_failed_first_poll_is_reported(either: "Station") -> None:
    await either.open(60)
    await either.query(
        "CREATE TEMP TRIGGER no_success BEFORE UPDATE OF last_success ON main.sources"
        " BEGIN SELECT RAISE(ABORT, 'an internal error'); END"
    )
    assert (await either.watcher.poll()).result is not RoundResult.DONE
    await either.query("DROP TRIGGER no_success")
    either.clock.advance(60)
    new = either.enter(2)
    await either.watcher.poll()
    assert either.told() == either.keys_of(new)


@pytest.mark.parametrize("room", range(0, 40, 5))
async def test_poll_loses_no_event_wherever_the_disk_fills_up(station: "Station", room: int) -> None:
    await station.open(60, page_size=10)
    await station.round()
    pages = (await station.query("PRAGMA page_count"))[0][0]
    await station.limit_pages(pages + room)
    new = station.enter(130, notes=NOTES)
    assert (await station.watcher.poll()).result is RoundResult.FAILED
    await station.check_consistency()
    await station.limit_pages(PLENTY)
    await station.restart()
    await station.watcher.poll()
    assert sorted(station.told()) == sorted(station.keys_of(new))
    await station.check_consistency()


@pytest.mark.parametrize("room", [0, 4, 12])
async def test_sweep_on_a_full_disk_fails_and_finishes_when_there_is_room(station: "Station", room: int) -> None:
    await station.open(230, page_size=10)
    await station.watcher.poll()
    pages = (await station.query("PRAGMA page_count"))[0][0]
    await station.limit_pages(pages + room)
    await station.watcher.run_followups()
    await station.quiet()
    assert station.watcher.state is SourceState.FAILING
    assert (await station.memory()).swept_at_ms is None
    await station.limit_pages(PLENTY)
    station.clock.advance(60)
    await station.round()
    assert (await station.memory()).records == 230
    assert (await station.memory()).swept_at_ms is not None
    assert station.told() == []


async def test_full_disk_is_logged_once_and_shown_as_the_error_of_the_source(
    station: "Station", caplog: pytest.LogCaptureFixture
) -> None:
    await station.open(60, page_size=10, poll_interval="60s")
    await station.round()
    await station.limit_pages(1)
    station.enter(60, notes=NOTES)
    for _ in range(4):
        await station.watcher.poll()
        station.clock.advance(60)
    said = [(record.levelno, record.__dict__["reason"]) for record in caplog.records]
    assert said == [(logging.ERROR, StoreReason.DISK_FULL)]
    error = station.watcher.memory.error
    assert error is not None
    assert error.reason == StoreReason.DISK_FULL
    assert (station.watcher.unready() or "").startswith("disk_full: ")


async def test_full_disk_is_logged_even_after_an_api_failure(
    station: "Station", caplog: pytest.LogCaptureFixture, faults: "dict[str, Answer]"
) -> None:
    await station.open(60, page_size=10)
    await station.round()
    await station.limit_pages(1)
    station.enter(60, notes=NOTES)
    station.upstream.fail([1], faults["bad_gateway"])
    await station.watcher.poll()
    await station.watcher.poll()
    assert [record.__dict__["reason"] for record in caplog.records] == ["http_status", "disk_full"]


async def test_pause_requested_by_the_api_remains_after_a_disk_error(station: "Station") -> None:
    reached, released = asyncio.Event(), asyncio.Event()

    async def interfere(asked: "Asked") -> web.StreamResponse | None:
        if asked.limit == 10:
            return web.Response(status=503, headers={"Retry-After": "30"})
        reached.set()
        await released.wait()
        return None

    await station.open(230, page_size=10)
    await station.watcher.poll()
    await station.watcher.begin_sweep()
    station.upstream.interfere = interfere
    await reached.wait()
    await station.watcher.poll()
    await station.limit_pages(1)
    released.set()
    await station.quiet()
    assert station.watcher.memory.error is not None
    assert station.watcher.memory.error.reason == StoreReason.DISK_FULL
    assert station.watcher.silence_seconds() == 30.0
    assert station.watcher.binding_silence_reason()


async def test_failed_page_after_one_that_cannot_be_stored_leaves_no_asyncio_log(
    station: "Station", caplog: pytest.LogCaptureFixture, faults: "dict[str, Answer]"
) -> None:
    second_has_failed = threading.Event()
    holding: list[asyncio.Future[bool]] = []

    async def interfere(asked: "Asked") -> web.StreamResponse | None:
        if asked.counts:
            return None
        if asked.page == 1:
            holding.append(asyncio.ensure_future(station.store.run(lambda _: second_has_failed.wait())))
            return None
        return await faults["bad_gateway"]()

    await station.open(230, page_size=10)
    await station.watcher.poll()
    await station.store.run(sweeps.resume_or_start, "acme", 0)
    await station.limit_pages(1)
    station.upstream.interfere = interfere
    await station.watcher.begin_sweep()
    await station.until(lambda: (2, 50) in station.upstream.pages() and not tasks_of("fetch"))
    second_has_failed.set()
    await station.quiet()
    assert await asyncio.gather(*holding) == [True]
    await station.close()
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


def tasks_of(coroutine: str) -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if coroutine in repr(task.get_coro())]


async def test_release_of_arrivals_ends_if_some_are_stored_in_the_form_of_another_version(station: "Station") -> None:
    station.version = "v1"
    await station.open(20)
    await station.round()
    station.version = "v2"
    await station.restart()
    await station.query("UPDATE records SET held = 1 WHERE id IN (1, 2)")
    async with asyncio.timeout(10):
        assert await station.watcher.release(Direction.ARRIVALS, silently=False) == 0
    await station.round()
    assert await station.watcher.release(Direction.ARRIVALS, silently=False) == 2
    assert len(station.told()) == 2


async def test_record_removed_during_a_change_of_the_api_version_is_reported(station: "Station") -> None:
    station.version = "v1"
    await station.open(20, sweep_interval="1h")
    await station.round()
    (gone, *_) = station.account.records()
    key = station.key(gone)
    station.account.remove(gone.id)
    station.version = "v2"
    await station.restart()
    for _ in range(2):
        station.clock.advance(3700)
        await station.settle()
    assert [(event.type, event.subject) for event in station.events] == [("completion.removed", key)]
    memory = await station.memory()
    assert (memory.records, memory.renumbered, memory.unexplained) == (19, 19, 0)
