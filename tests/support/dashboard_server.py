"""A real daemon that serves the dashboard, with an account and receivers, and a real browser."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from playwright.async_api import Browser, async_playwright

from notifier.config import Settings
from notifier.daemon.daemon import Daemon
from notifier.sandbox import Account, build_account, make_app, serve
from notifier.sandbox.account_growth import Growth
from tests.support.servers import serving
from tests.support.waiting import DEADLINE

CHROMIUM: Final = shutil.which("chromium")
"""The browser from Debian's package, instead of the one that Playwright would download."""

_FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Receiver:
    """A webhook receiver that answers with the status `status` and the text `says`."""

    status: int = 200
    says: str = "ok"
    received: int = 0

    async def answer(self, _request: web.Request) -> web.Response:
        self.received += 1
        return web.Response(status=self.status, text=self.says)


@dataclass
class DashboardServer:
    """A daemon with an account and receivers; `receivers` maps names of destinations to receivers."""

    folder: Path
    account: Account = field(default_factory=lambda: build_account(20))
    receivers: dict[str, Receiver] = field(default_factory=lambda: {"hr-system": Receiver()})
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    token: str = ""
    anonymous: bool = True
    daemon: Daemon | None = None
    _resources: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def url(self) -> str:
        """The dashboard's address, without a slash at its end."""
        assert self.daemon is not None
        assert self.daemon.url is not None
        return self.daemon.url.removesuffix("/")

    async def open(self) -> None:
        api = await self._resources.enter_async_context(serve(make_app(self.account, rate_limit=None)))
        hooks = web.Application()
        for name, receiver in self.receivers.items():
            hooks.router.add_post(f"/{name}", receiver.answer)
        url = await self._resources.enter_async_context(serving(hooks))
        self.daemon = Daemon(self._settings(api, url))
        await self.daemon.start()
        self._resources.push_async_callback(self.daemon.stop)

    async def settled(self) -> None:
        """Wait for the end of the first sweep; completions that are added later are news."""
        assert self.daemon is not None
        end = time.monotonic() + DEADLINE
        # A sweep counts as complete when the number of records agrees with it.
        while b"notifier_source_last_sweep_timestamp_seconds{" not in await self.daemon.operations.metrics():
            assert time.monotonic() < end
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        await self._resources.aclose()

    def complete(self, **fields: Any) -> str:
        """Add a completion to the account, and return its key."""
        training = self.account.trainings[0].ids
        return str(self.account.add(user=self.account.users[0]["id"], training=training, **fields).id)

    def grow(self, records: int) -> None:
        """Add this many plausible completions to the account."""
        Growth(self.account, seed=len(self.account)).grow(records)

    def _settings(self, api: str, hooks: str) -> Settings:
        return Settings.model_validate(
            {
                "store": {"path": str(self.folder / "notifier.db")},
                "http": {"listen": "127.0.0.1:0", "token": self.token, "anonymous": self.anonymous and not self.token},
                "sources": {
                    "acme": {"base_url": api, "token": "sandbox", "poll_interval": "100ms"}
                    | {"requests_per_minute": 60_000}
                    | self.options.get("acme", {})
                },
                "destinations": {
                    name: {"type": "http", "url": f"{hooks}/{name}", "retry_first": "100ms", "retry_max": "200ms"}
                    | self.options.get(name, {})
                    for name in self.receivers
                },
            }
        )


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Run the browser until the end of the block. If it is not installed, this fails."""
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*_FLAGS])
        try:
            yield chromium
        finally:
            await chromium.close()
