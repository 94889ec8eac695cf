"""A running simulated API to talk to, and the documented payloads to compare with."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
import pytest
from aiohttp import web
from yarl import URL

from notifier.sandbox import TRAFFIC, Account, Traffic, make_app, serve

SAMPLES = Path(__file__).parents[2] / "samples"


@dataclass(frozen=True, slots=True)
class Caller:
    """Talks to a running simulated API."""

    base_url: str
    session: aiohttp.ClientSession
    traffic: Traffic

    async def post(self, method: str, **parameters: Any) -> dict[str, Any]:
        return await self.send("POST", method, orjson.dumps({"token": "sandbox", **parameters}))

    async def get(self, method: str, **parameters: Any) -> dict[str, Any]:
        query = quote(orjson.dumps({"token": "sandbox", **parameters}), safe="")
        return await self.send("GET", f"{method}?{query}")

    async def send(self, verb: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        """Send anything at all; the answer must be a JSON object with status 200."""
        response, content = await self.exchange(verb, path, body)
        assert response.status == 200
        assert response.content_type == "application/json"
        answer: dict[str, Any] = orjson.loads(content)
        return answer

    async def exchange(self, verb: str, path: str, body: bytes | None = None) -> tuple[aiohttp.ClientResponse, bytes]:
        url = URL(f"{self.base_url}/{path}", encoded=True)
        async with self.session.request(verb, url, data=body) as response:
            return response, await response.read()


Start = Callable[..., Awaitable[Caller]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start the simulated API for an account, with the options of `make_app`."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())

        async def start_api(account: Account, **options: Any) -> Caller:
            app: web.Application = make_app(account, **options)
            return Caller(await stack.enter_async_context(serve(app)), session, app[TRAFFIC])

        yield start_api


@pytest.fixture
def sample() -> Callable[[str], dict[str, Any]]:
    """Read one of the documented example payloads by its file's name."""

    def read(name: str) -> dict[str, Any]:
        payload: dict[str, Any] = orjson.loads((SAMPLES / name).read_bytes())
        return payload

    return read
