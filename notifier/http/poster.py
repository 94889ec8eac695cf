"""Sends many POST requests to one address; what they have in common is prepared only once.

Connections, parser, limits and results are the same as with `exchange.send`. This module needs less processor time,
because it calls internals of aiohttp. If the installed aiohttp has other internals, it calls `send` instead.
"""

import asyncio
import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from http import HTTPStatus
from inspect import signature
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict

from notifier.http.connector import Connector
from notifier.http.exchange import (
    LARGE_BODY_BYTES,
    Answer,
    RequestOptions,
    client_timeout,
    proxy_options,
    read_body,
    request_url,
    send,
)
from notifier.http.proxy import Proxy
from notifier.http.time_limit import TimeLimit
from notifier.http.transport_errors import (
    EXCHANGE_ERRORS,
    LONGEST_FIELD_BYTES,
    MAX_FIELDS,
    as_transport_error,
    unreadable_head_error,
)

_CALLED_INTERNALS: Final[Mapping[Callable[..., Any], set[str]]] = {
    aiohttp.ClientRequest.__init__: {*("method", "url", "headers", "loop", "session", "ssl", "proxy", "proxy_headers")},
    aiohttp.TCPConnector.connect: {"req", "traces", "timeout"},
    ResponseHandler.set_response_params: {
        *("read_until_eof", "auto_decompress", "max_line_size", "max_field_size", "max_headers")
    },
    ResponseHandler.read: {"self"},
    Connection.release: {"self"},
    Connection.close: {"self"},
}
"""The internal functions of aiohttp that this module calls, with the parameters that it passes."""

_READ_ATTRIBUTES: Final = {
    ResponseHandler: ("transport",),
    Connection: ("protocol",),
    aiohttp.StreamReader: ("is_eof", "at_eof", "read", "read_nowait"),
}
"""The internal classes of aiohttp from which this module reads attributes, with the names of the attributes."""

_FORBIDDEN: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""Matches the characters that a header field must not contain. A line break, for example, would begin another field
(RFC 9110, 5.5).
"""


@cache
def internals_match() -> bool:
    """Return whether the installed aiohttp has the internals that this module uses."""
    called = all(parameters <= signature(part).parameters.keys() for part, parameters in _CALLED_INTERNALS.items())
    return called and all(hasattr(part, name) for part, names in _READ_ATTRIBUTES.items() for name in names)


class _PreparedRequest:
    """What all requests with one TLS context have in common: an aiohttp request, and the head as bytes."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        headers: Mapping[str, str],
        tls: ssl.SSLContext | bool,
        proxy: Proxy | None,
    ) -> None:
        address, credentials = request_url(url)
        through = proxy_options(proxy, address, headers)
        fields = CIMultiDict[str]()
        for name, value in (*headers.items(), *credentials.items()):
            fields[name] = value
        self.tls = tls
        self.request = aiohttp.ClientRequest(
            "POST",
            address,
            headers=fields,
            loop=asyncio.get_running_loop(),
            session=session,
            ssl=tls,
            **through.options,
        )
        made = self.request.headers
        # This module cannot handle `Expect`, for which the body must wait for an interim answer, and cannot send a
        # request without TLS through a proxy.
        self.is_sendable = "Expect" not in made and (proxy is None or address.scheme == "https")
        lines = _header_lines((name, value) for name, value in made.items() if name.lower() != "content-length")
        self.head = f"POST {address.raw_path_qs} HTTP/1.1\r\n".encode() + lines


class Poster:
    """Sends POST requests to one address."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        headers: Mapping[str, str],
        *,
        timeout: float,
        limit: int,
        proxy: Proxy | None = None,
    ) -> None:
        """Initialise with what all requests share; `limit` is the maximum size of an answer's body in bytes.

        `timeout` is in seconds.
        """
        self._session = session
        self._url = url
        self._headers = headers
        self._timeout = timeout
        self._limit = limit
        self._limits = client_timeout(timeout)
        self._time_limit = TimeLimit(timeout)
        self._proxy = proxy
        self._prepared: _PreparedRequest | None = None

    async def post(
        self,
        body: bytes,
        headers: Mapping[str, str],
        *,
        truncate: bool = False,
        needs_body: bool = True,
        ssl_context: ssl.SSLContext | bool = True,
    ) -> Answer:
        """POST `body` with the common headers and additional `headers`; all else is as in `exchange.send`.

        `headers` must not contain a name of a common header.
        """
        connector = self._session.connector
        if isinstance(connector, Connector) and internals_match() and len(body) <= LARGE_BODY_BYTES:
            try:
                prepared = self._prepare(ssl_context)
                if prepared.is_sendable:
                    lines = _header_lines(headers.items()) if headers else b""
                    content = b"%bContent-Length: %d\r\n%b\r\n%b" % (prepared.head, len(body), lines, body)
                    return await self._exchange(
                        connector, prepared.request, content, truncate=truncate, needs_body=needs_body
                    )
            except HttpProcessingError as error:
                raise unreadable_head_error(error.message) from error
            except EXCHANGE_ERRORS as error:
                raise as_transport_error(error, self._timeout, self._proxy) from error
        options = RequestOptions(
            {**self._headers, **headers}, self._timeout, self._limit, truncate, needs_body, ssl_context, self._proxy
        )
        return await send(self._session, "POST", self._url, body, options)

    def _prepare(self, tls: ssl.SSLContext | bool) -> _PreparedRequest:
        if self._prepared is None or self._prepared.tls is not tls:
            self._prepared = _PreparedRequest(self._session, self._url, self._headers, tls, self._proxy)
        return self._prepared

    async def _exchange(
        self,
        connector: Connector,
        request: aiohttp.ClientRequest,
        request_bytes: bytes,
        *,
        truncate: bool,
        needs_body: bool,
    ) -> Answer:
        async with asyncio.timeout(None) as timeout:
            ends_at = self._time_limit.begin(timeout)
            try:
                connection = await self._connect(connector, request)
                try:
                    head, content = await _send_request(connection, request_bytes, decompress=needs_body)
                except BaseException:
                    _discard_connection(connection)
                    raise
            finally:
                self._time_limit.end(timeout)
        try:
            body = b""
            if not content.at_eof():
                body = await read_body(
                    content, head.headers, self._limit, truncate=truncate, needs_body=needs_body, ends_at=ends_at
                )
        finally:
            _return_connection(connection)
        return Answer(head.code, head.headers, body)

    async def _connect(self, connector: Connector, request: aiohttp.ClientRequest) -> Connection:
        try:
            return await connector.connect(request, traces=[], timeout=self._limits)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError from error


async def _send_request(
    connection: Connection, request: bytes, *, decompress: bool
) -> tuple[RawResponseMessage, aiohttp.StreamReader]:
    """Send a request, and return the head of the answer and its body, which may not have arrived yet."""
    protocol = connection.protocol
    transport = None if protocol is None else protocol.transport
    if protocol is None or transport is None:
        raise aiohttp.ClientOSError("the connection was closed before it was used")
    protocol.set_response_params(
        read_until_eof=True,
        auto_decompress=decompress,
        max_line_size=LONGEST_FIELD_BYTES,
        max_field_size=LONGEST_FIELD_BYTES,
        max_headers=MAX_FIELDS,
    )
    transport.write(request)
    head, content = await protocol.read()
    while head.code // 100 == 1 and head.code != HTTPStatus.SWITCHING_PROTOCOLS:
        head, content = await protocol.read()
    return head, content


def _return_connection(connection: Connection) -> None:
    """Give a connection back to the connector, or close it if part of the request was not sent."""
    transport = connection.transport
    if transport is not None and transport.get_write_buffer_size():
        # The peer answered before it had read the whole request, and may never read the rest.
        connection.close()
    else:
        connection.release()


def _discard_connection(connection: Connection) -> None:
    """Close a connection after a failure; the part of the request that was not sent is discarded."""
    transport = connection.transport
    if transport is not None and transport.get_write_buffer_size():
        transport.abort()
    connection.close()


def _header_lines(fields: Iterable[tuple[str, str]]) -> bytes:
    """Return header fields as bytes to send. Raises ValueError if one contains a forbidden character."""
    lines = [f"{name}: {value}" for name, value in fields]
    text = "".join(lines)
    # No forbidden character is printable, and this test is faster than the search.
    if not text.isprintable() and _FORBIDDEN.search(text):
        raise ValueError("a header field has a character that none may have")
    return "\r\n".join([*lines, ""]).encode()
