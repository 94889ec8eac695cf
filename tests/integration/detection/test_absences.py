"""A removal needs five proofs: place, precise question, balance, second look, count of the second question."""

import pytest

from tests.support.detection_world import REMOVAL, World, alike, daily_account


async def test_deleted_record_is_reported_after_confirm_after_and_one_poll(world: World) -> None:
    await world.open(3000)
    expected = [world.delete(world.at(1500))]
    assert await world.told_after(4) == []
    assert await world.told_after(REMOVAL - 4) == expected
    assert await world.told_after(20) == expected
    assert await world.conditions() == set()


async def test_second_look_at_a_deletion_survives_a_restart(world: World) -> None:
    await world.open(3000)
    expected = [world.delete(world.at(1500))]
    await world.minutes(3)
    await world.restart()
    assert await world.told_after(REMOVAL - 3) == expected
    assert await world.conditions() == set()


async def test_restored_record_is_reported_as_created_after_a_second_look(world: World) -> None:
    await world.open(3000)
    record = world.at(1500)
    expected = [world.delete(record)]
    assert await world.told_after(REMOVAL) == expected
    world.account.add_many([record])
    assert await world.told_after(REMOVAL) == [*expected, f"created {record.id}"]
    assert await world.conditions() == set()


async def test_record_deleted_and_restored_within_minutes_is_not_reported(world: World) -> None:
    await world.open(3000)
    record = world.at(1500)
    world.delete(record)
    await world.minutes(2)
    world.account.add_many([record])
    assert await world.told_after(20) == []
    assert await world.conditions() == set()


async def test_deleted_record_among_more_equal_ones_than_a_page_holds_is_reported(world: World) -> None:
    account = daily_account(1500, world.true_clock)
    records = alike(account, 1200)
    await world.open(account)
    expected = [world.delete(records[600])]
    assert await world.told_after(REMOVAL) == expected
    mark = world.mark()
    await world.sweep()
    assert world.questions_since(mark) == 0
    assert await world.conditions() == set()


async def test_incomplete_page_with_an_empty_precise_answer_removes_nothing(world: World) -> None:
    await world.open(5000)
    world.control.begin(f"short:#{world.at(3500).id},page=4,limit=1000,times=1")
    world.control.begin("empty:of=precise,times=1")
    mark = world.mark()
    await world.sweep()
    assert await world.told_after(20) == []
    assert len(world.asked_since(mark)) < 21 + 15
    assert await world.conditions() == set()


async def test_page_and_precise_answer_incomplete_for_15_minutes_remove_nothing(world: World) -> None:
    await world.open(5000)
    world.control.begin(f"short:#{world.at(3500).id},limit=1000,for=15m")
    world.control.begin("empty:of=precise,for=15m")
    await world.begin_sweep()
    await world.minutes(16)
    await world.scanned()
    assert await world.told_after(20) == []
    assert await world.known() == 5000
    assert await world.conditions() == set()


async def test_removal_is_not_reported_while_pages_are_incomplete_even_after_a_restart(world: World) -> None:
    await world.open(5000)
    expected = [world.delete(world.at(1500))]
    await world.minutes(2)
    fault = world.control.begin(f"short:#{world.at(3500).id},page=4,limit=1000")
    await world.sweep()
    await world.restart()
    assert await world.told_after(REMOVAL + 10) == []
    assert "list_unsearchable" in await world.conditions()
    world.control.end(fault)
    await world.minutes(70)
    assert world.told == expected
    assert await world.conditions() == set()


@pytest.mark.parametrize("records", [20, 200])
async def test_records_that_are_counted_but_not_listed_are_not_removed(world: World, records: int) -> None:
    await world.open(5000)
    world.control.begin(f"unlisted:{records},for=20m")
    mark = world.mark()
    await world.begin_sweep()
    await world.minutes(20)
    await world.scanned()
    assert await world.told_after(20) == []
    assert world.questions_since(mark) <= 20
    assert await world.known() == 5000
    await world.sweep()
    assert await world.told_after(10) == []
    assert await world.conditions() == set()


async def test_counted_but_unlisted_record_is_not_removed_instead_of_the_deleted_one(world: World) -> None:
    await world.open(5000)
    world.control.begin(f"unlisted:#{world.at(1500).id},for=30m")
    expected = [world.delete(world.at(3500))]
    assert set(await world.told_after(30)) <= {*expected}
    assert await world.told_after(80) == expected
    assert await world.known() == 4999
    assert await world.conditions() == set()


async def test_small_list_that_is_empty_for_three_minutes_removes_nothing(world: World) -> None:
    await world.open(daily_account(18, world.true_clock))
    world.control.begin("empty:for=3m")
    await world.minutes(1)
    await world.begin_sweep()
    assert await world.told_after(20) == []
    assert await world.known() == 18
    assert await world.conditions() == set()


async def test_small_list_that_is_emptied_reports_all_records_as_removed(world: World) -> None:
    await world.open(daily_account(18, world.true_clock))
    expected = [world.delete(record) for record in [*world.account.records()]]
    assert await world.told_after(3) == []
    assert sorted(await world.told_after(REMOVAL)) == sorted(expected)
    assert await world.conditions() == set()


async def test_record_moved_during_a_deletion_is_updated_and_only_the_deleted_is_removed(world: World) -> None:
    await world.open(daily_account(5000, world.true_clock))
    moved, deleted = world.at(2500), world.at(4700)
    expected = [
        world.edit(moved, user=world.at(1).user, date_number=world.at(4500).date_number),
        world.delete(deleted),
    ]
    mark = world.mark()
    told = await world.told_after(15)
    assert expected[1] in told
    assert set(told) <= {*expected}
    await world.sweep()
    assert sorted(await world.told_after(REMOVAL)) == sorted(expected)
    assert world.questions_since(mark) <= 20
    assert await world.conditions() == set()


async def test_date_change_does_not_hide_a_deletion_even_twice_in_an_hour(world: World) -> None:
    await world.open(daily_account(5000, world.true_clock))
    expected = []
    for moved, place, deleted in ((2500, 300, 400), (2600, 310, 410)):
        moving, gone = world.at(moved), world.at(deleted)
        expected.append(world.edit(moving, date_number=world.at(place).date_number))
        expected.append(world.delete(gone))
        assert expected[-1] in await world.told_after(20)
    await world.sweep()
    assert sorted(await world.told_after(REMOVAL)) == sorted(expected)
    assert await world.conditions() == set()
