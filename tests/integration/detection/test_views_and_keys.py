"""Changes of a source's filter and of the keys of records (rows 8, 9 and 20)."""

import logging

import pytest

from notifier.store.tables.second_looks import LookKind, SecondLook
from tests.support.detection_world import REMOVAL, World, created

TRAINING = "1028"
RECOGNISED = "the API has given known records new ids; they are matched to the old ones and not reported as new"


async def test_filter_change_removes_nothing_and_asks_no_precise_questions(world: World) -> None:
    await world.open(3000)
    await world.reload(training_id=TRAINING)
    mark = world.mark()
    await world.sweep()
    await world.sweep()
    inside = next(record for record in world.account.records() if record.training.v2 == int(TRAINING))
    outside = next(record for record in world.account.records() if record.training.v2 != int(TRAINING))
    expected = created(world.enter(training=inside.training))
    world.enter(training=outside.training)
    assert await world.told_after(10) == expected
    assert world.questions_since(mark) == 0
    assert await world.conditions() == set()
    await world.reload(training_id=None)
    await world.sweep()
    assert await world.told_after(REMOVAL) == expected
    assert await world.known() == 3002
    assert await world.conditions() == set()


@pytest.mark.parametrize(("records", "told"), [(3000, 60), (15, 3), (40, 30)])
async def test_switch_from_v1_to_v2_reports_no_record_twice(
    world: World, records: int, told: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "notifier")
    await world.open(records, api="v1", detection_limits={"shown_seconds": 3600.0})
    before = world.control.edits.enter(told)
    assert len(await world.told_after(3)) == told
    await world.reload(api="v2")
    await world.sweep()
    assert "records_renumbered" in await world.wait_for_condition("records_renumbered", 10)
    await world.minutes(30)
    assert len(world.told) == told
    recognised = [vars(it) for it in caplog.records if it.getMessage() == RECOGNISED]
    assert sum(it["matched"] for it in recognised) == records + told
    assert not any(it["unmatched"] for it in recognised)
    source = await world.source()
    assert (source["records"], source["held"]["removals"]["records"], source["state"]) == (records + told, 0, "ok")
    # From now on records have the keys of version 2, and a deletion is reported as a removal.
    gone, entered = world.delete(before[0]), world.enter()
    assert sorted((await world.told_after(REMOVAL))[told:]) == sorted([gone, *created(entered)])
    await world.minutes(75)
    assert await world.conditions() == set()


async def test_renumbered_records_are_matched_and_not_reported_again(world: World) -> None:
    await world.open(3000)
    world.control.edits.enter(60)
    assert len(await world.told_after(3)) == 60
    world.control.begin("renumbered")
    await world.minutes(3)
    await world.sweep()
    assert "records_renumbered" in await world.wait_for_condition("records_renumbered", 30)
    assert len(world.told) == 60
    entered = world.enter()
    assert (await world.told_after(10))[60:] == [f"created {entered.id + 1_000_000}"]
    assert await world.known() == 3061
    assert await world.conditions() == {"records_renumbered"}


async def test_second_look_at_a_record_ends_when_the_record_gets_another_key(world: World) -> None:
    await world.open(3000)
    watcher, record = world.daemon._sources.watcher("acme"), world.at(1500)
    now_ms, key = world.clock.now_ms(), str(record.id)
    look = SecondLook(key, LookKind.REMOVAL, now_ms, now_ms, "count", 0, record.user, str(record.training.v2))
    await watcher._absences._store_look(look)
    world.control.begin("renumbered")
    await world.minutes(3)
    await world.sweep()
    assert not watcher.second_looks.by_key
    assert world.told == []
