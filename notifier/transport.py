"""One HTTP exchange with a peer that may be slow, hostile or broken: shared by the API client and the destinations."""

import io
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractResolver

from notifier.connections import Connector

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy


_LARGE_BODY = 2**20
_PIECE = 2**14
_TROUBLE = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""All that `aiohttp` gives an exchange up with."""


class TransportReason(StrEnum):
    """Why there was no whole answer."""

    NAME_NOT_RESOLVED = "name_not_resolved"
    CONNECT_FAILED = "connect_failed"
    CERTIFICATE_REJECTED = "certificate_rejected"
    TIMEOUT = "timeout"
    CONNECTION_LOST = "connection_lost"
    ANSWER_TOO_LARGE = "answer_too_large"
    PROTOCOL_BROKEN = "protocol_broken"


class TransportError(Exception):
    """The exchange failed before a whole answer was there; the peer may or may not have acted on the request.

    `message` names no URL and no secret.
    """

    def __init__(self, reason: TransportReason, message: str) -> None:
        """Remember the named reason and a sentence for people."""
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Answer:
    """A peer's answer: HTTP status, headers, and the body, decompressed and at most as long as was allowed."""

    status: int
    headers: "CIMultiDictProxy[str]"
    body: bytes


def new_session(resolver: AbstractResolver | None = None) -> aiohttp.ClientSession:
    """Make the one session of a process; how much goes where is its users' affair. To be closed by the caller.

    `resolver` finds the addresses of names, by default as the system does.
    """
    return aiohttp.ClientSession(connector=Connector(resolver), cookie_jar=aiohttp.DummyCookieJar())


async def read_capped(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read a body of at most `limit` bytes, counted after decompression.

    Raises TransportError(ANSWER_TOO_LARGE) as soon as there is more, without reading the rest.
    """
    body = bytearray()
    async for chunk in response.content.iter_chunked(65536):
        body += chunk
        if len(body) > limit:
            response.close()
            raise _too_large(limit)
    return bytes(body)


async def post(
    session: aiohttp.ClientSession,
    url: str,
    body: bytes,
    *,
    headers: Mapping[str, str],
    timeout: float,
    limit: int,
    truncate: bool = False,
    ssl_context: ssl.SSLContext | bool = True,
) -> Answer:
    """POST `body` and return the whole answer; redirects are answers like any other and never followed.

    `timeout` (seconds) covers everything from the connection to the body's last byte; a connection that takes almost
    all of it is one that failed. Of a body longer than `limit` bytes, `truncate` keeps the beginning; otherwise it is
    an error. Raises TransportError and nothing else.
    """
    limits = aiohttp.ClientTimeout(total=timeout, connect=_time_to_connect(timeout))
    try:
        async with session.post(
            url, data=_payload(body), headers=headers, timeout=limits, allow_redirects=False, ssl=ssl_context
        ) as response:
            content = await _read_start(response, limit) if truncate else await read_capped(response, limit)
            return Answer(response.status, response.headers, content)
    except _TROUBLE as error:
        raise as_transport_error(error, timeout) from error


class IncomingAnswer:
    """An answer whose body is still on its way; `head` is what there is of it at first, with an empty body."""

    def __init__(self, response: aiohttp.ClientResponse, *, timeout: float, limit: int) -> None:
        self.head = Answer(response.status, response.headers, b"")
        self._content = response.content
        self._timeout = timeout
        self._limit = limit
        self._size = 0

    async def read(self) -> bytes:
        """Return the next piece of the body, decompressed and of at most 16 KiB; an empty one at the end.

        Raises TransportError and nothing else.
        """
        try:
            piece = await self._content.read(_PIECE)
        except _TROUBLE as error:
            raise as_transport_error(error, self._timeout) from error
        self._size += len(piece)
        if self._size > self._limit:
            raise _too_large(self._limit)
        return piece


@asynccontextmanager
async def stream(
    session: aiohttp.ClientSession,
    url: str,
    body: bytes,
    *,
    headers: Mapping[str, str],
    timeout: float,
    limit: int,
) -> AsyncIterator[IncomingAnswer]:
    """POST `body` and hand on the answer while it arrives, for bodies that are not to be held as a whole.

    Redirects, `timeout` and `limit` are as with `post`; the time that the reader takes between two pieces counts too.
    A body that was not read to its end costs the connection. Raises TransportError, and what the reader raises.
    """
    limits = aiohttp.ClientTimeout(total=timeout)
    try:
        response = await session.post(url, data=_payload(body), headers=headers, timeout=limits, allow_redirects=False)
    except _TROUBLE as error:
        raise as_transport_error(error, timeout) from error
    with closing(response):
        yield IncomingAnswer(response, timeout=timeout, limit=limit)


def _time_to_connect(timeout: float) -> float:
    """Leave a little of an exchange's time, so that one is told apart that ended before any of its request was sent."""
    return timeout - min(1.0, timeout / 4)


def _payload(body: bytes) -> bytes | io.BytesIO:
    """Let aiohttp write a large body in pieces; of large bytes it warns that they hold up the event loop."""
    return body if len(body) <= _LARGE_BODY else io.BytesIO(body)


def _too_large(limit: int) -> TransportError:
    return TransportError(TransportReason.ANSWER_TOO_LARGE, f"the answer is longer than {limit} bytes")


async def _read_start(response: aiohttp.ClientResponse, limit: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(65536):
        body += chunk
        if len(body) > limit:
            response.close()
            return bytes(body[:limit])
    return bytes(body)


def as_transport_error(error: Exception, timeout: float) -> TransportError:
    """Name what went wrong in an exchange that `aiohttp` gave up on."""
    reason = TransportReason
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return TransportError(reason.CERTIFICATE_REJECTED, f"TLS failed: {_inner(error)}")
        case aiohttp.ClientConnectorDNSError():
            return TransportError(reason.NAME_NOT_RESOLVED, f"the name {error.host} could not be resolved")
        case aiohttp.ConnectionTimeoutError():
            return TransportError(reason.CONNECT_FAILED, f"no connection within {_time_to_connect(timeout):g} seconds")
        case TimeoutError():
            return TransportError(reason.TIMEOUT, f"no whole answer within {timeout:g} seconds")
        case aiohttp.ClientConnectorError():
            return TransportError(reason.CONNECT_FAILED, f"no connection: {_inner(error)}")
        case aiohttp.ClientOSError(__cause__=ssl.SSLError() as cause):
            # A peer that wants another certificate from us says so, with TLS 1.3, after the handshake.
            return TransportError(reason.CERTIFICATE_REJECTED, f"TLS failed: {_inner(cause)}")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return TransportError(reason.CONNECTION_LOST, "the peer closed the connection before it had answered")
        case aiohttp.ClientPayloadError():
            return TransportError(reason.CONNECTION_LOST, "the answer was cut off")
        case aiohttp.InvalidURL() | aiohttp.ClientError() | ValueError():
            return TransportError(reason.PROTOCOL_BROKEN, f"not an HTTP answer ({type(error).__name__})")
        case _:
            return TransportError(reason.CONNECTION_LOST, f"the connection broke ({type(error).__name__})")


def _inner(error: Exception) -> str:
    """Describe the operating system's or OpenSSL's own words, which name no URL."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            inner: BaseException | None = error.certificate_error
        case aiohttp.ClientConnectorError():
            inner = error.os_error
        case _:
            inner = error
    match inner:
        case ssl.SSLCertVerificationError():
            return inner.verify_message or "the certificate was not accepted"
        case ssl.SSLError():
            return inner.reason or "handshake failed"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
        case OSError():
            return inner.strerror or type(inner).__name__
        case _:
            return type(inner).__name__
