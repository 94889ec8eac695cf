"""A local interface that listens, and a daemon of its own invention behind it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from notifier.config import HttpInterfaceSettings
from notifier.web.control import Answer, UnknownNameError, UnknownRecordError
from notifier.web.server import LocalServer


@dataclass
class Daemon:
    """Stands for the daemon behind the interface: notes what it is asked to do."""

    not_ready: dict[str, str] = field(default_factory=dict)
    refuses: bool = False
    trouble: Exception | None = None
    done: list[tuple[str, str]] = field(default_factory=list)
    records: set[str] = field(default_factory=set)

    async def status(self) -> dict[str, Any]:
        if self.trouble is not None:
            raise self.trouble
        return {"version": "1", "sources": {}, "destinations": {}}

    def unready(self) -> dict[str, str]:
        return self.not_ready

    async def poll(self, source: str) -> Answer:
        return self._do("poll", source)

    async def sweep(self, source: str) -> Answer:
        return self._do("sweep", source)

    async def record(self, key: str) -> dict[str, Any]:
        if key not in self.records:
            raise UnknownRecordError(key)
        return {"key": key, "sources": {"acme": {"key": key}}}

    def _do(self, what: str, source: str) -> Answer:
        if source != "acme":
            raise UnknownNameError("source", source, ("acme",))
        self.done.append((what, source))
        return Answer(ok=not self.refuses, body={"source": source, "what": what})


@dataclass
class Interface:
    """Where to reach an interface, and the daemon behind it."""

    daemon: Daemon
    socket: Path
    port: int
    over_tcp: aiohttp.ClientSession
    over_socket: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def raw(self, request: bytes) -> bytes:
        """Send bytes as they are, and return what comes back until the connection is closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer


Open = Callable[..., Awaitable[Interface]]


@pytest.fixture
async def resources() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def listen(resources: AsyncExitStack, tmp_path: Path) -> Open:
    """Open an interface; without a token it listens on loopback only."""

    async def start(address: str = "127.0.0.1:0", token: str = "", path: Path | None = None) -> Interface:
        daemon = Daemon()
        settings = HttpInterfaceSettings.model_validate({"listen": address, "token": token})
        path = path or tmp_path / "notifier.db.sock"
        server = LocalServer(daemon, settings, path)
        resources.push_async_callback(server.stop)
        await server.start()
        ports = [address[1] for address in server._runner.addresses if isinstance(address, tuple)]
        over_tcp = await resources.enter_async_context(aiohttp.ClientSession())
        connector = aiohttp.UnixConnector(str(path))
        over_socket = await resources.enter_async_context(aiohttp.ClientSession(connector=connector))
        return Interface(daemon, path, ports[0] if ports else 0, over_tcp, over_socket)

    return start


@pytest.fixture
async def interface(listen: Open) -> Interface:
    return await listen()
