"""Fields in unexpected forms: a record with a readable person, training and date is reported, others are counted."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from notifier.daemon.api.record import known_histories
from notifier.store.file.connection import open_file_read_only
from notifier.web.daemon_api import UnknownRecordError

if TYPE_CHECKING:
    from tests.support.detection_world import World

CASES = json.loads((Path(__file__).parent / "records.json").read_text())["cases"]

UNREADABLE_FIELDS = {
    "special_expiration_date_number": "soon",
    "created": "2026-11-20T10:00:00Z",
    "m_instructor_id": ["a"],
    "notes": 5,
    "files": 2,
}
"""Fields other than person, training and date, with an unreadable form of each."""


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
async def test_record_with_an_odd_field_is_reported_without_it_or_counted_as_unreadable(
    world: "World", case: dict[str, Any]
) -> None:
    await world.open(50)
    record = world.enter(overrides=case["fields"])
    told = await world.told_after(2)
    source = await world.source()
    if case["told"] is None:
        assert told == []
        assert source["unreadable"] == 1
        assert source["unreadable_example"]["record"] == str(record.id)
        assert source["unreadable_example"]["field"] == case["left_out"]
        assert source["state"] == "ok"
        assert await world.conditions() == {"records_unreadable"}
        return
    assert told == [f"created {record.id}"]
    (event,) = world.events
    assert {name: event["data"]["completion"][name] for name in case["told"]} == case["told"]
    assert {name: event["data"]["record"][name] for name in case["fields"]} == case["fields"]
    assert source["unreadable"] == 0
    assert await world.conditions() == set()


async def test_unreadable_record_is_reported_once_it_becomes_readable(world: "World") -> None:
    await world.open(50)
    record = world.enter(overrides={"date_number": "2026-11-20"})
    assert await world.told_after(2) == []
    world.account.edit(record.id, overrides=None)
    assert await world.told_after(2) == [f"created {record.id}"]
    assert (await world.source())["unreadable"] == 0
    assert (await world.source())["unreadable_example"] is None
    assert await world.conditions() == set()


async def test_known_histories_names_the_field_for_which_a_record_is_left_out(world: "World", tmp_path: Path) -> None:
    await world.open(50)
    unknown = world.enter(overrides={"date_number": "2026-11-20"})
    known = world.at(10)
    world.account.edit(known.id, overrides={"date_number": 99999999})
    await world.minutes(2)
    with open_file_read_only(tmp_path / "notifier.db") as db:
        with pytest.raises(UnknownRecordError, match=r"acme has read it, but leaves it out: `date_number`"):
            known_histories(db, str(unknown.id))
        (life,) = known_histories(db, str(known.id))
    assert life.unreadable is not None
    assert "99999999" in life.unreadable.problem


@pytest.mark.parametrize("field", ["date_number", "id"])
async def test_known_records_that_all_become_unreadable_are_not_removed(world: "World", field: str) -> None:
    await world.open(60)
    for record in [*world.account.records()]:
        world.account.edit(record.id, overrides={field: {"in": "another form"}})
    await world.minutes(5)
    source = await world.source()
    assert source["state"] == "failing"
    assert source["last_error"]["reason"] == "records_unreadable"
    assert source["unreadable"] == 60
    assert await world.conditions() >= {"records_unreadable"}
    await world.begin_sweep()
    await world.minutes(20)
    assert await world.conditions() == {"records_unreadable", "source_failing"}
    assert (await world.source())["held"]["removals"]["records"] == 0
    assert world.told == []


@pytest.mark.parametrize("field", ["date_number", "id"])
async def test_unreadable_third_of_the_records_is_not_removed_and_not_unexplained(world: "World", field: str) -> None:
    await world.open(300)
    for record in [*world.account.records()][::3]:
        world.account.edit(record.id, overrides={field: {"in": "another form"}})
    await world.minutes(5)
    await world.sweep()
    await world.minutes(20)
    assert await world.conditions() == {"records_unreadable"}
    source = await world.source()
    assert (source["state"], source["unreadable"], source["unexplained"]) == ("ok", 100, 0)
    gone = world.delete(world.at(2))
    # If a person has a record without an id, this may be the one that seems to be removed.
    assert await world.told_after(10) == ([gone] if field == "date_number" else [])


async def test_field_that_is_temporarily_unreadable_is_not_reported_as_a_change(world: "World") -> None:
    await world.open(60)
    records = [*world.account.records()]
    before = {record.id: record.notes for record in records}
    for record in records:
        world.account.edit(record.id, overrides={"notes": 5, "files": 2})
    await world.sweep()
    for record in records:
        world.account.edit(record.id, overrides=None)
    await world.sweep()
    assert {record.id: record.notes for record in world.account.records()} == before
    assert await world.told_after(10) == []
    assert await world.conditions() == set()


@pytest.mark.parametrize("field", UNREADABLE_FIELDS)
async def test_update_of_a_record_keeps_the_known_value_of_an_unreadable_field(world: "World", field: str) -> None:
    await world.open(60)
    record = world.enter(expiry=20270101, instructor=world.at(1).user, notes="on paper", files=({"name": "a.pdf"},))
    assert await world.told_after(2) == [f"created {record.id}"]
    changed: dict[str, Any] = {"expiry": 20290101} if field == "notes" else {"notes": "corrected"}
    world.account.edit(record.id, **changed, overrides={field: UNREADABLE_FIELDS[field]})
    assert await world.told_after(2) == [f"created {record.id}", f"updated {record.id}"]
    (event,) = world.events[1:]
    assert len(event["data"]["previous"]) == 1
    assert event["data"]["record"][field] == UNREADABLE_FIELDS[field]
    world.account.edit(record.id, overrides=None)
    assert await world.told_after(5) == [f"created {record.id}", f"updated {record.id}"]
    assert await world.conditions() == set()


async def test_change_of_an_unreadable_field_is_reported_later_with_its_previous_value(world: "World") -> None:
    await world.open(60)
    record = world.enter(expiry=20270101)
    await world.minutes(2)
    world.account.edit(record.id, notes="corrected", overrides={"special_expiration_date_number": "soon"})
    await world.minutes(2)
    world.account.edit(record.id, expiry=20280101, overrides=None)
    assert await world.told_after(2) == [f"created {record.id}"] + [f"updated {record.id}"] * 2
    assert world.events[-1]["data"]["previous"] == {"expires_on": "2027-01-01"}


async def test_renumbered_record_keeps_the_known_value_of_an_unreadable_field(world: "World") -> None:
    await world.open(60)
    record = world.at(2)
    world.account.edit(record.id, notes="on paper")
    assert await world.told_after(2) == [f"updated {record.id}"]
    world.account.edit(record.id, overrides={"notes": 5})
    world.control.begin("renumbered")
    await world.minutes(3)
    await world.sweep()
    assert "records_renumbered" in await world.wait_for_condition("records_renumbered", 10)
    world.account.edit(record.id, overrides=None)
    await world.sweep()
    assert await world.told_after(2) == [f"updated {record.id}"]
