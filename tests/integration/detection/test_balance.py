"""The balance: what the API counts is known, unreadable, or unexplained and looked for (rows 3, 7, 15, 16, 25, 26)."""

from tests.support.detection_world import REMOVAL, World, created, daily_account

DAY_MS = 86_400_000


async def test_entry_behind_the_reading_place_of_two_scans_is_told_each_time(world: World) -> None:
    await world.open(5000)
    entered = []
    for _ in range(2):
        world.control.run_during_answer(lambda: entered.append(world.enter(like=world.at(1500))), "page=4,limit=1000")
        await world.sweep()
        assert await world.told_after(5) == created(*entered)
    assert len(entered) == 2
    assert await world.conditions() == set()


async def test_deletion_behind_the_reading_place_of_two_scans_is_told_each_time(world: World) -> None:
    await world.open(5000)
    expected: list[str] = []
    for _ in range(2):
        world.control.run_during_answer(lambda: expected.append(world.delete(world.at(1500))), "page=4,limit=1000")
        await world.sweep()
        assert await world.told_after(REMOVAL) == expected
    assert len(expected) == 2
    assert await world.conditions() == set()


async def test_entry_and_deletion_that_cancel_out_are_found_where_the_total_is_told(world: World) -> None:
    await world.open(5000, "total")
    expected = [*created(world.enter(like=world.at(1200))), world.delete(world.at(4700))]
    mark = world.mark()
    assert await world.told_after(30) == expected
    assert len(world.asked_since(mark)) <= 3 * 30 + 40
    assert await world.conditions() == set()


async def test_total_that_is_one_too_high_hides_nothing_and_costs_nothing(world: World) -> None:
    await world.open(5050, "total:+1")
    await world.sweep()
    await world.sweep()
    expected = created(world.enter(like=world.at(2500)))
    assert await world.told_after(5) == expected
    expected.append(world.delete(world.at(3500)))
    assert await world.told_after(REMOVAL) == expected
    mark = world.mark()
    await world.minutes(20)
    assert len(world.asked_since(mark)) <= 45
    assert world.told == expected
    assert await world.conditions() == set()


async def test_first_scan_of_the_same_page_again_and_again_is_not_whole_and_is_mended_by_itself(world: World) -> None:
    await world.begin(4000, "same-page")
    await world.minutes(20)
    assert await world.conditions()
    world.control.end()
    await world.minutes(90)
    assert await world.known() == 4000
    assert world.told == []
    assert await world.conditions() == set()


async def test_entry_and_deletion_on_neighbouring_days_are_told_by_the_next_scan(world: World) -> None:
    await world.open(daily_account(5000, world.true_clock))
    expected = [*created(world.enter(like=world.at(2500))), world.delete(world.at(2502))]
    await world.minutes(5)
    await world.sweep()
    assert sorted(await world.told_after(REMOVAL)) == sorted(expected)
    assert await world.conditions() == set()


async def test_record_first_seen_while_our_clock_was_ahead_is_removed_by_the_next_scan(world: World) -> None:
    # Where the API tells no count, only a scan can find it.
    await world.open(3000, "no-last-page")
    await world.minutes(2)
    world.clock.set_by_ms = DAY_MS
    await world.minutes(2)
    record = world.enter(like=world.at(50))
    assert await world.told_after(2) == created(record)
    world.clock.set_by_ms = 0
    await world.minutes(2)
    world.delete(record)
    await world.sweep()
    assert await world.told_after(REMOVAL) == [*created(record), f"removed {record.id}"]
    assert await world.conditions() == set()


async def test_head_poll_that_broke_off_is_caught_up_with_although_a_page_has_come_in_between(world: World) -> None:
    await world.open(3000, "no-last-page")
    world.control.begin("error:page=2,limit=1000,times=1")
    expected = created(*world.control.edits.enter(1050))
    await world.minutes(1.2)
    assert 0 < len(world.told) < 1050
    expected += created(*world.control.edits.enter(1000))
    assert sorted(await world.told_after(10)) == sorted(expected)
    assert await world.conditions() == set()
