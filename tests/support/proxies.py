"""A small HTTP proxy: it opens tunnels (CONNECT), and passes plain requests on."""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import pytest

_END: Final = b"\r\n\r\n"
CREDENTIALS: Final = "someone:s3cret-p%40ssword"
PASSWORD: Final = "s3cret-p@ssword"
AUTHORIZATION: Final = f"Basic {b64encode(f'someone:{PASSWORD}'.encode()).decode()}"


@dataclass
class ForwardProxy:
    """A proxy that records the head of each request to it.

    `hosts` maps host names to addresses. With `refuses`, the proxy answers each request with these bytes. With `hangs`,
    it never answers. With `wants`, requests need this value in the header `Proxy-Authorization`.
    """

    url: str = ""
    hosts: dict[str, tuple[str, int]] = field(default_factory=dict)
    refuses: bytes | None = None
    hangs: bool = False
    wants: str | None = None
    heads: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        """The proxy's host and port."""
        return urlsplit(self.url).netloc

    @property
    def url_with_credentials(self) -> str:
        """The proxy's URL with the user name and the password of `AUTHORIZATION`."""
        return self.url.replace("://", f"://{CREDENTIALS}@")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(_END)).decode()
        self.heads.append(head)
        if self.hangs:
            await reader.read()
            return
        if self.refuses is not None:
            writer.write(self.refuses)
            return
        if self.wants is not None and f"Proxy-Authorization: {self.wants}\r\n" not in head:
            writer.write(b"HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
            return
        method, target, _ = head.partition("\r\n")[0].split(" ")
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        place = self.hosts.get(parts.hostname or "", (parts.hostname or "", parts.port or 80))
        there, to_peer = await asyncio.open_connection(*place)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            first, _, rest = head.partition("\r\n")
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            kept = "".join(f"{line}\r\n" for line in rest.split("\r\n") if line and not line.startswith("Proxy-"))
            to_peer.write(f"{first.split(' ')[0]} {path} HTTP/1.1\r\n{kept}Connection: close\r\n\r\n".encode())
        try:
            await asyncio.gather(_pipe(reader, to_peer), _pipe(there, writer))
        finally:
            to_peer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(2**16):
            writer.write(piece)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def proxying(context: ssl.SSLContext | None = None) -> AsyncIterator[ForwardProxy]:
    """Run a proxy on this machine, with TLS if a context is given."""
    made = ForwardProxy()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=context)
    scheme = "http" if context is None else "https"
    made.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()


@pytest.fixture
async def forward_proxy() -> AsyncIterator[ForwardProxy]:
    async with proxying() as made:
        yield made


@pytest.fixture
def no_proxy_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delete the environment variables that name proxies."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
