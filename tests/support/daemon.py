"""Helpers for tests of a daemon: an account, a receiver, and a wall clock that can be set."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from notifier.config import Settings
from notifier.daemon.configuration import ReloadHooks
from notifier.daemon.daemon import Daemon
from notifier.sandbox import Account, build_account, make_app, serve
from tests.support.clocks import SettableClock
from tests.support.new_state_file import new_state_file
from tests.support.servers import serving
from tests.support.waiting import DEADLINE, until


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SettableClock:
    """A clock that can be set; the daemon notices a jump within 0.1 seconds."""
    monkeypatch.setattr("notifier.daemon.scheduler.CLOCK_CHECK_SECONDS", 0.1)
    return SettableClock()


@dataclass
class World:
    """An account and a receiver for a daemon. Both can be made to hang or fail."""

    folder: Path
    account: Account = field(default_factory=lambda: build_account(20))
    resources: AsyncExitStack = field(default_factory=AsyncExitStack)
    api: str = ""
    receiver: str = ""
    api_answers: int = 200
    api_limits: bool = False
    receiver_answers: int = 200
    receiver_says: dict[str, str] = field(default_factory=dict)
    receiver_takes: float = 0.0
    hangs: bool = False
    asked: int = 0
    received: list[dict[str, Any]] = field(default_factory=list)

    async def open(self) -> None:
        app = make_app(self.account, rate_limit=None, middlewares=[self._stand_between()])
        self.api = await self.resources.enter_async_context(serve(app))
        hooks = web.Application()
        hooks.router.add_post("/", self._receive)
        url = await self.resources.enter_async_context(serving(hooks, handler_cancellation=True))
        self.receiver = f"{url}/"

    def _stand_between(self) -> Any:
        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.asked += 1
            if self.hangs:
                await asyncio.sleep(3600)
            if self.api_limits:
                said = {"ok": False, "error": "rate_limit_exceeded", "description": "Rate limit exceeded"}
                return web.json_response(said)
            if self.api_answers != 200:
                return web.Response(status=self.api_answers)
            return await handler(request)

        return middleware

    async def _receive(self, request: web.Request) -> web.Response:
        self.received.append(orjson.loads(await request.read()))
        await asyncio.sleep(3600 if self.hangs else self.receiver_takes)
        return web.Response(status=self.receiver_answers, headers=self.receiver_says)

    def settings(
        self, *, listen: str = "", sources: int = 1, state: str = "notifier.db", **destination: Any
    ) -> Settings:
        source = {"base_url": self.api, "token": "sandbox", "poll_interval": "100ms", "requests_per_minute": 60_000}
        hr = {"type": "http", "url": self.receiver, "retry_first": "100ms", "retry_max": "200ms", **destination}
        return Settings.model_validate(
            {
                "store": {"path": str(self.folder / state)},
                "http": {"listen": listen, "anonymous": bool(listen)},
                "sources": {f"acme-{number}": source for number in range(1, sources + 1)},
                "destinations": {"hr": hr},
            }
        )

    def complete(self) -> str:
        """Add a completion to the account, and return its key."""
        training = self.account.trainings[0].ids
        return str(self.account.add(user=self.account.users[0]["id"], training=training).id)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    around = World(tmp_path)
    async with around.resources:
        await around.open()
        yield around


@pytest.fixture
async def run(world: World) -> AsyncIterator[Any]:
    """Return a function that starts a daemon; all daemons are stopped at the end of the test."""
    daemons: list[Daemon] = []

    async def start(
        settings: Settings | None = None,
        clock: SettableClock | None = None,
        configuration: ReloadHooks | None = None,
    ) -> Daemon:
        settings = settings or world.settings()
        new_state_file(settings.store.path)
        daemon = Daemon(settings, clock, configuration)
        await daemon.start()
        daemons.append(daemon)
        return daemon

    yield start
    for daemon in daemons:
        await daemon.stop()


async def ready(daemon: Daemon) -> None:
    await until(lambda: not daemon.operations.unready())


async def status_when(daemon: Daemon, destination: str, key: str, value: object) -> Any:
    """Wait until a key of a destination's status has this value; return the whole status."""
    end = time.monotonic() + DEADLINE
    while True:
        status: Any = await daemon.operations.status()
        if status["destinations"][destination][key] == value:
            return status
        assert time.monotonic() < end, status
        await asyncio.sleep(0.01)


async def until_swept(daemon: Daemon) -> None:
    """Wait until the first sweep of each source has finished."""
    end = time.monotonic() + DEADLINE
    while not all(
        source["sweep"] and source["sweep"]["finished_at"]
        for source in (await daemon.operations.status())["sources"].values()
    ):
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Daemon]:
    """Run a daemon until the end of the block."""
    new_state_file(settings.store.path)
    daemon = Daemon(settings)
    await daemon.start()
    try:
        yield daemon
    finally:
        await daemon.stop()
