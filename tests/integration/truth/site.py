"""A whole site on one loop on which waiting takes no time: the API, receivers, a dead man's switch, and the daemon.

Everything is real but the time: the daemon reads a configuration file, listens on its socket, and is asked there by
the very commands that people type.
"""

import asyncio
import re
import socket
import tomllib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import aiohttp
import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from notifier.cli.commands.status import is_failing
from notifier.config import Settings, load
from notifier.daemon.configuration import ReloadHooks
from notifier.daemon.daemon import Daemon
from notifier.daemon.socket_path import socket_path
from notifier.sandbox import CONTROL, SandboxControl, make_app, serve, synthetic_account
from notifier.store.file.store import FileStore
from tests.integration.truth.prometheus import Prometheus
from tests.support.clocks import LapsingClock
from tests.support.command_line import CommandOutput, call
from tests.support.new_state_file import disable_fsync, new_state_file
from tests.support.servers import serving
from tests.support.time_lapse import beside

MINUTE = 60.0

Answer = Callable[[str, dict[str, Any]], Awaitable[web.Response | None] | web.Response | None]
"""What the API answers in the sandbox's place: by the method's name and its parameters; None: what the sandbox says."""


@dataclass
class Receiver:
    """One receiver: what it answers, and what it has taken; one event may be `refused` for itself."""

    status: int = 200
    body: bytes = b""
    taken: list[dict[str, Any]] = field(default_factory=list)
    refuses_next: bool = False
    refused: str = ""

    @property
    def words(self) -> list[str]:
        """What was told of conditions, as `firing source_failing`."""
        alerts = [event["data"] for event in self.taken if event["type"] == "notifier.alert"]
        return [f"{alert['state']} {alert['condition']}" for alert in alerts]


@dataclass(frozen=True)
class Seen:
    """What all surfaces say at one moment."""

    status: dict[str, Any]
    unready: dict[str, str]
    metrics: set[tuple[str, str]]
    headline: str
    listed: set[str]
    systemd: str
    ends_with: int
    beats: bool

    @property
    def stands(self) -> set[str]:
        """The names of what stands, by the status."""
        return {it["condition"] for it in self.status["conditions"]}


class MachineClock(LapsingClock):
    """The machine's clock, which goes on while the daemon does not run (`stopped_ms`), and may be set (`set_by_ms`)."""

    stopped_ms = 0
    set_by_ms = 0

    def true_ms(self) -> int:
        return super().now_ms() + self.stopped_ms

    def now_ms(self) -> int:
        return self.true_ms() + self.set_by_ms


class Site:
    """The site, from its configuration to what everybody sees."""

    def __init__(self, folder: Path, room: list[int]) -> None:
        """Take where the state file is to be, and how many bytes are free there, which may be changed."""
        self.folder = folder
        self.room = room
        self.clock = MachineClock(asyncio.get_running_loop())
        self.api: Answer = lambda _method, _parameters: None
        self.receivers: dict[str, Receiver] = {name: Receiver() for name in ("hr", "ops", "ops2", "new")}
        self.beats: list[float] = []
        self.beat_status = 200
        self.document: dict[str, Any] = {}
        self.prometheus = Prometheus(self._page, self.clock.true_ms)
        self._resources = AsyncExitStack()
        self._daemon: Daemon | None = None
        self._control: SandboxControl | None = None

    async def __aenter__(self) -> Self:
        account = synthetic_account(300, now_ms=self.clock.now_ms)
        app = make_app(account, rate_limit=None, clock=self.now, middlewares=[self._between()])
        self._control = app[CONTROL]
        app.on_response_prepare.append(self._dated)
        api = await self._resources.enter_async_context(serve(app))
        around = web.Application()
        around.on_response_prepare.append(self._dated)
        around.router.add_get("/beat", self._beat)
        around.router.add_post("/{name}", self._receive)
        url = await self._resources.enter_async_context(serving(around))
        self.url = url
        source = {"base_url": api, "token": "sandbox", "requests_per_minute": 60, "names": False}
        self.document = {
            "store": {"path": str(self.folder / "notifier.db")},
            "http": {"listen": ""},
            "alerts": {"destination": "ops", "heartbeat_url": f"{self.url}/beat"},
            "sources": {"acme": source},
            "destinations": {
                "hr": {"type": "http", "url": f"{self.url}/hr"},
                "ops": {"type": "http", "url": f"{self.url}/ops", "events": []},
            },
        }
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._daemon is not None:
            await self._daemon.stop()
        await self._resources.aclose()

    # What people and machines do

    @property
    def daemon(self) -> Daemon:
        assert self._daemon is not None
        return self._daemon

    @property
    def control(self) -> SandboxControl:
        """What begins and ends faults of the sandbox."""
        assert self._control is not None
        return self._control

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"

    @property
    def alerts(self) -> list[str]:
        """What was told of conditions to anybody."""
        return [word for name in ("ops", "ops2") for word in self.receivers[name].words]

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def write(self) -> None:
        """Write the configuration down as it is to be."""
        lines: list[str] = []
        _tables(self.document, (), lines)
        self.config.write_text("\n".join(lines) + "\n")
        assert tomllib.loads(self.config.read_text())

    async def start(self) -> None:
        """Start a daemon on the state file that there is."""
        self.write()
        new_state_file(self.folder / "notifier.db")
        self._daemon = Daemon(self.settings(), self.clock, ReloadHooks(self.settings))
        await self._daemon.start()
        await disable_fsync(self._daemon._store)

    async def stop(self) -> None:
        await self.daemon.stop()
        self._daemon = None

    async def kill(self) -> None:
        """Let the process die: nothing notes that it was stopped."""
        await self.stop()
        store = FileStore(self.folder / "notifier.db")
        await store.open()
        await store.run(lambda db: db.execute("UPDATE starts SET stopped_at = NULL"))
        await store.close()

    def take_port(self) -> None:
        """Let another program listen where the interface is to."""
        self._taken = self._resources.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.document["http"] = {"listen": f"127.0.0.1:{self._taken.getsockname()[1]}"}

    def free_port(self) -> None:
        """Let that program end."""
        self._taken.close()

    async def passes(self, seconds: float) -> None:
        """Let time pass in which no daemon runs."""
        self.clock.stopped_ms += round(seconds * 1000)

    async def minutes(self, minutes: float) -> None:
        """Let time pass."""
        await asyncio.sleep(minutes * MINUTE)

    def settings(self) -> Settings:
        return load(self.config)

    async def types(self, *arguments: str, code: int | None = 0) -> CommandOutput:
        """Run a command as people do."""
        said = await beside(call, "--config", str(self.config), *arguments)
        assert code is None or said.code == code, said
        return said

    def completes(self, how_many: int = 1) -> None:
        """Enter completions."""
        for _ in range(how_many):
            self.control.edits.enter()

    # What is seen

    async def _page(self) -> str:
        """Return `/metrics`. Raises OSError where no daemon answers."""
        connector = aiohttp.UnixConnector(str(socket_path(self.folder / "notifier.db")))
        async with (
            aiohttp.ClientSession("http://localhost", connector=connector) as session,
            session.get("/metrics") as response,
        ):
            if response.status != HTTPStatus.OK:
                raise OSError(await response.text())
            return await response.text()

    async def look(self) -> Seen:
        """Read every surface."""
        connector = aiohttp.UnixConnector(str(socket_path(self.folder / "notifier.db")))
        async with aiohttp.ClientSession("http://localhost", connector=connector) as session:
            async with session.get("/v1/status") as response:
                status = orjson.loads(await response.read())
            async with session.get("/readyz") as response:
                unready = orjson.loads(await response.read())["unready"]
                assert (response.status == 503) is bool(unready)
            async with session.get("/metrics") as response:
                page = await response.text()
            async with session.get("/", headers={"Accept": "text/html"}) as response:
                front = await response.text()
        metrics = set(re.findall(r'^notifier_condition\{condition="([^"]+)",subject="([^"]+)"\} 1', page, re.MULTILINE))
        headline = re.search(r'<h1 id="verdict">.*?<span>(.*?)</span></h1>', front, re.DOTALL)
        assert headline is not None, front[:2000]
        return Seen(
            status,
            unready,
            metrics,
            headline[1],
            set(re.findall(r'<li id="condition-([a-z_]+)-', front)),
            await self.daemon.operations.summary(),
            int(is_failing(status)),
            any(self.now() - at <= 3 * MINUTE for at in self.beats),
        )

    # Inside

    async def _dated(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Date"] = formatdate(self.clock.true_ms() / 1000, usegmt=True)

    def _between(self) -> Any:
        @web.middleware
        async def between(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not request.path.startswith("/v1/"):
                return await handler(request)
            answer = self.api(request.path.removeprefix("/v1/"), orjson.loads(await request.read()))
            if isinstance(answer, web.Response):
                return answer
            return (await answer if answer is not None else None) or await handler(request)

        return between

    async def _receive(self, request: web.Request) -> web.Response:
        receiver = self.receivers[request.match_info["name"]]
        event = orjson.loads(await request.read())
        if receiver.refuses_next:
            receiver.refuses_next, receiver.refused = False, event["id"]
        if event["id"] == receiver.refused:
            return web.Response(status=422)
        if receiver.status == 200:
            receiver.taken.append(event)
        return web.Response(status=receiver.status, body=receiver.body)

    async def _beat(self, _request: web.Request) -> web.Response:
        if self.beat_status == 200:
            self.beats.append(self.now())
        return web.Response(status=self.beat_status)


def _tables(table: dict[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    """Write a table as TOML, its own keys before the tables in it."""
    if path:
        lines.append(f"[{'.'.join(path)}]")
    lines += [f"{key} = {orjson.dumps(value).decode()}" for key, value in table.items() if not isinstance(value, dict)]
    for key, value in table.items():
        if isinstance(value, dict):
            _tables(value, (*path, key), lines)
