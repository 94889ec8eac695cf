"""An answer shows the list as it was when it was requested, however late it arrives (rows 1 and 2)."""

import asyncio

from tests.support.detection_world import REMOVAL, World


async def test_late_page_of_a_sweep_does_not_undo_an_edit(world: World) -> None:
    await world.open(3000)
    world.control.begin("late:20s,page=1,limit=1000,times=1")
    await world.begin_sweep()
    await world.seconds(0.7)
    expected = [world.edit(world.at(30))]
    await world.poll()
    await world.scanned()
    assert await world.told_after(15) == expected
    assert await world.conditions() == set()


async def test_late_page_of_a_sweep_does_not_restore_a_deleted_record(world: World) -> None:
    await world.open(3000)
    world.control.begin("late:20s,page=1,limit=1000,times=1")
    await world.begin_sweep()
    await world.seconds(0.7)
    expected = [world.delete(world.at(30))]
    await world.poll()
    await world.scanned()
    assert await world.told_after(REMOVAL) == expected
    assert await world.told_after(20) == expected
    assert await world.conditions() == set()


async def test_late_head_page_does_not_restore_a_deleted_record(world: World) -> None:
    await world.open(3000, poll_interval="10m")
    doomed = world.at(30)
    expected: list[str] = []
    world.control.run_during_answer(lambda: expected.append(world.delete(doomed)), "page=1,limit=100")
    world.control.begin("late:20s,page=1,limit=100,times=1")
    poll = asyncio.create_task(world.poll())
    await world.seconds(1)
    await world.sweep()
    await poll
    assert await world.told_after(20) == expected
    assert expected
    assert await world.conditions() == set()


async def test_record_moved_to_an_already_read_page_of_a_sweep_is_updated_not_removed(world: World) -> None:
    await world.open(5000)
    moved, other = world.at(4500), world.at(1500)
    expected: list[str] = []

    def move() -> None:
        person = world.at(2).user if world.at(2).user != moved.user else world.at(60).user
        expected.append(world.edit(moved, user=person, date_number=other.date_number))

    world.control.run_during_answer(move, "page=4,limit=1000")
    mark = world.mark()
    await world.sweep()
    assert await world.told_after(REMOVAL) in ([], expected)
    await world.sweep()
    assert await world.told_after(REMOVAL) == expected
    assert expected
    assert world.questions_since(mark) <= 10
    assert await world.conditions() == set()
