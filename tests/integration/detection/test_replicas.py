"""An earlier form is no news at first sight (rows 12 and 13)."""

from tests.support.detection_world import REMOVAL, World, created


async def settle(world: World) -> list[str]:
    """Let people edit, delete and enter, at the head and below it, and wait until all of it is told."""
    await world.open(3000)
    edited = [world.edit(world.at(place)) for place in (5, 10, 15)]
    deleted = [world.delete(world.at(place)) for place in (20, 25)]
    entered = created(*(world.enter() for _ in range(3)))
    told = await world.told_after(REMOVAL + 1)
    assert sorted(told) == sorted([*edited, *deleted, *entered])
    return told


async def test_answers_as_of_minutes_ago_tell_nothing(world: World) -> None:
    expected = await settle(world)
    world.control.begin("stale:30m,for=4m")
    await world.minutes(0.5)
    await world.begin_sweep()
    assert await world.told_after(25) == expected
    assert await world.conditions() == set()


async def test_head_that_is_stale_for_four_minutes_tells_nothing(world: World) -> None:
    expected = await settle(world)
    world.control.begin("stale:30m,limit=100,for=4m")
    assert await world.told_after(25) == expected
    # The pages of one record beside the head are not stale: each poll's two answers disagree.
    assert await world.conditions() <= {"answers_disagree"}


async def test_head_that_is_stale_at_every_other_poll_tells_nothing_and_is_a_condition(world: World) -> None:
    expected = await settle(world)
    world.control.begin("stale:2h,limit=100,every=2,for=30m")
    seen = await world.wait_for_condition("answers_disagree", 25)
    assert world.told == expected
    assert "answers_disagree" in seen
    assert await world.told_after(100) == expected
    assert await world.conditions() == set()


async def test_head_that_shows_what_a_record_was_before_its_removal_tells_nothing(world: World) -> None:
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


async def test_every_other_answer_that_is_stale_tells_nothing(world: World) -> None:
    expected = await settle(world)
    world.control.begin("stale:2h,every=2,for=4m")
    await world.begin_sweep()
    assert await world.told_after(25) == expected
    assert await world.conditions() == set()


async def test_precise_answers_that_are_stale_delay_a_removal_and_lose_none(world: World) -> None:
    await world.open(3000)
    world.control.begin("stale:2h,of=precise,for=20m")
    expected = [world.delete(world.at(1500))]
    assert await world.told_after(25 + 60) == expected
    assert await world.conditions() == set()


async def test_edit_that_is_taken_back_is_told_after_a_second_look(world: World) -> None:
    await world.open(3000)
    record = world.at(20)
    expected = [world.edit(record)]
    assert await world.told_after(2) == expected
    world.edit(record, notes=record.notes)
    assert await world.told_after(REMOVAL) == [*expected, *expected]
    assert await world.conditions() == set()
