"""A watched source: a simulated account, its API with faults on demand, a state file, and a watcher."""

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler
from msgspec.structs import replace

from notifier.alerts import source_rules
from notifier.alerts.conditions import Condition
from notifier.config import Settings
from notifier.daemon.watcher_factory import build_watcher
from notifier.delivery.subscriptions import subscriptions_of
from notifier.kpa.v1_keys import key_without_id
from notifier.sandbox import TOKENS, Account, Record, Token, make_app, serve, synthetic_account
from notifier.store.file.store import FileStore
from notifier.store.tables.sources import SourceMemory, read_or_create
from notifier.watch.limits import DetectionLimits
from notifier.watch.rounds import Round
from notifier.watch.watcher import Watcher
from tests.support.new_state_file import disable_fsync, new_state_file
from tests.support.waiting import until

if TYPE_CHECKING:
    from notifier.events import Event
    from notifier.watch.source_context import RandomSource
    from tests.support.clocks import FakeClock

MAX_ROUNDS = 10

Answer = Callable[[], Awaitable[web.StreamResponse | None]]
"""A function that returns an answer instead of the API's; None lets the API answer."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to the API: the last part of the method's name, and the requested page of the list."""

    method: str
    page: int | None
    limit: int | None
    precise: bool = False
    """Whether the request is limited to the records of one person."""

    @property
    def counts(self) -> bool:
        """Whether the request is that of a count check: a page of one record."""
        return self.limit == 1


@dataclass
class Upstream:
    """A layer between the API and the watcher, where a test can replace the answers to single requests."""

    asked: list[Asked] = field(default_factory=list)
    interfere: Callable[[Asked], Awaitable[web.StreamResponse | None]] | None = None
    under_way: set[asyncio.Task[Any]] = field(default_factory=set)

    @web.middleware
    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        parameters = json.loads(await request.read())
        method = request.path.rpartition("/")[2]
        asked = Asked(method, parameters.get("page"), parameters.get("limit"), "user_id" in parameters)
        self.asked.append(asked)
        task = asyncio.current_task()
        assert task is not None
        self.under_way.add(task)
        answer = await self.interfere(asked) if self.interfere else None
        self.under_way.discard(task)
        return answer or await handler(request)

    def cancel_delayed_requests(self) -> None:
        """Cancel the requests that a test has delayed, so that the server does not wait for them."""
        for task in self.under_way:
            task.cancel()

    def pages(self) -> list[tuple[int | None, int | None]]:
        """Return number and limit of each requested page of the list of completions, without count checks."""
        return [(page, limit) for page, limit in self.requests() if limit != 1]

    def requests(self) -> list[tuple[int | None, int | None]]:
        """Return number and limit of each requested page of the list of completions, including count checks."""
        return [(asked.page, asked.limit) for asked in self.asked if asked.method.startswith("completedtrainings")]

    def fail(self, numbers: Iterable[int], answer: Answer, *, method: str = "completedtrainings") -> None:
        """Replace the answers to these requests, numbered from 1 from now on; count checks are not numbered."""
        chosen = frozenset(numbers)
        count = itertools.count(1)

        async def interfere(asked: Asked) -> web.StreamResponse | None:
            if not asked.method.startswith(method) or asked.counts:
                return None
            return await answer() if next(count) in chosen else None

        self.interfere = interfere


def refuse(identifier: str) -> Answer:
    """Return an answer function that gives an error of the API."""

    async def answer() -> web.StreamResponse:
        return web.json_response({"ok": False, "error": identifier})

    return answer


async def bad_gateway() -> web.StreamResponse:
    """Answer like a proxy that cannot reach its server."""
    return web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")


async def cut_off() -> web.StreamResponse:
    """Answer with half a page."""
    return web.Response(text='{"ok": true, "completedtrainings": [{"id": 1', content_type="application/json")


class Station:
    """The source `acme`, from its account to the state file, with one watcher at a time."""

    large_page = DetectionLimits().large_page

    def __init__(self, folder: Path, version: str, clock: "FakeClock", resources: AsyncExitStack) -> None:
        self.clock = clock
        self.version = version
        self.account = Account(now_ms=clock.now_ms)
        self.upstream = Upstream()
        self.events: list[Event] = []
        self.store = FileStore(new_state_file(folder / "notifier.db"))
        self.detection_limits = DetectionLimits()
        self.options: dict[str, Any] = {"rate_limit": None}
        self.keys: dict[str, Any] = {}
        self.settings: Settings | None = None
        self.destinations: dict[str, dict[str, Any]] = {"hr": {}, "audit": {}}
        self.tokens: dict[str, Token] = {}
        self.chance: RandomSource = random.Random(1).random
        self._folder = folder
        self._resources = resources
        self._url = ""
        self._session: aiohttp.ClientSession | None = None
        self._watcher: Watcher | None = None

    @property
    def watcher(self) -> Watcher:
        assert self._watcher is not None
        return self._watcher

    def conditions(self) -> tuple[Condition, ...]:
        """Return the active conditions of the source."""
        return tuple(source_rules.conditions("acme", self.watcher.report(), (), self.clock.now_ms()))

    async def open(self, records: int | None = None, **keys: Any) -> Watcher:
        """Serve an account of `records` records, and start a watcher; `keys` are settings of the source."""
        if records is not None:
            self.account = synthetic_account(records, now_ms=self.clock.now_ms)
        app = make_app(
            self.account,
            clock=self.clock.monotonic,
            middlewares=[self.upstream.handle],
            **self.options,
        )
        self.tokens = app[TOKENS]
        self._url = await self._resources.enter_async_context(serve(app))
        self._resources.callback(self.upstream.cancel_delayed_requests)
        self._session = await self._resources.enter_async_context(aiohttp.ClientSession())
        self.keys = keys
        await self._open_store()
        self._resources.push_async_callback(self.close)
        return await self.begin()

    async def _open_store(self) -> None:
        await self.store.open()
        await disable_fsync(self.store)

    async def begin(self) -> Watcher:
        """Create and start a new watcher."""
        assert self._session is not None
        defaults = {
            "api": self.version,
            "base_url": self._url,
            "token": "sandbox",
            "requests_per_minute": 10**9,
            "timeout": "30s",
            "names": False,
            "confirm_after": "1s",
        }
        common = {"type": "http", "url": "http://127.0.0.1:9/"}
        destinations = {name: common | filters for name, filters in self.destinations.items()}
        settings = Settings.model_validate({"sources": {"acme": defaults | self.keys}, "destinations": destinations})
        wanted = subscriptions_of(settings.destinations)
        self.settings = settings
        self._watcher = build_watcher(
            settings,
            "acme",
            self._session,
            self.store,
            self.clock,
            lambda: wanted,
            self.events.extend,
            detection_limits=replace(self.detection_limits, large_page=self.large_page),
            chance=self.chance,
        )
        await self._watcher.start()
        return self._watcher

    async def restart(self, **keys: Any) -> Watcher:
        """Stop everything except the API, and start again with the same state file; `keys` are changed settings."""
        await self.close()
        self.store = FileStore(self._folder / "notifier.db")
        await self._open_store()
        self.keys |= keys
        return await self.begin()

    async def kill(self, **keys: Any) -> Watcher:
        """Start again with the same state file, as after a SIGKILL: the old watcher stores nothing at its end."""
        self._watcher = None
        return await self.restart(**keys)

    async def close(self) -> None:
        if self._watcher is not None:
            await self._watcher.stop()
            self._watcher = None
        await self.store.close()

    async def round(self) -> Round:
        """Poll once as the daemon does at every interval, and wait until the follow-up work is done."""
        done = await self.watcher.poll()
        await self.watcher.run_followups()
        await self.quiet()
        return done

    async def settle(self) -> None:
        """Repeat rounds, a little more than `confirm_after` apart, until no record waits for a second look."""
        # A search rests for some seconds after the one before.
        self.clock.advance(60)
        for _ in range(MAX_ROUNDS):
            self.clock.advance(2)
            await self.round()
            if not self.waits():
                return
        raise AssertionError("something still waits for a second look")

    def waits(self) -> list[str]:
        """Return the keys of the records that wait for a second look."""
        return [look.key for look in self.watcher.second_looks.by_key.values() if look.since_ms is not None]

    async def quiet(self) -> None:
        """Wait until no sweep and no search is under way."""
        await self.until(lambda: not self.watcher.is_sweeping and not self.watcher.is_searching)

    async def until(self, condition: Callable[[], bool]) -> None:
        await until(condition, pause=0.002)

    def enter(self, count: int = 1, **fields: Any) -> list[Record]:
        """Add `count` completions to the account, a millisecond apart. `fields` replace the default values."""
        people = [person["id"] for person in self.account.users]
        trainings = [training.ids for training in self.account.trainings]
        entered = []
        for number in range(count):
            self.clock.advance(0.001)
            defaults = {"user": people[number % len(people)], "training": trainings[number % len(trainings)]}
            entered.append(self.account.add(**(defaults | fields)))
        return entered

    def told(self) -> list[str]:
        """Return the subjects of the events so far, in order."""
        return [event.subject for event in self.events]

    def told_types(self) -> Counter[str]:
        return Counter(event.type for event in self.events)

    @property
    def day(self) -> str:
        """The API's name for the field with the completion day."""
        return "date_number" if self.version == "v2" else "dateNumber"

    def key(self, record: Record) -> str:
        """Return the key of a record. The account must have no identical record."""
        if self.version == "v2":
            return str(record.id)
        return key_without_id(record.user, record.training.v1, record.created)

    def keys_of(self, records: Sequence[Record]) -> list[str]:
        return [self.key(record) for record in records]

    async def memory(self) -> SourceMemory:
        return await self.store.run(read_or_create, "acme")

    async def query(self, sql: str) -> list[tuple[Any, ...]]:
        return await self.store.run(lambda db: db.execute(sql).fetchall())

    async def check_consistency(self) -> None:
        """Check that each event was passed on once and has its deliveries, and that the count of records is right."""
        written = [row[0] for row in await self.query("SELECT id FROM events ORDER BY sequence")]
        assert [event.id for event in self.events] == written
        assert len(set(written)) == len(written)
        deliveries = await self.query("SELECT sequence, count(DISTINCT destination) FROM deliveries GROUP BY 1")
        assert {count for _, count in deliveries} <= {2}
        assert len(deliveries) == len(written)
        existing = await self.query("SELECT count(*) FROM records WHERE removed_at IS NULL")
        assert (await self.memory()).records == existing[0][0]

    async def limit_pages(self, pages: int) -> None:
        """Simulate a full disk: the state file cannot grow beyond this number of pages."""
        await self.store.run(lambda db: db.execute(f"PRAGMA max_page_count = {pages}"))


@pytest.fixture
def station(tmp_path: Path, clock: "FakeClock", resources: AsyncExitStack) -> Station:
    """A source watched by version 2 of the API."""
    return Station(tmp_path, "v2", clock, resources)


@pytest.fixture(params=["v1", "v2"])
def either(request: pytest.FixtureRequest, tmp_path: Path, clock: "FakeClock", resources: AsyncExitStack) -> Station:
    """A source watched by either version of the API."""
    return Station(tmp_path, request.param, clock, resources)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> int:
    """Reduce the pages of sweeps to 50 records, so that a small account has many pages."""
    monkeypatch.setattr(Station, "large_page", 50)
    return 50


@pytest.fixture(scope="session")
def faults() -> dict[str, Answer]:
    """Temporary failures of a request, by name."""
    return {"server_error": refuse("server_error"), "bad_gateway": bad_gateway, "cut_off": cut_off}


@pytest.fixture(scope="session")
def refusal() -> Callable[[str], Answer]:
    return refuse
