"""A list that cannot be searched: a condition names it, and sweeps replace the search (rows 18 and 19)."""

from itertools import cycle

import pytest

from notifier.sandbox import Account
from tests.support.detection_world import World, alike, created, daily_account


def with_import_day(world: World, records: int, others: int) -> Account:
    """Make an account in which `records` records of many people and trainings have the same date."""
    account = daily_account(others, world.true_clock)
    imported = alike(account, records)
    for record, person, training in zip(imported, cycle(account.users), cycle(account.trainings), strict=False):
        account.edit(record.id, user=person["id"], training=training.ids)
    return account


async def test_sweep_without_changes_asks_no_precise_questions_if_ties_are_shuffled(world: World) -> None:
    await world.open(with_import_day(world, 1300, 6000))
    world.control.begin("shuffled-ties")
    mark = world.mark()
    await world.sweep()
    assert world.questions_since(mark) == 0
    assert await world.told_after(10) == []
    assert not await world.conditions() & {"removals_held", "count_unexplained"}


async def test_deletions_are_reported_if_ties_are_shuffled(world: World) -> None:
    await world.open(with_import_day(world, 1300, 500))
    world.control.begin("shuffled-ties")
    imported = [record for record in world.account.records() if record.date_number == world.at(1000).date_number]
    expected = [world.delete(imported[number]) for number in (300, 1100)]
    mark = world.mark()
    assert sorted(await world.told_after(180)) == sorted(expected)
    assert world.questions_since(mark) <= 200
    world.control.end()
    await world.minutes(70)
    assert await world.conditions() == set()


async def test_list_sorted_oldest_first_is_swept_instead_and_raises_a_condition(world: World) -> None:
    await world.open(2000)
    await world.minutes(5)
    world.control.begin("oldest-first")
    expected: list[str] = []
    for place in (1000, 600, 1400):
        expected += created(world.enter(like=world.at(place)))
        assert await world.told_after(15) == expected
    expected.append(world.delete(world.at(800)))
    assert await world.told_after(30) == expected
    assert "list_unsearchable" in await world.conditions()
    world.control.end()
    await world.minutes(70)
    assert world.told == expected
    assert await world.conditions() == set()


@pytest.mark.parametrize("cap", [100, 250])
async def test_change_below_the_head_is_found_if_pages_are_capped(world: World, cap: int) -> None:
    await world.open(5000, f"capped:{cap}")
    await world.minutes(5)
    mark = world.mark()
    expected: list[str] = []
    for place in (2500, 1500):
        expected += created(world.enter(like=world.at(place)))
        assert await world.told_after(15) == expected
    expected.append(world.delete(world.at(2000)))
    assert await world.told_after(30) == expected
    assert len(world.asked_since(mark)) <= 60 * 30
    assert not await world.conditions() - {"list_unsearchable"}
