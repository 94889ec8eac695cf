"""A whole installation on one event loop with compressed time: API, receivers, heartbeat receiver, and daemon.

Only the time is simulated. The daemon reads a configuration file and listens on its socket, and the tests use the
real commands there.
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
from tests.integration.failure_modes.prometheus import Prometheus
from tests.support.clocks import LapsingClock
from tests.support.command_line import CommandOutput, call
from tests.support.new_state_file import disable_fsync, new_state_file
from tests.support.servers import serving
from tests.support.time_lapse import beside

MINUTE = 60.0

Answer = Callable[[str, dict[str, Any]], Awaitable[web.Response | None] | web.Response | None]
"""Returns an answer that replaces the sandbox's, from the method's name and parameters; None keeps the sandbox's."""


@dataclass
class Receiver:
    """A receiver of events: its answer, and the events that it has accepted.

    `refuses_next` makes it refuse the next event. `refused` is the id of this event, which it then always refuses.
    """

    status: int = 200
    body: bytes = b""
    accepted: list[dict[str, Any]] = field(default_factory=list)
    refuses_next: bool = False
    refused: str = ""

    @property
    def alerts(self) -> list[str]:
        """The alerts that this receiver has accepted, such as `firing source_failing`."""
        alerts = [event["data"] for event in self.accepted if event["type"] == "notifier.alert"]
        return [f"{alert['state']} {alert['condition']}" for alert in alerts]


@dataclass(frozen=True)
class Surfaces:
    """What each surface shows at one moment."""

    status: dict[str, Any]
    unready: dict[str, str]
    metrics: set[tuple[str, str]]
    headline: str
    listed_conditions: set[str]
    systemd_status: str
    exit_code: int
    has_heartbeat: bool

    @property
    def conditions(self) -> set[str]:
        """The names of the active conditions in the status."""
        return {it["condition"] for it in self.status["conditions"]}


class MachineClock(LapsingClock):
    """The machine's clock.

    `stopped_ms` is the time for which no daemon ran. `set_by_ms` is how far the clock is wrong.
    """

    stopped_ms = 0
    set_by_ms = 0

    def true_ms(self) -> int:
        return super().now_ms() + self.stopped_ms

    def now_ms(self) -> int:
        return self.true_ms() + self.set_by_ms


class Site:
    """An installation with one source, `acme`, and the destinations `hr` and `ops`; `ops` gets the alerts."""

    def __init__(self, folder: Path, free_bytes: list[int]) -> None:
        """Initialise with the folder of the state file, and the number of free bytes there, which a test may change."""
        self.folder = folder
        self.free_bytes = free_bytes
        self.clock = MachineClock(asyncio.get_running_loop())
        self.api: Answer = lambda _method, _parameters: None
        self.receivers: dict[str, Receiver] = {name: Receiver() for name in ("hr", "ops", "ops2", "new")}
        self.heartbeats: list[float] = []
        self.heartbeat_status = 200
        self.document: dict[str, Any] = {}
        self.prometheus = Prometheus(self._metrics_page, self.clock.true_ms)
        self._resources = AsyncExitStack()
        self._daemon: Daemon | None = None
        self._control: SandboxControl | None = None

    async def __aenter__(self) -> Self:
        account = synthetic_account(300, now_ms=self.clock.now_ms)
        app = make_app(account, rate_limit=None, clock=self.now, middlewares=[self._override_answers()])
        self._control = app[CONTROL]
        app.on_response_prepare.append(self._set_date)
        api = await self._resources.enter_async_context(serve(app))
        around = web.Application()
        around.on_response_prepare.append(self._set_date)
        around.router.add_get("/beat", self._receive_heartbeat)
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

    @property
    def daemon(self) -> Daemon:
        assert self._daemon is not None
        return self._daemon

    @property
    def control(self) -> SandboxControl:
        """Begins and ends faults of the simulated API."""
        assert self._control is not None
        return self._control

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"

    @property
    def alerts(self) -> list[str]:
        """The alerts that all receivers of alerts have accepted."""
        return [alert for name in ("ops", "ops2") for alert in self.receivers[name].alerts]

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def write_configuration(self) -> None:
        """Write `document` to the configuration file."""
        lines: list[str] = []
        _tables(self.document, (), lines)
        self.config.write_text("\n".join(lines) + "\n")
        assert tomllib.loads(self.config.read_text())

    async def start(self) -> None:
        """Start a daemon with the existing state file, or with a new one."""
        self.write_configuration()
        new_state_file(self.folder / "notifier.db")
        self._daemon = Daemon(self.settings(), self.clock, ReloadHooks(self.settings))
        await self._daemon.start()
        await disable_fsync(self._daemon._store)

    async def stop(self) -> None:
        await self.daemon.stop()
        self._daemon = None

    async def kill(self) -> None:
        """Stop the daemon as if it was killed: its stop is not recorded."""
        await self.stop()
        store = FileStore(self.folder / "notifier.db")
        await store.open()
        await store.run(lambda db: db.execute("UPDATE starts SET stopped_at = NULL"))
        await store.close()

    def occupy_port(self) -> None:
        """Configure a port for the HTTP interface that another program uses."""
        self._occupied_port = self._resources.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.document["http"] = {"listen": f"127.0.0.1:{self._occupied_port.getsockname()[1]}"}

    def release_port(self) -> None:
        """End the program that uses the port."""
        self._occupied_port.close()

    async def skip_seconds(self, seconds: float) -> None:
        """Advance the clock while no daemon runs."""
        self.clock.stopped_ms += round(seconds * 1000)

    async def wait_minutes(self, minutes: float) -> None:
        """Wait for simulated minutes."""
        await asyncio.sleep(minutes * MINUTE)

    def settings(self) -> Settings:
        return load(self.config)

    async def run_command(self, *arguments: str, code: int | None = 0) -> CommandOutput:
        """Run a command of the command line, and check its exit code unless it is None."""
        output = await beside(call, "--config", str(self.config), *arguments)
        assert code is None or output.code == code, output
        return output

    def enter_completions(self, count: int = 1) -> None:
        """Enter completions in the simulated account."""
        for _ in range(count):
            self.control.edits.enter()

    async def _metrics_page(self) -> str:
        """Return the page `/metrics`. Raises OSError if no daemon answers."""
        connector = aiohttp.UnixConnector(str(socket_path(self.folder / "notifier.db")))
        async with (
            aiohttp.ClientSession("http://localhost", connector=connector) as session,
            session.get("/metrics") as response,
        ):
            if response.status != HTTPStatus.OK:
                raise OSError(await response.text())
            return await response.text()

    async def read_surfaces(self) -> Surfaces:
        """Read the status, `/readyz`, `/metrics`, the dashboard, and the status for systemd."""
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
        return Surfaces(
            status,
            unready,
            metrics,
            headline[1],
            set(re.findall(r'<li id="condition-([a-z_]+)-', front)),
            await self.daemon.operations.summary(),
            int(is_failing(status)),
            any(self.now() - at <= 3 * MINUTE for at in self.heartbeats),
        )

    async def _set_date(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Date"] = formatdate(self.clock.true_ms() / 1000, usegmt=True)

    def _override_answers(self) -> Any:
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
            receiver.accepted.append(event)
        return web.Response(status=receiver.status, body=receiver.body)

    async def _receive_heartbeat(self, _request: web.Request) -> web.Response:
        if self.heartbeat_status == 200:
            self.heartbeats.append(self.now())
        return web.Response(status=self.heartbeat_status)


def _tables(table: dict[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    """Append a table as TOML to `lines`, with its own keys before the tables in it."""
    if path:
        lines.append(f"[{'.'.join(path)}]")
    lines += [f"{key} = {orjson.dumps(value).decode()}" for key, value in table.items() if not isinstance(value, dict)]
    for key, value in table.items():
        if isinstance(value, dict):
            _tables(value, (*path, key), lines)
