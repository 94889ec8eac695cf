"""Which lists of names are worth a request, and what a message is given of them."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.ledger.names import NameList
from notifier.sandbox import Token
from notifier.watch import names
from notifier.watch.names import Wanted, lists_to_fetch

if TYPE_CHECKING:
    from aiohttp import web

    from tests.watch.conftest import Asked, Station

NOTHING = Wanted(frozenset(), frozenset())
SOMEONE = Wanted(frozenset({"5e58"}), frozenset())
SOMETHING = Wanted(frozenset(), frozenset({"1046"}))
BOTH = {NameList.PEOPLE, NameList.TRAININGS}
NOW = 1_795_280_400_123


def due(people_age: float, trainings_age: float, missing: Wanted) -> set[NameList]:
    """Decide which lists to fetch, given the ages (seconds) of what is there."""
    fetched = {
        NameList.PEOPLE: NOW - round(people_age * 1000),
        NameList.TRAININGS: NOW - round(trainings_age * 1000),
    }
    return {*lists_to_fetch(fetched, missing, NOW)}


def test_at_first_everything_is_fetched() -> None:
    assert {*lists_to_fetch({}, NOTHING, NOW)} == BOTH


def test_lists_are_fetched_again_after_a_day() -> None:
    assert due(86_399, 86_400, NOTHING) == {NameList.TRAININGS}


def test_an_unknown_id_is_worth_a_request_every_ten_minutes() -> None:
    assert due(599, 599, SOMEONE) == set()
    assert due(600, 600, SOMEONE) == {NameList.PEOPLE}
    assert due(600, 600, SOMETHING) == {NameList.TRAININGS}


@given(ages=st.tuples(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6)))
def test_a_clock_set_back_makes_a_list_old(ages: tuple[int, int]) -> None:
    found = due(*ages, NOTHING)
    for age, name in zip(ages, NameList, strict=True):
        assert (name in found) is not (0 <= age < 86_400)


def shown(event: Any) -> tuple[str | None, str | None, str | None]:
    told = json.loads(event.data)["completion"]
    return told["user_name"], told["training_title"], told["instructor_name"]


def requests_for_names(station: "Station") -> list[str]:
    return [asked.method for asked in station.upstream.asked if not asked.method.startswith("completedtrainings")]


async def test_an_event_waits_for_names_and_tells_them(either: "Station") -> None:
    await either.open(50, names=True)
    await either.watcher.poll()
    person, instructor, training = either.account.users[3], either.account.users[4], either.account.trainings[5]
    either.enter(user=person["id"], instructor=instructor["id"], training=training.ids)
    await either.watcher.poll()
    (event,) = either.events
    assert shown(event) == (
        f"{person['firstname']} {person['lastname']}",
        training.title,
        f"{instructor['firstname']} {instructor['lastname']}",
    )


async def test_names_are_fetched_once_for_many_events(station: "Station") -> None:
    await station.open(50, names=True)
    await station.watcher.poll()
    for _ in range(3):
        station.enter(20)
        await station.watcher.poll()
    assert sorted(requests_for_names(station)) == ["trainings.v2.list", "users.list"]
    assert len(station.events) == 60


async def test_a_newcomer_is_asked_for_after_ten_minutes_at_the_earliest(station: "Station") -> None:
    await station.open(50, names=True)
    await station.round()
    before = len(requests_for_names(station))
    assert before == 2
    newcomer = {**station.account.users[0], "id": "5e580f0db7806000ffffffff", "firstname": "Ada", "lastname": "New"}
    station.account.users.append(newcomer)
    station.enter(user=newcomer["id"])
    await station.watcher.poll()
    assert shown(station.events[-1])[0] is None
    assert len(requests_for_names(station)) == before
    station.clock.advance(600)
    station.enter(user=newcomer["id"])
    await station.watcher.poll()
    assert shown(station.events[-1])[0] == "Ada New"
    assert requests_for_names(station)[before:] == ["users.list"]


async def test_lists_are_refreshed_daily_though_nothing_is_missing(station: "Station") -> None:
    await station.open(50, names=True)
    await station.round()
    station.clock.advance(86_400)
    before = len(requests_for_names(station))
    await station.round()
    await station.until(lambda: len(requests_for_names(station)) == before + 2)


async def test_a_missing_permission_leaves_ids_and_is_said_once(
    station: "Station", caplog: pytest.LogCaptureFixture
) -> None:
    station.options["tokens"] = [Token("sandbox", methods=frozenset({"completedtrainings.v2.list", "users.list"}))]
    await station.open(50, names=True)
    await station.watcher.poll()
    for _ in range(3):
        station.enter()
        await station.watcher.poll()
        station.clock.advance(600)
    assert all(person and title is None for person, title, _ in map(shown, station.events))
    assert len(station.events) == 3
    said = [record for record in caplog.records if "names cannot be fetched" in record.message]
    assert [(record.__dict__["list"], record.__dict__["reason"]) for record in said] == [
        ("trainings", "token_permission")
    ]


async def test_slow_names_hold_an_event_up_for_a_moment_only(
    station: "Station", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "PATIENCE", 0.05)
    released = asyncio.Event()

    async def hold_names(asked: "Asked") -> "web.StreamResponse | None":
        if asked.method == "users.list":
            await released.wait()
        return None

    await station.open(50, names=True)
    await station.watcher.poll()
    station.upstream.interfere = hold_names
    station.enter()
    await station.watcher.poll()
    assert shown(station.events[0])[0] is None
    released.set()
    await station.until(lambda: requests_for_names(station) == ["users.list", "trainings.v2.list"])
    station.enter()
    await station.watcher.poll()
    assert shown(station.events[1])[0]


async def test_a_watcher_stops_while_names_are_on_their_way(station: "Station") -> None:
    async def hold(asked: "Asked") -> "web.StreamResponse | None":
        if asked.method == "users.list":
            await asyncio.Event().wait()
        return None

    station.upstream.interfere = hold
    await station.open(50, names=True)
    await station.watcher.poll()
    await station.watcher.see_to_the_rest()
    await station.until(lambda: "users.list" in requests_for_names(station))
    async with asyncio.timeout(2):
        await station.close()


async def test_names_that_cannot_be_written_down_do_no_harm(station: "Station") -> None:
    await station.open(50, names=True)
    await station.watcher.poll()
    await station.limit_pages(1)
    station.account.users.extend({**station.account.users[0], "id": f"{number:024x}"} for number in range(3_000))
    station.enter()
    await station.watcher.poll()
    await station.until(lambda: len(requests_for_names(station)) >= 1)
    await station.limit_pages(10**6)
    station.clock.advance(60)
    await station.watcher.poll()
    assert len(station.events) == 1
    await station.check_the_books()


async def test_names_are_fetched_before_the_first_sweep(station: "Station", small_pages: int) -> None:
    await station.open(3 * small_pages, names=True)
    await station.round()
    asked = [asked.method for asked in station.upstream.asked]
    assert asked[1:3] == ["users.list", "trainings.v2.list"]
    assert len(asked) > 3
