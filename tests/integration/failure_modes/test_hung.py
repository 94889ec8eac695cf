"""A real daemon that hangs: what each surface shows from outside, and that a restart ends the condition."""

import asyncio
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from playwright.async_api import expect

from notifier.sandbox import build_account, make_app, serve
from tests.integration.failure_modes.hung import HUNG
from tests.integration.failure_modes.prometheus import MINUTE_MS, Prometheus
from tests.support.dashboard_server import browser
from tests.support.needed_programs import needed
from tests.support.ports import free_port
from tests.support.servers import serving

UNIT = Path(__file__).parents[3] / "notifier" / "service" / "notifier.service.in"
WATCHDOG_SECONDS = 6.0
DEADLINE = 60.0


@dataclass
class Surroundings:
    """A daemon process, the services that it uses, and the ways to query it."""

    folder: Path
    beats: list[float] = field(default_factory=list)
    notices: list[bytes] = field(default_factory=list)
    port: int = 0
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start the daemon as systemd does, and wait until it reports that it is ready."""
        self.notices.clear()
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(self.folder / "notify"),
            "WATCHDOG_USEC": str(round(WATCHDOG_SECONDS * 1e6)),
        }
        self.process = await asyncio.create_subprocess_exec(*self.command("run"), env=environment, stderr=DEVNULL)
        await until(lambda: any(b"READY=1" in it for it in self.notices))

    def command(self, *arguments: str) -> tuple[str, ...]:
        return sys.executable, "-m", "notifier", "--config", str(self.folder / "config.toml"), *arguments

    async def run_command(self, *arguments: str) -> tuple[int | None, str, float]:
        """Run a command; return its exit code, its output and its duration in seconds."""
        began = time.monotonic()
        run = await asyncio.create_subprocess_exec(*self.command(*arguments), stdout=PIPE, stderr=STDOUT)
        out, _ = await asyncio.wait_for(run.communicate(), DEADLINE)
        return run.returncode, out.decode(), time.monotonic() - began

    async def page(self) -> str:
        """Scrape `/metrics`, as Prometheus does."""
        time_limit = aiohttp.ClientTimeout(total=3)
        async with (
            aiohttp.ClientSession(timeout=time_limit) as session,
            session.get(f"{self.url}/metrics") as response,
        ):
            return await response.text()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not is_so():
            await asyncio.sleep(0.05)


@asynccontextmanager
async def surroundings(folder: Path) -> AsyncIterator[Surroundings]:
    """Start the API, a receiver of heartbeats and events, and systemd's socket; write the configuration."""
    around = Surroundings(folder)
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(serve(make_app(build_account(20), rate_limit=None)))

        async def beat(_request: web.Request) -> web.Response:
            around.beats.append(time.monotonic())
            return web.Response()

        app = web.Application()
        app.router.add_get("/beat", beat)
        app.router.add_post("/hr", beat)
        url = await stack.enter_async_context(serving(app))
        around.port = free_port()
        systemd = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        systemd.bind(str(folder / "notify"))
        systemd.setblocking(False)
        loop = asyncio.get_running_loop()
        loop.add_reader(systemd, lambda: around.notices.append(systemd.recv(4096)))
        stack.callback(loop.remove_reader, systemd)
        beyond = url
        (folder / "config.toml").write_text(
            f"""
[store]
path = "notifier.db"
[http]
listen = "127.0.0.1:{around.port}"
anonymous = true
[alerts]
heartbeat_url = "{beyond}/beat"
[sources.acme]
base_url = "{api}"
token = "sandbox"
poll_interval = "1s"
requests_per_minute = 60000
[destinations.hr]
type = "http"
url = "{beyond}/hr"
"""
        )
        try:
            yield around
        finally:
            if around.process is not None and around.process.returncode is None:
                around.process.kill()
                await around.process.wait()


def test_hung_daemon_is_reported_by_every_surface(tmp_path: Path, rule_cases: list[dict[str, Any]]) -> None:
    needed("chromium", "chromium")
    # A separate event loop with real time, because the daemon is another process.
    asyncio.run(_hang(tmp_path, rule_cases))


async def _hang(folder: Path, rule_cases: list[dict[str, Any]]) -> None:
    async with surroundings(folder) as around, browser() as chromium:
        await around.start()
        assert around.process is not None
        page = await chromium.new_page()
        await page.goto(around.url)
        headline = page.locator("#verdict")
        await expect(headline).to_contain_text("All is well", timeout=DEADLINE * 1000)
        await expect(page.locator("#connection")).to_have_text("live", timeout=DEADLINE * 1000)
        await until(lambda: bool(around.beats) and any(b"WATCHDOG=1" in it for it in around.notices))
        minutes = iter(range(100))
        prometheus = Prometheus(around.page, lambda: next(minutes) * MINUTE_MS)
        await prometheus.scrape()

        around.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(0.2)
        around.beats.clear()
        around.notices.clear()
        stopped = time.monotonic()
        await page.get_by_role("button", name="Poll acme now").click()
        answers = await asyncio.gather(
            *(_get(f"{around.url}/{path}") for path in ("healthz", "readyz")), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [TimeoutError, TimeoutError]
        await prometheus.scrape()
        assert prometheus.scrapes[1] is None
        # Scrapes in the following minutes would fail in the same way.
        prometheus.scrapes |= dict.fromkeys(range(1, 9), None)
        code, said, seconds = await around.run_command("status")
        assert code == HUNG.exit_code
        assert "the daemon has not answered within 5 seconds; see its log for the reason" in said
        assert HUNG.seconds <= seconds < 3 * HUNG.seconds
        await expect(headline).to_have_text(HUNG.headline, timeout=DEADLINE * 1000)
        await expect(page.locator("#connection")).to_have_text("this page is out of date")
        await expect(page.locator("#told")).to_contain_text("it may still do this when it continues")
        assert await page.get_by_role("button", name="Poll acme now").get_attribute("aria-busy") is None
        assert await page.title() == f"{HUNG.headline} · Completion Notifier"
        # systemd receives nothing for longer than its time limit, and restarts the daemon.
        await asyncio.sleep(max(0.0, stopped + 2 * WATCHDOG_SECONDS - time.monotonic()))
        assert around.notices == []
        assert around.beats == []
        assert {"WatchdogSec=60s", "Restart=on-failure"} <= set(UNIT.read_text().splitlines())
        rule_cases.append(prometheus.case(HUNG.name, HUNG.prometheus_alerts))

        around.process.kill()
        await around.process.wait()
        await around.start()
        await expect(headline).to_contain_text("All is well", timeout=DEADLINE * 1000)
        await until(lambda: bool(around.beats) and any(b"WATCHDOG=1" in it for it in around.notices))
        code, said, _ = await around.run_command("status", "--exit-code")
        assert code == 0, said


async def _get(url: str) -> int:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3)) as session, session.get(url) as response:
        return response.status
