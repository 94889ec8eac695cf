"""News or history: after the first whole sweep an unknown record is news, whatever dates it has (rows 4 and 17)."""

from tests.support.detection_world import World, alike, created, daily_account


async def test_entry_made_offline_the_day_before_the_first_sweep_is_reported(world: World) -> None:
    await world.open(300)
    entered = world.control.edits.enter(1, held_days_ago=1, entered_days_ago=1)
    assert await world.told_after(5) == created(*entered)
    assert await world.conditions() == set()


async def test_entry_with_a_creation_time_two_minutes_behind_is_reported(world: World) -> None:
    await world.open(300)
    entered = world.enter(created=world.account.now_ms() - 120_000)
    assert await world.told_after(3) == created(entered)
    assert await world.conditions() == set()


async def test_later_entries_are_reported_although_the_first_date_header_was_a_day_ahead(world: World) -> None:
    await world.begin(3000, "wrong-date:1d,times=1")
    await world.seconds(5)
    entered = [world.enter() for _ in range(2)]
    await world.scanned()
    await world.minutes(3)
    entered.append(world.enter())
    assert sorted(await world.told_after(5)) == sorted(created(*entered))
    assert await world.known() == 3003
    assert await world.conditions() == set()


async def test_existing_records_are_not_reported_although_a_date_header_was_a_day_behind(world: World) -> None:
    account = daily_account(3000, world.true_clock)
    alike(account, 50, created=account.now_ms() - 3_600_000)
    await world.begin(account, "wrong-date:-1d,times=1,after=2s")
    await world.scanned()
    assert await world.told_after(10) == []
    assert await world.conditions() == set()
