"""Too many arrivals, changes or removals at once are held, and one command releases them (rows 20 and 21)."""

import pytest

from notifier.sandbox import Account, Override, synthetic_account
from tests.support.detection_world import REMOVAL, World

FEW = 20
"""Records that a search may find and report before it is clear how many there are."""


def with_files(world: World, records: int) -> Account:
    """Make an account in which every other record has an attachment."""
    account = synthetic_account(records, now_ms=world.true_clock.now_ms)
    for record in [*account.records()][::2]:
        account.edit(record.id, files=({"name": "certificate.pdf"},))
    return account


async def test_field_that_is_absent_from_every_record_is_not_compared(world: World) -> None:
    await world.open(with_files(world, 2000))
    world.control.begin("no-files:for=10m")
    await world.sweep()
    await world.minutes(15)
    await world.sweep()
    assert await world.told_after(5) == []
    assert await world.conditions() == set()


async def test_cleared_note_is_reported_although_the_api_leaves_out_empty_fields(world: World) -> None:
    account = synthetic_account(200, now_ms=world.true_clock.now_ms)
    records = [*account.records()]
    for record in records:
        account.edit(record.id, overrides={"notes": Override.ABSENT, "files": Override.ABSENT})
    account.edit(records[20].id, notes="expires with the contract", overrides={"files": Override.ABSENT})
    await world.open(account)
    cleared = world.edit(records[20], notes="", overrides={"notes": Override.ABSENT, "files": Override.ABSENT})
    assert await world.told_after(3) == [cleared]
    assert world.events[-1]["data"]["previous"] == {"notes": "expires with the contract"}
    assert await world.conditions() == set()


async def test_field_that_the_api_stops_sending_is_not_reported_as_cleared(world: World) -> None:
    await world.open(with_files(world, 300))
    world.control.begin("no-files")
    for _ in range(12):
        for _ in range(8):
            world.enter()
        await world.minutes(2)
    assert {event.split()[0] for event in await world.told_after(5)} == {"created"}


async def test_same_change_in_every_record_is_held_and_dropped_when_it_is_reverted(world: World) -> None:
    await world.open(2000)
    fault = world.control.begin("capitals:limit=1000")
    await world.sweep()
    assert "changes_held" in await world.conditions()
    assert world.told == []
    world.control.end(fault)
    await world.sweep()
    assert await world.told_after(5) == []
    assert await world.conditions() == set()


@pytest.mark.parametrize("silently", [True, False])
async def test_release_of_changes_reports_them_or_accepts_them_silently(world: World, *, silently: bool) -> None:
    await world.open(1000)
    # Notes of records beyond the first page: a head poll sees none of them.
    records = [*world.account.records()]
    changed = [world.edit(record, notes="migrated") for record in records[200:400]]
    await world.sweep()
    assert "changes_held" in await world.conditions()
    assert world.told == []
    another = world.edit(records[500], expiry=20301231)
    await world.release("changes", silently=silently)
    assert sorted(await world.told_after(5)) == ([another] if silently else sorted([*changed, another]))
    await world.sweep()
    assert await world.conditions() == set()
    assert len(world.told) == (1 if silently else 201)


async def test_silent_release_learns_further_changes_of_the_field_on_later_pages(world: World) -> None:
    await world.open(3000)
    records = [*world.account.records()]
    for record in records[200:400]:
        world.edit(record, notes="migrated")
    await world.sweep()
    assert "changes_held" in await world.conditions()
    # The migration goes on, far below the changes that are held back.
    for record in [*records[1500:1700], *records[2500:2510]]:
        world.edit(record, notes="migrated")
    another = world.edit(records[1450], expiry=20301231)
    await world.release("changes", silently=True)
    assert await world.told_after(5) == [another]
    await world.sweep()
    assert world.told == [another]
    assert await world.conditions() == set()


async def test_hold_of_500_hidden_records_ends_when_they_return_despite_unreadable_ones(world: World) -> None:
    await world.open(5000, "unreadable:5")
    fault = world.control.begin("hidden:500")
    assert "removals_held" in await world.wait_for_condition("removals_held", 15)
    await world.scanned()
    mark = world.mark()
    world.control.end(fault)
    await world.minutes(4)
    assert await world.conditions() == {"records_unreadable"}
    assert world.told == []
    assert world.questions_since(mark) == 0


@pytest.mark.parametrize("silently", [True, False])
async def test_release_of_removals_reports_them_or_accepts_them_silently(world: World, *, silently: bool) -> None:
    await world.open(3000)
    removed = [world.delete(record) for record in [*world.account.records()][500:700]]
    await world.sweep()
    assert "removals_held" in await world.wait_for_condition("removals_held", REMOVAL)
    assert world.told == []
    await world.release("removals", silently=silently)
    assert sorted(await world.told_after(REMOVAL)) == ([] if silently else sorted(removed))
    assert await world.known() == 2800
    assert await world.conditions() == set()


@pytest.mark.parametrize("silently", [True, False])
async def test_import_of_old_records_is_held_and_released(world: World, *, silently: bool) -> None:
    await world.open(3000)
    world.control.edits.enter(300, held_days_ago=400, entered_days_ago=400)
    await world.minutes(15)
    assert "arrivals_held" in await world.wait_for_condition("arrivals_held", 10)
    # A search may find a few of them first: so few are reported without a hold.
    early = len(world.told)
    assert early < FEW
    await world.release("arrivals", silently=silently)
    await world.minutes(5)
    assert len(world.told) == (early if silently else 300)
    assert set(world.told_types) <= {"created"}
    assert await world.known() == 3300
    assert await world.conditions() == set()


async def test_import_of_records_entered_now_is_not_held(world: World) -> None:
    await world.open(3000)
    world.control.edits.enter(300, held_days_ago=400)
    await world.minutes(15)
    assert world.told_types == {"created": 300}
    assert await world.conditions() == set()


async def test_held_change_of_a_deleted_record_is_not_reported_at_release(world: World) -> None:
    await world.open(1000)
    edited = [*world.account.records()][200:400]
    for record in edited:
        world.edit(record, notes="migrated")
    await world.sweep()
    assert "changes_held" in await world.conditions()
    removed = world.delete(edited[5])
    assert await world.told_after(REMOVAL) == [removed]
    await world.release("changes")
    assert len(await world.told_after(5)) == 200
    assert await world.conditions() == set()


async def test_import_undone_while_held_is_not_reported(world: World) -> None:
    await world.open(3000)
    entered = world.control.edits.enter(300, held_days_ago=400, entered_days_ago=400)
    assert "arrivals_held" in await world.wait_for_condition("arrivals_held", 25)
    early = len(world.told)
    for record in entered:
        world.delete(record)
    assert "removals_held" in await world.wait_for_condition("removals_held", 25)
    await world.release("removals")
    await world.minutes(15)
    assert world.told_types["created"] == early == world.told_types["removed"]
    assert await world.known() == 3000
    assert await world.conditions() == set()


async def test_incomplete_sweep_ends_no_hold_and_keeps_the_requested_release(world: World) -> None:
    await world.open(3000)
    records = [*world.account.records()]
    removed = [world.delete(record) for record in records[500:700]]
    assert "removals_held" in await world.wait_for_condition("removals_held", 25)
    fault = world.control.begin(f"short:#{records[1500].id}")
    await world.sweep()
    assert "removals_held" in await world.conditions()
    await world.release("removals")
    await world.scanned()
    assert await world.told_after(5) == []
    assert "removals_held" in await world.conditions()
    world.control.end(fault)
    await world.sweep()
    assert sorted(await world.told_after(5)) == sorted(removed)
    assert await world.conditions() == set()
