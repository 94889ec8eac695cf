"""Makes one HTTP exchange with a peer that may be slow, hostile or broken."""

import asyncio
import io
import re
import ssl
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote_to_bytes, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver
from msgspec import Struct
from yarl import URL

from notifier.http.connector import Connector
from notifier.http.proxy import Proxy
from notifier.http.transport_errors import (
    EXCHANGE_ERRORS,
    LONGEST_FIELD_BYTES,
    MAX_FIELDS,
    as_transport_error,
    connect_timeout,
    raise_if_proxy_refused,
    too_large_error,
)

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy


_UNSENDABLE: Final = re.compile(r"[^\x21-\x7e]+")
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
_MAX_URLS: Final = 512
LARGE_BODY_BYTES: Final = 2**20
"""A request's body with more bytes is handed to the operating system in pieces."""

_PIECE_BYTES = 2**14


class Answer(Struct, frozen=True):
    """A peer's answer: HTTP status, headers, and the decompressed body, which may have been cut at a limit."""

    status: int
    headers: "CIMultiDictProxy[str]"
    body: bytes


def new_session(resolver: AbstractResolver | None = None) -> aiohttp.ClientSession:
    """Return a new session for the whole process; the caller must close it.

    The session does not limit the number of requests. `resolver` finds the addresses of host names (None: a new
    `Resolver`).
    """
    return aiohttp.ClientSession(
        connector=Connector(resolver),
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=LONGEST_FIELD_BYTES,
        max_field_size=LONGEST_FIELD_BYTES,
        max_headers=MAX_FIELDS,
    )


@lru_cache(maxsize=_MAX_URLS)
def request_url(url: str) -> tuple[URL, Mapping[str, str]]:
    """Return `url` as it is sent, and the header for the user name and password in it (RFC 7617, in UTF-8).

    Spaces and non-ASCII characters are escaped; everything else in path and query is kept byte for byte. Raises
    ValueError if `url` is not an HTTP URL.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError("no URL of HTTP")
    if ":" in host:
        host = f"[{host}]"
    elif not host.isascii():
        host = URL.build(scheme="http", host=host).raw_host or ""
    port = "" if parts.port is None else f":{parts.port}"
    query = f"?{_escape(parts.query)}" if parts.query else ""
    address = URL(f"{parts.scheme}://{host}{port}{_escape(parts.path) or '/'}{query}", encoded=True)
    if parts.username is None:
        return address, {}
    pair = b":".join(map(unquote_to_bytes, (parts.username, parts.password or "")))
    return address, {"Authorization": f"Basic {b64encode(pair).decode()}"}


class ProxyOptions(Struct, frozen=True):
    """What a request through a proxy needs in addition: `options` for aiohttp's client, and `headers`."""

    options: Mapping[str, Any]
    headers: Mapping[str, str]


_DIRECT: Final = ProxyOptions({}, {})


def proxy_options(proxy: Proxy | None, address: URL, headers: Mapping[str, str]) -> ProxyOptions:
    """Return what a request with these headers to `address` needs to go through `proxy` (None: nothing).

    For `https`, the proxy opens a tunnel. Only the request that asks for the tunnel (CONNECT) has the proxy's
    credentials. For `http`, the request itself goes to the proxy, with the credentials. Raises ValueError if `proxy` is
    not an HTTP proxy.
    """
    if proxy is None:
        return _DIRECT
    at, credentials = request_url(proxy.url)
    authorization = {f"Proxy-{name}": value for name, value in credentials.items()}
    if address.scheme == "http":
        return ProxyOptions({"proxy": at.with_path("/")}, authorization)
    agent = {name: value for name, value in headers.items() if name.lower() == "user-agent"}
    # aiohttp adds `Host` to these headers when it connects, and reuses a connection only for equal headers. If `Host`
    # were missing here, the first connection would not be reused.
    host = {"Host": address.host_port_subcomponent or ""}
    return ProxyOptions({"proxy": at.with_path("/"), "proxy_headers": {**host, **agent, **authorization}}, {})


def _escape(text: str) -> str:
    return _UNSENDABLE.sub(lambda found: quote(found[0]), text)


class RequestOptions(Struct, frozen=True):
    """How a request is sent, and how much of its answer is read."""

    headers: Mapping[str, str]
    timeout: float
    """Seconds from connecting to the last byte of the body. Connecting alone may take almost all of these seconds."""
    limit_bytes: int
    """The maximum size of the body. If `truncate` is true or `needs_body` is false, a larger body is cut. Otherwise, a
    larger body is an error.
    """
    truncate: bool = False
    needs_body: bool = True
    """Whether a failure while the body arrives is an error. If not, the part that has arrived is the body."""
    ssl_context: ssl.SSLContext | bool = True
    proxy: Proxy | None = None


async def send(session: aiohttp.ClientSession, method: str, url: str, body: bytes, options: RequestOptions) -> Answer:
    """Send a request and return the complete answer; a redirect is returned like any other answer, never followed.

    Raises TransportError and nothing else.
    """
    try:
        address, credentials = request_url(url)
        through = proxy_options(options.proxy, address, options.headers)
        async with session.request(
            method,
            address,
            data=_payload(body),
            headers={**options.headers, **credentials, **through.headers},
            timeout=client_timeout(options.timeout),
            allow_redirects=False,
            ssl=options.ssl_context,
            auto_decompress=options.needs_body,
            **through.options,
        ) as response:
            raise_if_proxy_refused(response.status, address, options.proxy)
            content = await read_body(
                response.content,
                response.headers,
                options.limit_bytes,
                truncate=options.truncate,
                needs_body=options.needs_body,
            )
            if not response.content.is_eof():
                response.close()
            return Answer(response.status, response.headers, content)
    except EXCHANGE_ERRORS as error:
        raise as_transport_error(error, options.timeout, options.proxy) from error


class IncomingAnswer:
    """An answer whose body is still arriving; `head` is the answer with an empty body."""

    def __init__(self, response: aiohttp.ClientResponse, *, timeout: float, limit: int) -> None:
        self.head = Answer(response.status, response.headers, b"")
        self._content = response.content
        self._timeout = timeout
        self._limit = limit
        self._size = 0

    async def read(self) -> bytes:
        """Return the next piece of the decompressed body, at most 16 KiB; b"" at the end.

        Raises TransportError and nothing else.
        """
        try:
            piece = await self._content.read(_PIECE_BYTES)
        except EXCHANGE_ERRORS as error:
            raise as_transport_error(error, self._timeout) from error
        self._size += len(piece)
        if self._size > self._limit:
            raise too_large_error(self._limit)
        return piece


@asynccontextmanager
async def stream(
    session: aiohttp.ClientSession, url: str, body: bytes, options: RequestOptions
) -> AsyncIterator[IncomingAnswer]:
    """POST `body` and yield the answer while it arrives, for answers that are too large to hold in memory.

    The timeout includes the time that the caller takes between two pieces. A body longer than the limit is an error. A
    redirect is not followed. A body that is not read to its end closes the connection. Raises TransportError, and
    whatever the caller's code raises.
    """
    try:
        address, credentials = request_url(url)
        through = proxy_options(options.proxy, address, options.headers)
        response = await session.post(
            address,
            data=_payload(body),
            headers={**options.headers, **credentials, **through.headers},
            timeout=aiohttp.ClientTimeout(total=options.timeout),
            allow_redirects=False,
            ssl=options.ssl_context,
            **through.options,
        )
    except EXCHANGE_ERRORS as error:
        raise as_transport_error(error, options.timeout, options.proxy) from error
    with closing(response):
        raise_if_proxy_refused(response.status, address, options.proxy)
        yield IncomingAnswer(response, timeout=options.timeout, limit=options.limit_bytes)


def client_timeout(timeout: float) -> aiohttp.ClientTimeout:
    """Return aiohttp's time limits for an exchange that may take `timeout` seconds."""
    return aiohttp.ClientTimeout(total=timeout, connect=connect_timeout(timeout))


def _payload(body: bytes) -> bytes | io.BytesIO:
    """Return a body in the form that aiohttp expects: a large one as a file, which is written in pieces."""
    return body if len(body) <= LARGE_BODY_BYTES else io.BytesIO(body)


async def read_body(
    content: aiohttp.StreamReader,
    headers: Mapping[str, str],
    limit: int,
    *,
    truncate: bool,
    needs_body: bool,
    ends_at: float | None = None,
) -> bytes:
    """Return an answer's body, read by the rules of `RequestOptions`; what exceeds the limit is left unread.

    `ends_at` is the deadline in the event loop's seconds (None: `content` has its own time limit).
    """
    body = bytearray()
    try:
        if content.is_eof():
            body += content.read_nowait(limit + 1)
        else:
            async with asyncio.timeout_at(ends_at):
                while len(body) <= limit and (chunk := await content.read(65536)):
                    body += chunk
    except EXCHANGE_ERRORS:
        if needs_body:
            raise
    if not needs_body:
        return _decode(bytes(body), headers.get("Content-Encoding", "").strip().lower(), limit)
    if len(body) > limit and not truncate:
        raise too_large_error(limit)
    return bytes(body[:limit])


def _decode(body: bytes, encoding: str, limit: int) -> bytes:
    """Return the decoded beginning of a body; b"" if `encoding` is unknown or does not match the body."""
    match encoding:
        case "" | "identity":
            return body[:limit]
        case "gzip" | "deflate":
            with suppress(zlib.error):
                return zlib.decompressobj(_GZIP_OR_ZLIB).decompress(body, limit)
    return b""
