"""Helpers for end-to-end tests: the simulated API, a receiver, and the real program as a process."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from standardwebhooks import Webhook

from notifier.cli import daemon_client
from notifier.sandbox.account import Account
from notifier.sandbox.server import make_app, serve
from tests.support.servers import serving
from tests.support.waiting import until

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr"


@dataclass
class Receiver:
    """A webhook receiver and a Slack channel. It verifies every signature, and keeps everything that arrives."""

    url: str = ""
    status: int = 200
    events: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    slack: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    beats: int = 0

    @property
    def ids(self) -> list[str]:
        return [event["id"] for event in self.events]

    @property
    def subjects(self) -> list[str]:
        return [event["subject"] for event in self.events]

    async def hook(self, request: web.Request) -> web.Response:
        body = await request.read()
        Webhook(SECRET).verify(body, dict(request.headers))
        if self.status == 200:
            self.events.append(orjson.loads(body))
            self.headers.append({name.lower(): value for name, value in request.headers.items()})
        return web.Response(status=self.status)

    async def beat(self, _request: web.Request) -> web.Response:
        self.beats += 1
        return web.Response()

    async def alert(self, request: web.Request) -> web.Response:
        event = orjson.loads(await request.read())
        if event["type"] == "notifier.alert":
            self.alerts.append(event)
        return web.Response()

    async def channel(self, request: web.Request) -> web.Response:
        if self.status == 200:
            self.slack.append(orjson.loads(await request.read()))
        return web.Response(status=self.status, text="ok")


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Serve a receiver."""
    this = Receiver()
    app = web.Application()
    app.add_routes([web.post("/hook", this.hook), web.post("/slack", this.channel), web.get("/beat", this.beat)])
    app.add_routes([web.post("/alerts", this.alert)])
    async with serving(app, shutdown_timeout=1.0) as url:
        this.url = url
        yield this


@asynccontextmanager
async def served(account: Account, *middlewares: Any) -> AsyncIterator[str]:
    async with serve(make_app(account, rate_limit=None, middlewares=middlewares)) as url:
        yield url


class Program:
    """`notifier run` with its own configuration; a test can start, kill and restart it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.toml"
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str] | None:
        """The environment of the program's processes; None for the environment of the tests."""
        return None

    def configure(self, api: str, receiver: str, *, source: str = "", destination: str = "", more: str = "") -> None:
        self.config.write_text(
            f"""
[store]
path = "notifier.db"
[log]
format = "json"
[http]
listen = ""
[sources.acme]
base_url = "{api}"
token = "sandbox"
poll_interval = "200ms"
requests_per_minute = 60000
{source}
[destinations.hr]
type = "http"
url = "{receiver}/hook"
secret = "{SECRET}"
retry_first = "200ms"
retry_max = "1s"
{destination}
{more}
"""
        )
        self.config.chmod(0o600)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "notifier", "--config", str(self.config), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=self.folder,
            env=self.environment,
        )

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command, without waiting for its end."""
        command = [sys.executable, "-m", "notifier", "--config", str(self.config), *arguments]
        return subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder, env=self.environment
        )

    def start(self, *prefix: str) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "notifier", "--config", str(self.config), "run"],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self.environment,
            )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    async def stop(self) -> float:
        """Stop the daemon with SIGTERM, check that it exits with 0, and return how many seconds that took."""
        assert self.process is not None
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        # In a thread, because the program may wait for answers from servers on this loop.
        assert await asyncio.to_thread(self.process.wait, 10) == 0, self.said()
        return time.monotonic() - started

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def status(self) -> dict[str, Any]:
        """Return the daemon's status; if no daemon runs, the status that `notifier status` prints."""
        answer = daemon_client.request(self.folder / "notifier.db", "GET", "/v1/status")
        if answer is not None:
            return answer.body
        (status,) = self.documents("status", "--json")
        return status

    async def until_status(self, is_so: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until the status meets a condition."""
        await until(lambda: is_so(self.status()), pause=0.05)

    def documents(self, *arguments: str) -> list[dict[str, Any]]:
        answer = self.command(*arguments)
        # `status` exits with 1 if something fails, but still prints the status.
        assert answer.returncode == 0 or (arguments[0] == "status" and answer.stdout), answer.stderr
        return [orjson.loads(line) for line in answer.stdout.splitlines()]
