"""Stale answers: an earlier form of a record is not reported before a second look (rows 12 and 13)."""

from tests.support.detection_world import REMOVAL, World, created


async def settle(world: World) -> list[str]:
    """Edit, delete and enter records, at the head and below it, and wait until all changes are reported."""
    await world.open(3000)
    edited = [world.edit(world.at(place)) for place in (5, 10, 15)]
    deleted = [world.delete(world.at(place)) for place in (20, 25)]
    entered = created(*(world.enter() for _ in range(3)))
    told = await world.told_after(REMOVAL + 1)
    assert sorted(told) == sorted([*edited, *deleted, *entered])
    return told


async def test_answers_that_are_30_minutes_stale_cause_no_events(world: World) -> None:
    expected = await settle(world)
    world.control.begin("stale:30m,for=4m")
    await world.minutes(0.5)
    await world.begin_sweep()
    assert await world.told_after(25) == expected
    assert await world.conditions() == set()


async def test_head_page_that_is_stale_for_four_minutes_causes_no_events(world: World) -> None:
    expected = await settle(world)
    world.control.begin("stale:30m,limit=100,for=4m")
    assert await world.told_after(25) == expected
    # The pages of one record beside the head are not stale: each poll's two answers disagree.
    assert await world.conditions() <= {"answers_disagree"}


async def test_head_page_stale_at_every_other_poll_causes_a_condition_and_no_events(world: World) -> None:
    expected = await settle(world)
    world.control.begin("stale:2h,limit=100,every=2,for=30m")
    seen = await world.wait_for_condition("answers_disagree", 25)
    assert world.told == expected
    assert "answers_disagree" in seen
    assert await world.told_after(100) == expected
    assert await world.conditions() == set()


async def test_stale_head_page_with_a_record_from_before_its_removal_causes_no_events(world: World) -> None:
    await world.open(3000)
    record = world.at(5)
    expected = [world.delete(record)]
    assert await world.told_after(REMOVAL) == expected
    world.control.edits.restore()
    world.edit(record)
    expected += created(record)
    assert await world.told_after(REMOVAL) == expected
    world.control.begin("stale:2h,limit=100,for=4m")
    assert await world.told_after(25) == expected
    assert await world.conditions() <= {"answers_disagree"}


async def test_every_other_answer_stale_for_four_minutes_causes_no_events(world: World) -> None:
    expected = await settle(world)
    world.control.begin("stale:2h,every=2,for=4m")
    await world.begin_sweep()
    assert await world.told_after(25) == expected
    assert await world.conditions() == set()


async def test_stale_precise_answers_delay_a_removal_but_do_not_lose_it(world: World) -> None:
    await world.open(3000)
    world.control.begin("stale:2h,of=precise,for=20m")
    expected = [world.delete(world.at(1500))]
    assert await world.told_after(25 + 60) == expected
    assert await world.conditions() == set()


async def test_reverted_edit_is_reported_after_a_second_look(world: World) -> None:
    await world.open(3000)
    record = world.at(20)
    expected = [world.edit(record)]
    assert await world.told_after(2) == expected
    world.edit(record, notes=record.notes)
    assert await world.told_after(REMOVAL) == [*expected, *expected]
    assert await world.conditions() == set()
