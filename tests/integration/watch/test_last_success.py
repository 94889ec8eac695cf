"""The time of the last success is stored only now and then; a process that is killed loses no event by that."""

import logging
from typing import TYPE_CHECKING

import pytest

from notifier.daemon.api.stored_status import stored_source_state
from notifier.watch.source_health import SourceState

if TYPE_CHECKING:
    from tests.support.watched_source import Answer, Station

EVERY_SECONDS = 30
YEARS_AGO = 20190704


async def begin(station: "Station") -> int:
    """Poll an account with some records; return the stored time of the last success."""
    await station.open(60, page_size=100)
    await station.round()
    await station.round()
    stored_ms = (await station.memory()).last_success_ms
    assert stored_ms is not None
    return stored_ms


async def poll_later(station: "Station", seconds: float = 5) -> None:
    station.clock.advance(seconds)
    assert (await station.watcher.poll()).is_done


async def test_polls_without_changes_store_the_last_success_every_thirty_seconds(either: "Station") -> None:
    stored_ms = await begin(either)
    for _ in range(5):
        await poll_later(either)
        assert either.watcher.memory.last_success_ms == either.clock.now_ms()
        assert (await either.memory()).last_success_ms == stored_ms
    await poll_later(either)
    assert (await either.memory()).last_success_ms == either.clock.now_ms() == stored_ms + EVERY_SECONDS * 1000


async def test_change_stored_by_a_search_does_not_reset_the_last_success_in_memory(station: "Station") -> None:
    await station.open(230, page_size=10)
    await station.round()
    await station.round()
    station.enter(date_number=YEARS_AGO)
    station.clock.advance(5)
    await station.round()
    assert station.watcher.memory.records == 231
    assert station.watcher.memory.last_success_ms == station.clock.now_ms()
    stored_ms = (await station.memory()).last_success_ms
    assert stored_ms is not None
    assert stored_ms < station.clock.now_ms()


async def test_poll_that_finds_a_record_stores_the_last_success(station: "Station") -> None:
    await begin(station)
    await poll_later(station)
    station.enter()
    await poll_later(station)
    assert (await station.memory()).last_success_ms == station.clock.now_ms()


async def test_success_after_a_failure_is_stored_at_once(station: "Station", faults: "dict[str, Answer]") -> None:
    await begin(station)
    station.upstream.fail([1], faults["bad_gateway"])
    station.clock.advance(2)
    assert not (await station.watcher.poll()).is_done
    assert stored_source_state(await station.memory(), station.clock.now_ms()) is SourceState.FAILING
    station.upstream.interfere = None
    await poll_later(station, 2)
    assert stored_source_state(await station.memory(), station.clock.now_ms()) is SourceState.OK


async def test_success_after_the_clock_was_set_back_is_stored_at_once(station: "Station") -> None:
    await begin(station)
    station.clock.set_wall_clock(-7200)
    await poll_later(station)
    assert (await station.memory()).last_success_ms == station.clock.now_ms()


async def test_watcher_stop_stores_the_last_success(either: "Station") -> None:
    await begin(either)
    await poll_later(either)
    polled_ms = either.clock.now_ms()
    either.clock.advance(2)
    await either.restart()
    assert (await either.memory()).last_success_ms == either.watcher.memory.last_success_ms == polled_ms


async def test_records_entered_before_a_kill_are_each_reported_once(either: "Station") -> None:
    stored_ms = await begin(either)
    before = either.enter(2)
    await poll_later(either)
    await poll_later(either)
    after = either.enter(3)
    await either.kill()
    memory = await either.memory()
    assert memory.last_success_ms is not None
    assert stored_ms < memory.last_success_ms < either.clock.now_ms()
    for _ in range(3):
        await poll_later(either)
    assert sorted(either.told()) == sorted(either.keys_of([*before, *after]))
    assert either.conditions() == ()
    await either.check_consistency()


@pytest.mark.parametrize("killed", [True, False])
async def test_changed_filters_after_a_kill_report_too_much_rather_than_too_little(
    station: "Station", killed: bool
) -> None:
    await station.open(60, page_size=100)
    one, another = (person["id"] for person in station.account.users[:2])
    await station.restart(user_id=one)
    await station.round()
    await station.round()
    station.enter(user=another)
    station.clock.advance(1)
    await poll_later(station, EVERY_SECONDS)
    station.enter(user=another)
    await poll_later(station)
    await (station.kill if killed else station.restart)(user_id=None)
    new = station.enter(user=another)
    for _ in range(2):
        await poll_later(station)
    hidden = station.keys_of(new)
    assert station.told()[-1:] == hidden
    assert len(station.told()) == (2 if killed else 1)


async def test_watcher_stop_with_a_read_only_store_logs_no_warning(
    station: "Station", caplog: pytest.LogCaptureFixture
) -> None:
    await begin(station)
    await poll_later(station)
    await station.query("PRAGMA query_only = 1")
    await station.watcher.stop()
    assert [record.message for record in caplog.records if record.levelno > logging.INFO] == []
    await station.query("PRAGMA query_only = 0")
