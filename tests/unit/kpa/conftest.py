"""A scripted API, peers that break HTTP, and clients that ask them."""

import asyncio
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDictProxy

from notifier.clock import SystemClock
from notifier.config import SourceSettings
from notifier.kpa.client import Client
from notifier.kpa.exchange import HttpExchange
from notifier.kpa.rate_limiter import RateLimiter

TOKEN = "tKn-" + "0123456789abcdefghijklmnopqrstuvwxyzA"
SAMPLES = Path(__file__).parents[2] / "samples"

Script = Callable[[web.Request], Awaitable[web.StreamResponse]]
Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def parameters(self) -> dict[str, Any]:
        """What was asked for, besides the token."""
        return {name: value for name, value in json.loads(self.body).items() if name != "token"}


@dataclass(slots=True)
class Upstream:
    """A local API that notes every request and answers as its script says."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    script: Script | None = None

    def answers(self, body: bytes | object, *, status: int = 200, **headers: str) -> None:
        """Answer every request alike; what is not bytes goes as JSON, and `_` in a header's name stands for `-`."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {"Content-Type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}

        async def script(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status, body=content, headers=named)

        self.script = script

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(Asked(request.method, request.path_qs, request.headers, await request.read()))
        assert self.script is not None
        return await self.script(request)


async def _serve(resources: AsyncExitStack, context: ssl.SSLContext | None) -> Upstream:
    upstream = Upstream()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", upstream.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    resources.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    upstream.url = f"{'http' if context is None else 'https'}://127.0.0.1:{runner.addresses[0][1]}/v1"
    return upstream


@pytest.fixture
async def upstream(resources: AsyncExitStack) -> Upstream:
    return await _serve(resources, None)


@pytest.fixture
def foreign_certificate(tmp_path: Path) -> ssl.SSLContext:
    """Make a server's side of TLS with a certificate for 127.0.0.1 that no authority vouches for."""
    certificate, key = tmp_path / "self-signed.pem", tmp_path / "self-signed.key"
    made = ["-subj", "/CN=made for a test", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    files = ["-out", str(certificate), "-keyout", str(key)]
    subprocess.run(
        ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", *made, *files],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


@pytest.fixture
async def upstream_with_foreign_certificate(resources: AsyncExitStack, foreign_certificate: ssl.SSLContext) -> Upstream:
    return await _serve(resources, foreign_certificate)


@pytest.fixture
def peer_url(resources: AsyncExitStack) -> Callable[[Peer], Awaitable[str]]:
    """Start a peer that is free to break HTTP, once a request's head has arrived; return its base URL."""

    async def start(peer: Peer) -> str:
        conversations: set[asyncio.Task[None]] = set()

        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            try:
                await peer(reader, writer)
            except ConnectionError:
                pass
            finally:
                writer.close()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(converse(reader, writer))
            conversations.add(task)
            task.add_done_callback(conversations.discard)

        async def stop() -> None:
            server.close()
            for task in conversations:
                task.cancel()
            await asyncio.gather(*conversations, return_exceptions=True)

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        resources.push_async_callback(stop)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"

    return start


@pytest.fixture
async def session(resources: AsyncExitStack) -> aiohttp.ClientSession:
    return await resources.enter_async_context(aiohttp.ClientSession())


@pytest.fixture
def budget() -> RateLimiter:
    """A budget that never makes anybody wait."""
    return RateLimiter(10_000_000, SystemClock())


MakeClient = Callable[..., Client]


@pytest.fixture
def client_of(session: aiohttp.ClientSession, budget: RateLimiter) -> MakeClient:
    """Make a client of the API at a base URL, with more keys of a source where the test says so."""

    def make(base_url: str, **keys: Any) -> Client:
        settings = SourceSettings.model_validate({"base_url": base_url, "token": TOKEN, "timeout": "5s"} | keys)
        return Client(HttpExchange(session, settings), settings, budget)

    return make


Gathered = Callable[[AsyncIterator[Mapping[str, Any]]], Awaitable[dict[str, Any]]]


@pytest.fixture(scope="session")
def gathered() -> Gathered:
    """Put the batches of a list of names together."""

    async def gather(batches: AsyncIterator[Mapping[str, Any]]) -> dict[str, Any]:
        return {id_: name async for batch in batches for id_, name in batch.items()}

    return gather


@pytest.fixture(scope="session")
def token() -> str:
    return TOKEN


@pytest.fixture(scope="session")
def sample() -> Callable[[str], Any]:
    """Read one of the documentation's example payloads."""

    def read(name: str) -> Any:
        return json.loads((SAMPLES / name).read_bytes())

    return read
