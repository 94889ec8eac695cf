"""The balance: each counted record is known, unreadable, or unexplained and searched (rows 3, 7, 15, 16, 25, 26)."""

from tests.support.detection_world import REMOVAL, World, created, daily_account

DAY_MS = 86_400_000


async def test_entry_on_an_already_read_page_of_two_sweeps_is_reported_each_time(world: World) -> None:
    await world.open(5000)
    entered = []
    for _ in range(2):
        world.control.run_during_answer(lambda: entered.append(world.enter(like=world.at(1500))), "page=4,limit=1000")
        await world.sweep()
        assert await world.told_after(5) == created(*entered)
    assert len(entered) == 2
    assert await world.conditions() == set()


async def test_deletion_on_an_already_read_page_of_two_sweeps_is_reported_each_time(world: World) -> None:
    await world.open(5000)
    expected: list[str] = []
    for _ in range(2):
        world.control.run_during_answer(lambda: expected.append(world.delete(world.at(1500))), "page=4,limit=1000")
        await world.sweep()
        assert await world.told_after(REMOVAL) == expected
    assert len(expected) == 2
    assert await world.conditions() == set()


async def test_entry_and_deletion_that_cancel_out_are_found_if_the_api_gives_the_total(world: World) -> None:
    await world.open(5000, "total")
    expected = [*created(world.enter(like=world.at(1200))), world.delete(world.at(4700))]
    mark = world.mark()
    assert await world.told_after(30) == expected
    assert len(world.asked_since(mark)) <= 3 * 30 + 40
    assert await world.conditions() == set()


async def test_total_that_is_one_too_high_hides_no_change_and_causes_few_requests(world: World) -> None:
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


async def test_first_sweep_that_gets_the_same_page_repeatedly_is_completed_later(world: World) -> None:
    await world.begin(4000, "same-page")
    await world.minutes(20)
    assert await world.conditions()
    world.control.end()
    await world.minutes(90)
    assert await world.known() == 4000
    assert world.told == []
    assert await world.conditions() == set()


async def test_entry_and_deletion_on_neighbouring_days_are_reported_by_the_next_sweep(world: World) -> None:
    await world.open(daily_account(5000, world.true_clock))
    expected = [*created(world.enter(like=world.at(2500))), world.delete(world.at(2502))]
    await world.minutes(5)
    await world.sweep()
    assert sorted(await world.told_after(REMOVAL)) == sorted(expected)
    assert await world.conditions() == set()


async def test_record_first_seen_with_a_clock_ahead_is_removed_by_the_next_sweep(world: World) -> None:
    # If the API gives no count, only a sweep can find it.
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


async def test_head_poll_that_failed_midway_is_completed_although_more_records_came(world: World) -> None:
    await world.open(3000, "no-last-page")
    world.control.begin("error:page=2,limit=1000,times=1")
    expected = created(*world.control.edits.enter(1050))
    await world.minutes(1.2)
    assert 0 < len(world.told) < 1050
    expected += created(*world.control.edits.enter(1000))
    assert sorted(await world.told_after(10)) == sorted(expected)
    assert await world.conditions() == set()
