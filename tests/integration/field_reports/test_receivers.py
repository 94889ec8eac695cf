"""Receivers that accept nothing, were renamed, or ask for absurd waits: it is reported, and no event is lost."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from notifier.store.file.connection import open_file_read_only
from notifier.store.queries.orphans import orphans

if TYPE_CHECKING:
    from tests.support.detection_world import World

REFUSALS = [404, 422, 499]
"""A few of the statuses that only mean a refusal; `test_conformance` shows that the others are handled alike."""


@pytest.mark.parametrize("status", REFUSALS)
async def test_receiver_that_refuses_every_event_is_failing_whatever_the_status(world: "World", status: int) -> None:
    await world.open(50)
    world.answer = lambda: web.Response(status=status)
    records = [world.enter() for _ in range(8)]
    assert "destination_failing" in await world.wait_for_condition("destination_failing", 25)
    world.answer = web.Response
    assert sorted(await world.told_after(70)) == sorted(f"created {record.id}" for record in records)
    assert await world.conditions() == set()


async def test_single_refusal_among_accepted_events_raises_no_condition(world: "World") -> None:
    await world.open(50)
    answers = iter([422])
    world.answer = lambda: web.Response(status=next(answers, 200))
    records = [world.enter() for _ in range(8)]
    assert sorted(await world.told_after(30)) == sorted(f"created {record.id}" for record in records)
    assert await world.conditions() == set()


async def test_events_for_a_renamed_destination_are_reported_and_can_be_moved(
    world: "World", tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await world.open(50)
    world.answer = lambda: web.Response(status=503)
    waiting = [world.enter() for _ in range(2)]
    await world.minutes(3)
    world.destination = "hr-system"
    await world.reload()
    warning = "2 events wait for `hr`, which is not configured"
    assert [record.message for record in caplog.records if warning in record.message]
    assert await world.conditions() == {"deliveries_orphaned"}
    (condition,) = (await world.daemon.operations.status())["conditions"]
    assert condition["subject"] == "destinations/hr"
    assert "notifier deliveries move hr OTHER" in condition["summary"]
    caplog.clear()
    await world.restart()
    assert [record.message for record in caplog.records if warning in record.message]
    world.answer = web.Response
    new = world.enter()
    assert await world.told_after(3) == [f"created {new.id}"]
    moved = await world.daemon.deliveries.move("hr", "hr-system")
    assert moved.body["deliveries"] == 2
    assert sorted(await world.told_after(3)) == sorted(f"created {record.id}" for record in (*waiting, new))
    assert await world.conditions() == set()
    with open_file_read_only(tmp_path / "notifier.db") as db:
        assert orphans(db, ["hr-system"]) == []


@pytest.mark.parametrize("wait", ["86400", "1795280400", "1795280400000", "999999999999999999999"])
async def test_absurd_retry_after_of_a_single_answer_is_not_obeyed(world: "World", wait: str) -> None:
    await world.open(50)
    answers = iter([web.Response(status=429, headers={"Retry-After": wait})])
    world.answer = lambda: next(answers, web.Response())
    record = world.enter()
    assert await world.told_after(30) == [f"created {record.id}"]
