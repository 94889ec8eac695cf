"""Runs commands with their own configuration and state file, and serves an API and a receiver for them."""

import asyncio
import json
import logging
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner

from notifier.cli.app import COMMANDS, program
from notifier.events import Change, DetectedBy, EventType, Names
from notifier.sandbox import Account, documented_account, make_app, serve
from notifier.store.file.store import FileStore
from notifier.store.subscriptions import Subscription
from notifier.store.tables import sources
from notifier.store.tables.records import Findings, write
from tests.support.completions import completion
from tests.support.new_state_file import new_state_file
from tests.support.servers import serving

DEADLINE = 20.0

NEEDS_NO_CONFIGURATION = {
    "demo",
    "sandbox",
    "schema",
    "monitoring",
    "init",
    "install-service",
    "completion",
    "help",
    "receive",
    "man",
}
READS_CONFIGURATION = sorted(set(COMMANDS) - NEEDS_NO_CONFIGURATION)


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition."""
    end = time.monotonic() + DEADLINE
    while not await is_so():
        assert time.monotonic() < end, "what was waited for did not happen"
        await asyncio.sleep(0.02)


@dataclass(frozen=True, slots=True)
class CommandOutput:
    """The output of a command, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@dataclass(frozen=True, slots=True)
class Home:
    """A folder with a configuration and a state file."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"

    @property
    def state_file(self) -> Path:
        return self.folder / "notifier.db"

    @property
    def socket(self) -> Path:
        return self.folder / "notifier.db.sock"

    def configure(
        self, api: str = "http://127.0.0.1:9/v1", *, hr: str = "http://127.0.0.1:9/hook", more: str = ""
    ) -> None:
        """Write a configuration with the source acme and the destination hr; `more` continues the table of hr."""
        self.config.write_text(
            f"""
[store]
path = "notifier.db"
[http]
listen = ""
[sources.acme]
base_url = "{api}"
token = "sandbox"
poll_interval = "100ms"
requests_per_minute = 60000
[destinations.hr]
type = "http"
url = "{hr}"
{more}
"""
        )
        self.config.chmod(0o600)

    def lock_holder(self) -> int:
        """Return the id of the process that holds the state file."""
        return int(self.state_file.with_name("notifier.db.lock").read_text())

    async def call(self, *arguments: str) -> CommandOutput:
        """Run a command in a thread of this process. An unexpected exception fails the test."""
        return await asyncio.to_thread(call, "--config", str(self.config), *arguments)

    @contextmanager
    def started(
        self, *arguments: str, stdout: int = subprocess.PIPE, stdin: bool = False
    ) -> Iterator[subprocess.Popen[str]]:
        """Start the real program; kill it at the end of the block if it still runs."""
        command = [sys.executable, "-m", "notifier", *arguments, "--config", str(self.config)]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE if stdin else None,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    async def run(self, *arguments: str) -> CommandOutput:
        """Run the real program, and wait for its end."""
        with self.started(*arguments) as process:
            out, err = await asyncio.to_thread(process.communicate, timeout=DEADLINE)
        return CommandOutput(process.returncode, out, err)

    def on_terminal(self, *arguments: str) -> CommandOutput:
        """Run the real program on a pseudo-terminal; `out` of the result is everything that the terminal showed."""
        leader, follower = pty.openpty()
        try:
            with self.started(*arguments, stdout=follower) as process:
                os.close(follower)
                out = b"".join(_read_all(leader))
                _, err = process.communicate(timeout=DEADLINE)
        finally:
            os.close(leader)
        return CommandOutput(process.returncode, out.decode(), err)

    @asynccontextmanager
    async def daemon(self) -> AsyncIterator[subprocess.Popen[str]]:
        """Run the daemon until the end of the block. The block begins when the daemon has polled once."""
        new_state_file(self.state_file)
        with self.started("run") as process:
            await until(self._has_polled)
            yield process
            await self.end(process)

    async def end(self, process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> str:
        """End a process with a signal; return its output on standard error."""
        process.send_signal(number)
        _, err = await asyncio.to_thread(process.communicate, timeout=DEADLINE)
        return err

    async def _has_polled(self) -> bool:
        if not self.socket.exists():
            return False
        said = await self.call("status", "--json")
        document = said.documents[0] if said.out else None
        # While a daemon starts, the command reads the state file instead; such a status has no start time.
        if document is None or document["started_at"] is None:
            return False
        return bool(document["sources"]["acme"]["state"] != "starting")

    async def remember(self, *names: str, to: tuple[str, ...] = ("hr",)) -> None:
        """Write one event for each person into the state file, with a delivery to each destination in `to`."""
        store = FileStore(new_state_file(self.state_file))
        await store.open()
        try:
            await store.run(_write_events, names, to)
        finally:
            await store.close()


async def deliveries(home: Home) -> list[dict[str, Any]]:
    """Return the output of `deliveries --json`."""
    return (await home.call("deliveries", "--json")).documents


async def states(home: Home) -> list[str]:
    """Return the state of each delivery."""
    return [delivery["state"] for delivery in await deliveries(home)]


def call(*arguments: str) -> CommandOutput:
    """Run a command in this process. An unexpected exception fails the test."""
    with _restored_logging():
        result = CliRunner().invoke(program, arguments, prog_name="notifier")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return CommandOutput(result.exit_code, result.stdout, result.stderr)


@contextmanager
def _restored_logging() -> Iterator[None]:
    """Restore the logging configuration at the end of the block, because commands change it."""
    root = logging.getLogger()
    handlers, levels = (
        root.handlers[:],
        {name: logging.getLogger(name).level for name in ("", "notifier", "apscheduler")},
    )
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    try:
        yield
    finally:
        sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
        logging.captureWarnings(capture=False)
        root.handlers[:] = handlers
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _read_all(descriptor: int) -> Iterator[bytes]:
    # Linux reports the other side's end of a pseudo-terminal as an error.
    with suppress(OSError):
        while piece := os.read(descriptor, 65536):
            yield piece


def _write_events(db: Any, names: tuple[str, ...], to: tuple[str, ...]) -> None:
    sources.read_or_create(db, "acme")
    first = db.execute("SELECT count(*) FROM records").fetchone()[0]
    people = {f"person-{first + index}": name for index, name in enumerate(names)}
    changes = [_change(f"{first + index}", person) for index, person in enumerate(people)]
    known = Names(people, {"1046": "Ladder Safety"})
    subscriptions = [Subscription(name, frozenset(EventType)) for name in to]
    write(db, Findings("acme", "acme", changes=changes, names=known), subscriptions, 1_795_280_400_123)


def _change(key: str, person: str) -> Change:
    return Change(
        EventType.CREATED,
        completion(key, b'{"id":1}', user_id=person),
        1,
        DetectedBy.HEAD,
        "entered_since_first_meeting",
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A folder with a configuration whose source and destination do not answer."""
    this = Home(tmp_path)
    this.configure()
    return this


@dataclass(slots=True)
class Api:
    """The simulated API: its account, which tests can change, and its URL."""

    account: Account
    url: str = ""


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """Serve the documented account."""
    account = documented_account()
    async with serve(make_app(account, rate_limit=None)) as url:
        yield Api(account, url)


@dataclass(slots=True)
class Receiver:
    """An endpoint that keeps the bodies of requests, and answers with the status and the text that a test sets."""

    url: str = ""
    status: int = 200
    says: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        return web.Response(status=self.status, text=self.says, headers=self.headers)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    this = Receiver()
    app = web.Application()
    app.router.add_post("/hook", this.take)
    async with serving(app, shutdown_timeout=1.0) as url:
        this.url = f"{url}/hook"
        yield this
