"""Helpers for tests of the worker: a real state file, real receivers, and workers."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
import orjson
from aiohttp import web

from notifier.config.message_destinations import SlackSettings
from notifier.config.webhooks import HttpSettings
from notifier.delivery.worker import Worker
from notifier.destinations.base import Destination
from notifier.destinations.registry import build
from notifier.events import Change, DetectedBy, EventType
from notifier.store.database import Database
from notifier.store.file.store import FileStore
from notifier.store.subscriptions import Subscription
from notifier.store.tables import sources
from notifier.store.tables.records import Findings, WrittenEvents, write_findings
from tests.support.clocks import SettableClock
from tests.support.completions import completion
from tests.support.new_state_file import new_state_file
from tests.support.servers import serving
from tests.support.waiting import DEADLINE

EVENTS = frozenset(EventType)
SHORT_WAITS = {"retry_first": "100ms", "retry_max": "400ms", "timeout": "5s"}
"""Destination settings with short waits, so that tests are fast."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that a receiver got. `at` is in monotonic seconds; `active` counts the requests at that time."""

    at: float
    message_id: str
    body: Any
    active: int

    @property
    def ids(self) -> list[str]:
        """The ids of the events in the request."""
        events = self.body if isinstance(self.body, list) else [self.body]
        return [event["id"] for event in events]

    @property
    def subjects(self) -> list[str]:
        """The keys of the records in the request."""
        events = self.body if isinstance(self.body, list) else [self.body]
        return [event["subject"] for event in events]


Answer = Callable[[Arrival, web.Request], Awaitable[web.StreamResponse]]


def answering(status: int, **headers: str) -> Answer:
    """Return an answer function that gives every request the same answer. `_` in a header's name stands for `-`."""

    async def answer(_arrival: Arrival, _request: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, text="ok" if status == 200 else "no", headers=named)

    return answer


def refusing(status: int, *subjects: str) -> Answer:
    """Return an answer function: `status` for requests that carry one of these records, 200 for other requests."""

    async def answer(arrival: Arrival, _request: web.Request) -> web.StreamResponse:
        return web.Response(status=status if set(subjects) & set(arrival.subjects) else 200)

    return answer


@dataclass(slots=True)
class Receiver:
    """A real local endpoint that records the requests and answers with the function `answer`."""

    url: str = ""
    answer: Answer = field(default_factory=lambda: answering(200))
    arrivals: list[Arrival] = field(default_factory=list)
    active: int = 0

    @property
    def ids(self) -> list[str]:
        """The ids of all events that arrived, with repetitions."""
        return [identifier for arrival in self.arrivals for identifier in arrival.ids]

    @property
    def subjects(self) -> list[str]:
        """The keys of all records that arrived, with repetitions."""
        return [subject for arrival in self.arrivals for subject in arrival.subjects]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        self.active += 1
        arrival = Arrival(time.monotonic(), request.headers.get("webhook-id", ""), body, self.active)
        self.arrivals.append(arrival)
        try:
            return await self.answer(arrival, request)
        finally:
            self.active -= 1


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Open a receiver on a free port."""
    receiver = Receiver()
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/", receiver.handle)
    async with serving(app, handler_cancellation=True) as url:
        receiver.url = f"{url}/"
        yield receiver


@dataclass
class Rig:
    """A state file, and workers that deliver the events in it."""

    path: Path
    clock: SettableClock = field(default_factory=SettableClock)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def __aenter__(self) -> Self:
        self.store = FileStore(new_state_file(self.path))
        await self.store.open()
        self._stack.push_async_callback(self.store.close)
        self.session = await self._stack.enter_async_context(aiohttp.ClientSession())
        await self.store.run(sources.read_or_create, "acme")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def receiver(self) -> Receiver:
        """Open a receiver; it is closed together with this rig."""
        return await self._stack.enter_async_context(receiving())

    async def enter(self, *keys: str, to: Sequence[str] = ("hr",)) -> WrittenEvents:
        """Write one event about each of these records, for these destinations."""
        changes = [Change(EventType.CREATED, completion(key), 1, DetectedBy.HEAD, "entered_since") for key in keys]
        subscriptions = [Subscription(name, EVENTS) for name in to]
        findings = Findings("acme", "acme", changes=changes)
        return await self.store.run(write_findings, findings, subscriptions, self.clock.now_ms())

    def http(self, url: str, name: str = "hr", **keys: Any) -> Worker:
        """Create a worker for a destination of type `http`."""
        settings = HttpSettings.model_validate({"type": "http", "url": url, **SHORT_WAITS, **keys})
        return self.worker(build(name, settings, self.session, self.clock), settings)

    def slack(self, url: str, **keys: Any) -> Worker:
        """Create a worker for a destination of type `slack`."""
        settings = SlackSettings.model_validate({"type": "slack", "url": url, **SHORT_WAITS, **keys})
        return self.worker(build("hr", settings, self.session, self.clock), settings)

    def worker(self, destination: Destination, settings: HttpSettings | SlackSettings) -> Worker:
        """Create a worker for a destination. The jitter is fixed, so that each wait has its maximum length."""
        return Worker(destination, settings, self.store, self.clock, lambda: 0.999)

    @asynccontextmanager
    async def running(self, worker: Worker) -> AsyncIterator[Worker]:
        """Start a worker, and stop it at the end of the block."""
        await worker.start()
        try:
            yield worker
        finally:
            await worker.stop(0.2)

    async def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Query the state file."""

        def rows(db: Database) -> list[tuple[Any, ...]]:
            return db.execute(sql).fetchall()

        return await self.store.run(rows)

    async def states(self) -> dict[str, int]:
        """Count the deliveries by their state."""
        return dict(await self.ask("SELECT state, count(*) FROM deliveries GROUP BY 1"))

    async def settled(self, deadline: float = DEADLINE) -> None:
        """Wait until no delivery is pending."""
        end = time.monotonic() + deadline
        while "pending" in await self.states():
            assert time.monotonic() < end, f"still {await self.states()}"
            await asyncio.sleep(0.01)


def keys(count: int, begin: int = 1) -> list[str]:
    """Return `count` record keys: consecutive numbers from `begin`."""
    return [str(number) for number in range(begin, begin + count)]
