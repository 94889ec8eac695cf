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
from notifier.ledger.again import Retry
from notifier.web.asked import DeliveryPage, Replay
from notifier.web.control import Answer, UnknownEventError, UnknownNameError, UnknownRecordError
from notifier.web.server import LocalServer


@dataclass
class Deliveries:
    """Stands for what the daemon does about deliveries and destinations: notes what it is asked."""

    asked: list[Any] = field(default_factory=list)
    replay_runs: bool = False

    async def page(self, wish: DeliveryPage) -> dict[str, Any]:
        return self._noted(wish, {"deliveries": [], "next": "0,"})

    async def retry(self, wish: Retry) -> dict[str, Any]:
        if "evt_gone" in wish.event_ids:
            raise UnknownEventError("evt_gone")
        return self._noted(wish, {"deliveries": 3})

    async def replay(self, wish: Replay) -> Answer:
        return Answer(ok=not self.replay_runs, body=self._noted(wish, {"events": 7}))

    async def replay_progress(self) -> dict[str, Any]:
        return self._noted("progress", {"state": "running"})

    async def stop_replay(self, number: int | None) -> dict[str, Any]:
        return self._noted(("stop", number), {"state": "stopped"})

    async def set_enabled(self, destination: str, *, enabled: bool) -> dict[str, Any]:
        self._know(destination)
        return self._noted((destination, enabled), {"destination": destination})

    async def test(self, destination: str) -> dict[str, Any]:
        self._know(destination)
        return self._noted(("test", destination), {"destination": destination})

    def _know(self, destination: str) -> None:
        if destination != "hr":
            raise UnknownNameError("destination", destination, ("hr",))

    def _noted(self, what: Any, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(what)
        return body


@dataclass
class Daemon:
    """Stands for the daemon behind the interface: notes what it is asked to do."""

    not_ready: dict[str, str] = field(default_factory=dict)
    refuses: bool = False
    trouble: Exception | None = None
    done: list[tuple[str, str]] = field(default_factory=list)
    records: set[str] = field(default_factory=set)
    deliveries: Deliveries = field(default_factory=Deliveries)

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

    async def reload(self) -> Answer:
        return self._do("reload", "")

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
