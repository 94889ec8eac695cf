"""Version 1 has no ids: equal records are counted across page boundaries (row 5)."""

from tests.support.detection_world import REMOVAL, World, alike, daily_account


async def test_two_equal_entries_on_both_sides_of_a_page_boundary_are_reported(world: World) -> None:
    account = daily_account(3000, world.true_clock)
    await world.open(account, api="v1")
    now = account.now_ms()
    alike(account, 2, created=now, date_number=world.at(1000).date_number)
    await world.minutes(15)
    assert world.told_types == {"created": 2}
    assert len({event["subject"] for event in world.events}) == 2
    assert await world.known() == 3002
    assert await world.conditions() == set()


async def test_more_equal_records_than_a_page_holds_are_known_and_changes_reported(world: World) -> None:
    account = daily_account(1500, world.true_clock)
    records = alike(account, 1100, created=account.now_ms() - 365 * 86_400_000)
    await world.open(account, api="v1")
    await world.minutes(60)
    assert await world.known() == 2600
    assert world.told == []
    world.delete(records[500])
    await world.minutes(2 * REMOVAL)
    assert world.told_types == {"removed": 1}
    world.edit(records[700], expiry=20301231)
    await world.sweep()
    await world.minutes(REMOVAL)
    assert world.told_types == {"removed": 1, "updated": 1}
    assert await world.known() == 2599
    assert await world.conditions() == set()
