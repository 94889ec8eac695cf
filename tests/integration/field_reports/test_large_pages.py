"""Answers that are too large or too slow: smaller pages are requested, down to one record, and the sweep completes."""

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from notifier.kpa import client

if TYPE_CHECKING:
    from tests.support.detection_world import World

LIMIT = 256 * 1024
"""Instead of 32 MiB, so that the tests are faster."""


@pytest.fixture(autouse=True)
def _small_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_PAGE_LIMIT_BYTES", LIMIT)


def sign(world: "World", signature_bytes: int, **chosen: Any) -> None:
    """Give records signatures of this size: all of them, or those at the chosen places."""
    places = chosen.get("places")
    for place, record in enumerate([*world.account.records()], start=1):
        if places is None or place in places:
            world.account.edit(record.id, overrides={"signature": {"image": "x" * signature_bytes}})


async def test_sweep_completes_with_smaller_pages_when_every_page_is_too_large(world: "World") -> None:
    await world.open(2500)
    sign(world, 1000)
    world.account.edit(world.at(2400).id, notes="corrected")
    mark = world.mark()
    await world.sweep()
    assert [told for told in world.told if told.startswith("updated")] == [f"updated {world.at(2400).id}"]
    assert (await world.source())["unreadable"] == 0
    assert await world.conditions() == set()
    large = [asked for asked in world.asked_since(mark) if asked.limit == 1000]
    # The size that works is remembered: only the two pages that are requested together exceed the limit.
    assert 1 <= len(large) <= 2
    assert {asked.limit for asked in world.asked_since(mark)} <= {1000, 500, 250, 125, 100, 1}


async def test_record_larger_than_any_answer_is_counted_as_unreadable_and_skipped(world: "World") -> None:
    await world.open(1500)
    sign(world, 2 * LIMIT, places={700})
    below = world.at(1200)
    world.account.edit(below.id, notes="corrected")
    await world.sweep()
    assert world.told == [f"updated {below.id}"]
    source = await world.source()
    assert source["unreadable"] == 1
    assert "too large" in source["unreadable_example"]["problem"]
    assert await world.conditions() == {"records_unreadable"}
    assert await world.told_after(60) == [f"updated {below.id}"]
    assert (await world.source())["unreadable"] == 1
    world.account.edit(world.at(700).id, overrides=None)
    await world.sweep()
    await world.sweep()
    assert await world.conditions() == set()
    assert world.told == [f"updated {below.id}"]


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_too_large_newest_record_does_not_stop_polls_and_count_checks(world: "World", api: str) -> None:
    await world.open(300, api=api)
    sign(world, 2 * LIMIT, places={1})
    await world.minutes(3)
    assert (await world.source())["state"] == "ok"
    world.enter()
    assert [told.partition(" ")[0] for told in await world.told_after(3)] == ["created"]
    # The count comes from the record below it, so a change below the head is found.
    world.delete(world.at(250))
    assert [told.partition(" ")[0] for told in await world.told_after(15)] == ["created", "removed"]


async def test_page_that_times_out_is_requested_in_smaller_pages(world: "World") -> None:
    await world.open(2500, timeout="5s")
    world.slow = lambda asked: 20.0 if asked.limit > 250 else 0.1
    world.account.edit(world.at(2400).id, notes="corrected")
    await world.sweep()
    assert world.told == [f"updated {world.at(2400).id}"]
    assert await world.conditions() == set()


async def test_api_that_always_times_out_is_not_asked_for_ever_smaller_pages(world: "World") -> None:
    await world.open(300, timeout="5s")
    mark = world.mark()
    world.slow = lambda _: 20.0
    await asyncio.sleep(240)
    assert {asked.limit for asked in world.asked[mark:]} == {100, 1}
    assert (await world.source())["last_error"]["reason"] == "timeout"


async def test_single_timeout_does_not_reduce_the_page_size(world: "World") -> None:
    await world.open(300, timeout="5s")
    mark = world.mark()
    late = iter([20.0])
    world.slow = lambda _: next(late, 0.0)
    await world.minutes(5)
    assert {asked.limit for asked in world.asked_since(mark)} <= {100, 1000, 1}
    assert (await world.source())["state"] == "ok"
