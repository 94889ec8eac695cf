"""When lists of names are fetched, and which names events contain."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from notifier.clock import SystemClock
from notifier.config import SourceSettings
from notifier.events import Completion
from notifier.http.exchange import new_session
from notifier.kpa.client import Client
from notifier.kpa.exchange import HttpExchange
from notifier.kpa.rate_limiter import RateLimiter
from notifier.sandbox import Token
from notifier.store.file.store import FileStore
from notifier.store.tables.names import NameList
from notifier.watch import name_cache as names
from notifier.watch.name_cache import NameCache, WantedIds, lists_to_fetch
from tests.support import names_process
from tests.support.new_state_file import new_state_file
from tests.support.servers import serving

if TYPE_CHECKING:
    from tests.support.clocks import FakeClock
    from tests.support.watched_source import Asked, Station

NOTHING = WantedIds(frozenset(), frozenset())
SOMEONE = WantedIds(frozenset({"5e58"}), frozenset())
SOMETHING = WantedIds(frozenset(), frozenset({"1046"}))
BOTH = {NameList.PEOPLE, NameList.TRAININGS}
NOW = 1_795_280_400_123


def due(people_age: float, trainings_age: float, missing: WantedIds) -> set[NameList]:
    """Return the lists to fetch, given the ages (seconds) of the lists that are stored."""
    fetched = {
        NameList.PEOPLE: NOW - round(people_age * 1000),
        NameList.TRAININGS: NOW - round(trainings_age * 1000),
    }
    return {*lists_to_fetch(fetched, missing, NOW)}


def test_lists_to_fetch_returns_both_lists_at_first() -> None:
    assert {*lists_to_fetch({}, NOTHING, NOW)} == BOTH


def test_lists_to_fetch_returns_a_list_that_is_a_day_old() -> None:
    assert due(86_399, 86_400, NOTHING) == {NameList.TRAININGS}


def test_lists_to_fetch_returns_the_list_of_an_unknown_id_after_ten_minutes() -> None:
    assert due(599, 599, SOMEONE) == set()
    assert due(600, 600, SOMEONE) == {NameList.PEOPLE}
    assert due(600, 600, SOMETHING) == {NameList.TRAININGS}


@given(ages=st.tuples(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6)))
def test_lists_to_fetch_returns_a_list_fetched_in_the_future(ages: tuple[int, int]) -> None:
    found = due(*ages, NOTHING)
    for age, name in zip(ages, names.REQUIRED_LISTS, strict=True):
        assert (name in found) is not (0 <= age < 86_400)


def names_in_event(event: Any) -> tuple[str | None, str | None, str | None]:
    told = json.loads(event.data)["completion"]
    return told["user_name"], told["training_title"], told["instructor_name"]


def requests_for_names(station: "Station") -> list[str]:
    return [asked.method for asked in station.upstream.asked if not asked.method.startswith("completedtrainings")]


async def test_event_waits_for_names_and_contains_them(either: "Station") -> None:
    await either.open(50, names=True)
    await either.watcher.poll()
    person, instructor, training = either.account.users[3], either.account.users[4], either.account.trainings[5]
    either.enter(user=person["id"], instructor=instructor["id"], training=training.ids)
    await either.watcher.poll()
    (event,) = either.events
    assert names_in_event(event) == (
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


async def test_unknown_person_is_fetched_after_ten_minutes_at_the_earliest(station: "Station") -> None:
    await station.open(50, names=True)
    await station.round()
    before = len(requests_for_names(station))
    assert before == 2
    newcomer = {**station.account.users[0], "id": "5e580f0db7806000ffffffff", "firstname": "Ada", "lastname": "New"}
    station.account.users.append(newcomer)
    station.enter(user=newcomer["id"])
    await station.watcher.poll()
    assert names_in_event(station.events[-1])[0] is None
    assert len(requests_for_names(station)) == before
    station.clock.advance(600)
    station.enter(user=newcomer["id"])
    await station.watcher.poll()
    assert names_in_event(station.events[-1])[0] == "Ada New"
    assert requests_for_names(station)[before:] == ["users.list"]


async def test_lists_of_names_are_refreshed_daily_even_if_no_id_is_unknown(station: "Station") -> None:
    await station.open(50, names=True)
    await station.round()
    station.clock.advance(86_400)
    before = len(requests_for_names(station))
    await station.round()
    await station.until(lambda: len(requests_for_names(station)) == before + 2)


async def test_missing_permission_for_trainings_leaves_titles_null_and_is_logged_once(
    station: "Station", caplog: pytest.LogCaptureFixture
) -> None:
    station.options["tokens"] = [Token("sandbox", methods=frozenset({"completedtrainings.v2.list", "users.list"}))]
    await station.open(50, names=True)
    await station.watcher.poll()
    for _ in range(3):
        station.enter()
        await station.watcher.poll()
        station.clock.advance(600)
    assert all(person and title is None for person, title, _ in map(names_in_event, station.events))
    assert len(station.events) == 3
    said = [record for record in caplog.records if "names cannot be fetched" in record.message]
    assert [(record.__dict__["list"], record.__dict__["reason"]) for record in said] == [
        ("trainings", "token_permission")
    ]


async def test_event_is_reported_without_names_if_their_list_is_slow(
    station: "Station", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "MAX_WAIT_SECONDS", 0.05)
    released = asyncio.Event()

    async def hold_names(asked: "Asked") -> web.StreamResponse | None:
        if asked.method == "users.list":
            await released.wait()
        return None

    await station.open(50, names=True)
    await station.watcher.poll()
    station.upstream.interfere = hold_names
    station.enter()
    await station.watcher.poll()
    assert names_in_event(station.events[0])[0] is None
    released.set()
    await station.until(lambda: requests_for_names(station) == ["users.list", "trainings.v2.list"])
    station.enter()
    await station.watcher.poll()
    assert names_in_event(station.events[1])[0]


async def test_watcher_stops_while_names_are_being_fetched(station: "Station") -> None:
    async def hold(asked: "Asked") -> web.StreamResponse | None:
        if asked.method == "users.list":
            await asyncio.Event().wait()
        return None

    station.upstream.interfere = hold
    await station.open(50, names=True)
    await station.watcher.poll()
    await station.watcher.run_followups()
    await station.until(lambda: "users.list" in requests_for_names(station))
    async with asyncio.timeout(20):
        await station.close()


async def test_names_that_cannot_be_stored_do_not_prevent_an_event(station: "Station") -> None:
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
    await station.check_consistency()


async def test_names_are_fetched_before_the_first_sweep(station: "Station", small_pages: int) -> None:
    await station.open(3 * small_pages, names=True)
    await station.round()
    asked = [asked.method for asked in station.upstream.asked]
    assert asked[1:3] == ["users.list", "trainings.v2.list"]
    assert len(asked) > 3


PERSONAL = {
    "created": 1470325236552,
    "email": "dball.acme@example.com",
    "username": "dball",
    "cellPhone": "(555) 555-5555",
    "hireDate": 1345525200000,
    "emergencyContact": "Spouse: (405) 555-1234\nBrother: (918) 555-1234",
    "isDriver": True,
    "role_id": "5804f0f30ef50473af5870ca",
    "clients_id": ["5804f0f40ef50473af588730", "5804f0f40ef50473af738640"],
    "metavalues": {"6s9dfinqcqmowmbhk0": ["1029"], "address": "12 Main Street, Oklahoma City, OK 73102, " * 2},
}


def user(number: int) -> bytes:
    named = {"id": f"{number:024x}", "firstname": "David", "lastname": f"Ball {number}", "employeeNumber": f"D{number}"}
    return json.dumps(named | PERSONAL).encode()


def users(count: int) -> Iterator[bytes]:
    """Yield the pieces of an answer of `users.list`, made while it is sent."""
    rest = user(0).partition(b'"created"')[2]
    yield b'{"ok": true, "users": [' + user(0)
    for start in range(1, count, 500):
        yield b"".join(
            b', {"id": "%024x", "firstname": "David", "lastname": "Ball %d", "employeeNumber": "D%d", "created"%s'
            % (number, number, number, rest)
            for number in range(start, min(start + 500, count))
        )
    yield b"]}"


def refusal(identifier: str) -> Callable[[], Iterable[bytes]]:
    return lambda: [json.dumps({"ok": False, "error": identifier}).encode()]


class Rig:
    """A `NameCache` with its own state file and an API whose answers the test sets."""

    def __init__(self, client: Client, store: FileStore, clock: "FakeClock", api: "NamesApi") -> None:
        self.client = client
        self.store = store
        self.clock = clock
        self.api = api
        self.restart()

    def restart(self) -> None:
        """Make a new `NameCache` on the same state file."""
        self.book = NameCache("acme", SourceSettings(token=SecretStr("sandbox")), self.client, self.store, self.clock)

    async def fetch(self) -> None:
        await self.book.refresh()
        await self.book.wait_for_fetch()

    async def name_of(self, number: int) -> str | None:
        """Return one person's name, requested in the same way as for an event about this person."""
        id_ = f"{number:024x}"
        found = await self.book.names_for([Completion("1", "1046", id_, None, None, None, None, None, "", None, b"{}")])
        return found.people.get(id_)

    async def query(self, sql: str) -> list[tuple[Any, ...]]:
        return await self.store.run(lambda db: db.execute(sql).fetchall())


class NamesApi:
    """Answers each method with its pieces, and waits after each piece until `let` is set."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []
        self.let = asyncio.Event()
        self.let.set()
        self.answers: dict[str, Callable[[], Iterable[bytes]]] = {
            "users.list": lambda: users(10),
            "trainings.v2.list": lambda: [b'{"ok": true, "trainings": [{"id": 1046, "title": "Ladder Safety"}]}'],
        }

    async def handle(self, request: web.Request) -> web.StreamResponse:
        method = request.path.rpartition("/")[2]
        self.asked.append(method)
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in self.answers[method]():
            await response.write(piece)
            await self.let.wait()
        return response


@pytest.fixture
async def api(resources: AsyncExitStack) -> NamesApi:
    served = NamesApi()
    app = web.Application()
    app.router.add_post("/{method}", served.handle)
    url = await resources.enter_async_context(serving(app, handler_cancellation=True))
    served.url = url
    return served


@pytest.fixture
async def rig(api: NamesApi, tmp_path: Path, clock: "FakeClock", resources: AsyncExitStack) -> AsyncIterator[Rig]:
    store = FileStore(new_state_file(tmp_path / "notifier.db"))
    await store.open()
    resources.push_async_callback(store.close)
    session = await resources.enter_async_context(new_session())
    settings = SourceSettings.model_validate({"base_url": api.url, "token": "sandbox"})
    made = Rig(Client(HttpExchange(session, settings), settings, RateLimiter(10**7, SystemClock())), store, clock, api)
    yield made
    await made.book.stop()


async def test_truncated_list_of_people_is_stored_as_failed_and_keeps_its_first_names(rig: Rig) -> None:
    rig.api.answers["users.list"] = lambda: [*users(2_400)][:-1]
    await rig.fetch()
    [(count,)] = await rig.query("SELECT count(*) FROM people")
    assert 2_000 <= count < 2_400
    assert await rig.query("SELECT outcome FROM names_fetched WHERE list = 'people'") == [("not_json",)]
    assert await rig.query("SELECT outcome FROM names_fetched WHERE list = 'trainings'") == [("ok",)]


async def test_unknown_id_is_fetched_every_ten_minutes_despite_wall_clock_changes(
    rig: Rig,
) -> None:
    await rig.fetch()
    for _ in range(3):
        rig.clock.set_wall_clock(-3600)
        assert await rig.name_of(99) is None
    assert rig.api.asked.count("users.list") == 1
    rig.clock.advance(600)
    for _ in range(3):
        assert await rig.name_of(99) is None
        rig.clock.set_wall_clock(3600)
    assert rig.api.asked.count("users.list") == 2


async def test_full_disk_does_not_cause_a_request_for_names_in_every_round(rig: Rig) -> None:
    rig.api.answers["users.list"] = lambda: users(5_000)
    await rig.query("PRAGMA max_page_count = 1")
    for _ in range(10):
        await rig.fetch()
        rig.clock.advance(50)
    assert sorted(rig.api.asked) == ["trainings.v2.list", "users.list"]
    await rig.query("PRAGMA max_page_count = 1000000")
    rig.clock.advance(100)
    assert await rig.name_of(4_999) == "David Ball 4999"


async def test_missing_permission_is_logged_once_until_the_list_works_again(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    def said() -> int:
        return sum("names cannot be fetched" in record.message for record in caplog.records)

    allowed = rig.api.answers["users.list"]
    for answer, times in ((refusal("token_permission"), 1), (allowed, 1), (refusal("token_permission"), 2)):
        rig.api.answers["users.list"] = answer
        for _ in range(2):
            rig.restart()
            await rig.fetch()
            rig.clock.advance(86_400)
        assert said() == times


async def test_events_share_one_wait_for_a_slow_list(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "MAX_WAIT_SECONDS", 0.3)
    rig.api.let.clear()
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(5):
        assert await rig.name_of(3) is None
    assert 0.3 <= loop.time() - began < 0.9
    rig.api.let.set()
    await rig.book.wait_for_fetch()
    assert await rig.name_of(3) == "David Ball 3"


async def test_name_cache_stopped_during_a_fetch_works_after_a_restart(rig: Rig) -> None:
    rig.api.let.clear()
    await rig.book.refresh()
    while not rig.api.asked:
        await asyncio.sleep(0.001)
    await rig.book.stop()
    rig.restart()
    rig.api.let.set()
    assert await rig.name_of(3) == "David Ball 3"


@pytest.mark.parametrize("cut", [None, -1], ids=["whole", "cut off"])
async def test_other_personal_data_of_people_is_not_stored_or_logged(
    rig: Rig, caplog: pytest.LogCaptureFixture, cut: int | None
) -> None:
    caplog.set_level(logging.DEBUG)
    rig.api.answers["users.list"] = lambda: [*users(1_500)][:cut]
    await rig.fetch()
    kept = b"".join(path.read_bytes() for path in rig.store.path.parent.iterdir()) + caplog.text.encode()
    assert b"David Ball 999" in kept
    for personal in (b"dball", b"(555)", b"Spouse", b"Main Street", b"5804f0f3"):
        assert personal not in kept


async def test_100000_people_are_read_with_little_memory_and_without_long_delays(api: NamesApi, tmp_path: Path) -> None:
    sent = 0

    def hundred_thousand() -> Iterator[bytes]:
        nonlocal sent
        for piece in users(100_000):
            sent += len(piece)
            yield piece

    api.answers["users.list"] = hundred_thousand
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        names_process.__file__,
        api.url,
        str(tmp_path / "notifier.db"),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await child.communicate()
    found = json.loads(output)
    assert found["people"] == 100_000
    assert sent > 55 * 2**20
    # Far less than the body. On a busy machine, more of the body waits to be read.
    assert found["grown"] < 40
    # 40 ms of 4 s, most of it the interpreter's garbage collection; parsing the body at once takes half the time.
    assert found["held"] < found["seconds"] / 20
