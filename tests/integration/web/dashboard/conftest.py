"""Fixtures that open the dashboard in a real browser, and check that pages load nothing else and log no errors."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Request, expect

from tests.support.dashboard_server import CHROMIUM, DashboardServer, browser

# A busy machine is no fault of the page.
expect.set_options(timeout=20_000)


@dataclass
class Visit:
    """A page in a browser, its requests, and the messages of its console."""

    page: Page
    origin: str
    requests: list[Request] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self) -> None:
        # Playwright sets an attribute of the function, which a method of a list does not allow.
        self.page.on("request", lambda request: self.requests.append(request))  # noqa: PLW0108
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    async def see(self, path: str = "/") -> None:
        await self.page.goto(self.origin + path)

    async def live(self) -> None:
        """Wait until the page receives events as they happen."""
        await expect(self.page.locator("#connection")).to_have_text("live")

    async def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        return int(
            await self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        )

    def check(self) -> None:
        """Fail if a request went to another server, or if the console has a message."""
        assert [request.url for request in self.requests if not request.url.startswith((self.origin, "data:"))] == []
        assert self.complaints == []


StartServer = Callable[..., Awaitable[DashboardServer]]
Go = Callable[..., Awaitable[Visit]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        skip = "needs the browser: apt-get install chromium"
        assert "TESTS_MUST_NOT_SKIP" not in os.environ, skip
        pytest.skip(skip)
    async with browser() as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def start_server(tmp_path: Path) -> AsyncIterator[StartServer]:
    """Start a daemon and the servers that it needs; wait until it has read its account."""
    async with AsyncExitStack() as stack:

        async def start(**around: Any) -> DashboardServer:
            server = DashboardServer(tmp_path, **around)
            stack.push_async_callback(server.close)
            await server.open()
            await server.settled()
            return server

        yield start


@pytest_asyncio.fixture(loop_scope="module")
async def visit(chromium: Browser) -> AsyncIterator[Go]:
    """Open a dashboard in a browser; afterwards, check that no visit had a complaint."""
    visits: list[Visit] = []
    async with AsyncExitStack() as stack:

        async def go(
            server: DashboardServer, *, width: int = 1280, may_complain: bool = False, **context: Any
        ) -> Visit:
            opened = await chromium.new_context(viewport={"width": width, "height": 800}, **context)
            stack.push_async_callback(opened.close)
            one = Visit(await opened.new_page(), server.url)
            one.watch()
            if not may_complain:
                visits.append(one)
            return one

        yield go
        for one in visits:
            one.check()
