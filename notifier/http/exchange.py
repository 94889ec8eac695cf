"""Makes one HTTP exchange with a peer that may be slow, hostile or broken; for the API client and the destinations."""

import asyncio
import io
import os
import re
import ssl
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote_to_bytes, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from notifier.http.connector import (
    MOST_HEAD_BYTES,
    MOST_INTERIM,
    TOO_MANY_INTERIM,
    TOO_MUCH_AROUND,
    TOO_MUCH_BEFORE,
    Connector,
)
from notifier.http.resolver import LOOK_UP_SECONDS, NameTimeoutError
from notifier.redact import hide_cut, redact

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy


LONGEST_FIELD_BYTES: Final = 2**16
"""Maximum bytes of an answer's first line or of one header field; proxies add policies of many kilobytes."""

MOST_FIELDS: Final = 400
"""Maximum number of header fields of an answer."""

_LINE: Final = re.compile(r"(?P<what>[^:\n]+)(?::\s+(?P<why>[^:\n]+))?:\s+b(?P<quote>['\"])(?P<line>.*)(?P=quote)\n")
"""Matches the messages of aiohttp's parser that name a problem and quote the line with it."""

_REFUSED: Final = {
    TOO_MUCH_BEFORE: f"the answer's header is longer than {MOST_HEAD_BYTES:,} bytes, interim answers included",
    TOO_MANY_INTERIM: f"more than {MOST_INTERIM} interim answers (1xx) came before an answer",
    TOO_MUCH_AROUND: f"more than {MOST_HEAD_BYTES:,} bytes came without any of the answer's body",
}

_UNSENDABLE: Final = re.compile(r"[^\x21-\x7e]+")
_LONGEST_QUOTE: Final = 60
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
_MOST_URLS: Final = 512
LARGE_BODY_BYTES: Final = 2**20
"""The most bytes of a request's body that are handed to the system at once."""

_PIECE = 2**14
TROUBLE: Final = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""All exceptions that `aiohttp` raises when it aborts an exchange."""


class TransportReason(StrEnum):
    """The reasons why no complete answer arrived."""

    NAME_NOT_RESOLVED = "name_not_resolved"
    CONNECT_FAILED = "connect_failed"
    CERTIFICATE_REJECTED = "certificate_rejected"
    TIMEOUT = "timeout"
    CONNECTION_LOST = "connection_lost"
    ANSWER_TOO_LARGE = "answer_too_large"
    PROTOCOL_BROKEN = "protocol_broken"


class TransportError(Exception):
    """The exchange failed before a complete answer arrived; the peer may or may not have acted on the request.

    `message` contains no URL and no secret.
    """

    def __init__(self, reason: TransportReason, message: str) -> None:
        """Initialize with the reason and a sentence for people."""
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Answer:
    """A peer's answer: HTTP status, headers, and the decompressed body within the limit of its length."""

    status: int
    headers: "CIMultiDictProxy[str]"
    body: bytes


def new_session(resolver: AbstractResolver | None = None) -> aiohttp.ClientSession:
    """Return a new session, which the whole process shares; the caller must close it.

    The session does not limit the number of requests. `resolver` finds the addresses of host names; by default, the
    system does.
    """
    return aiohttp.ClientSession(
        connector=Connector(resolver),
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=LONGEST_FIELD_BYTES,
        max_field_size=LONGEST_FIELD_BYTES,
        max_headers=MOST_FIELDS,
    )


@lru_cache(maxsize=_MOST_URLS)
def request_url(url: str) -> tuple[URL, Mapping[str, str]]:
    """Return a URL ready to send, and the header for the user name and password in it (RFC 7617, in UTF-8).

    Path and query are kept byte for byte, except that spaces and non-ASCII characters, which a request must not
    contain, are escaped. Raises ValueError for anything but an HTTP URL.
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
    query = f"?{_sendable(parts.query)}" if parts.query else ""
    address = URL(f"{parts.scheme}://{host}{port}{_sendable(parts.path) or '/'}{query}", encoded=True)
    if parts.username is None:
        return address, {}
    pair = b":".join(map(unquote_to_bytes, (parts.username, parts.password or "")))
    return address, {"Authorization": f"Basic {b64encode(pair).decode()}"}


def _sendable(text: str) -> str:
    return _UNSENDABLE.sub(lambda found: quote(found[0]), text)


async def post(
    session: aiohttp.ClientSession,
    url: str,
    body: bytes,
    *,
    headers: Mapping[str, str],
    timeout: float,
    limit: int,
    truncate: bool = False,
    body_counts: bool = True,
    ssl_context: ssl.SSLContext | bool = True,
) -> Answer:
    """POST `body` and return the complete answer; a redirect is returned like any other answer and never followed.

    `timeout` (seconds) covers everything from connecting to the body's last byte; connecting may take almost all of it.
    A body longer than `limit` bytes is cut with `truncate`, and otherwise is an error. With `body_counts=False`, no
    failure after the status is an error; the body is then as much of its beginning as could be read. Raises
    TransportError and nothing else.
    """
    try:
        address, credentials = request_url(url)
        async with session.post(
            address,
            data=_payload(body),
            headers={**headers, **credentials},
            timeout=limits_of(timeout),
            allow_redirects=False,
            ssl=ssl_context,
            auto_decompress=body_counts,
        ) as response:
            content = await read_body(
                response.content, response.headers, limit, truncate=truncate, body_counts=body_counts
            )
            if not response.content.is_eof():
                response.close()
            return Answer(response.status, response.headers, content)
    except TROUBLE as error:
        raise as_transport_error(error, timeout) from error


class IncomingAnswer:
    """An answer whose body is still arriving; `head` is the answer so far, with an empty body."""

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
            piece = await self._content.read(_PIECE)
        except TROUBLE as error:
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
    """POST `body` and yield the answer while it arrives, for bodies that are too large to hold in memory.

    Redirects, `timeout` and `limit` are handled as in `post`; `timeout` includes the time that the reader takes between
    two pieces. The connection is closed if the body is not read to its end. Raises TransportError, and whatever the
    reader raises.
    """
    limits = aiohttp.ClientTimeout(total=timeout)
    try:
        address, credentials = request_url(url)
        response = await session.post(
            address,
            data=_payload(body),
            headers={**headers, **credentials},
            timeout=limits,
            allow_redirects=False,
        )
    except TROUBLE as error:
        raise as_transport_error(error, timeout) from error
    with closing(response):
        yield IncomingAnswer(response, timeout=timeout, limit=limit)


def limits_of(timeout: float) -> aiohttp.ClientTimeout:
    """Return the limits of an exchange that may take `timeout` seconds, for aiohttp."""
    return aiohttp.ClientTimeout(total=timeout, connect=_time_to_connect(timeout))


def _time_to_connect(timeout: float) -> float:
    """Return the time limit for connecting; as it is below `timeout`, exceeding it proves that nothing was sent."""
    return timeout - min(1.0, timeout / 4)


def _payload(body: bytes) -> bytes | io.BytesIO:
    """Return a body in a form that aiohttp accepts without a warning: a large one as a file, written in pieces."""
    return body if len(body) <= LARGE_BODY_BYTES else io.BytesIO(body)


def _too_large(limit: int) -> TransportError:
    return TransportError(TransportReason.ANSWER_TOO_LARGE, f"the answer is longer than {limit} bytes")


async def read_body(
    content: aiohttp.StreamReader,
    headers: Mapping[str, str],
    limit: int,
    *,
    truncate: bool,
    body_counts: bool,
    ends_at: float | None = None,
) -> bytes:
    """Return a body as `post` does, and leave the rest unread; `ends_at`: when the time is up (None: see `content`)."""
    body = bytearray()
    try:
        if content.is_eof():
            body += content.read_nowait(limit + 1)
        else:
            async with asyncio.timeout_at(ends_at):
                while len(body) <= limit and (chunk := await content.read(65536)):
                    body += chunk
    except TROUBLE:
        if body_counts:
            raise
    if not body_counts:
        return _decoded(bytes(body), headers.get("Content-Encoding", "").strip().lower(), limit)
    if len(body) > limit and not truncate:
        raise _too_large(limit)
    return bytes(body[:limit])


def _decoded(body: bytes, encoding: str, limit: int) -> bytes:
    """Return the decoded beginning of a body; b"" if the encoding is unknown, or the body is not encoded like that."""
    match encoding:
        case "" | "identity":
            return body[:limit]
        case "gzip" | "deflate":
            with suppress(zlib.error):
                return zlib.decompressobj(_GZIP_OR_ZLIB).decompress(body, limit)
    return b""


def as_transport_error(error: Exception, timeout: float) -> TransportError:
    """Return the error for an exchange that `aiohttp` aborted."""
    reason = TransportReason
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return _tls_failed(error)
        case aiohttp.ClientConnectorDNSError():
            late = f" within {LOOK_UP_SECONDS:g} seconds" if isinstance(error.os_error, NameTimeoutError) else ""
            return TransportError(reason.NAME_NOT_RESOLVED, f"the name {error.host} could not be resolved{late}")
        case aiohttp.ConnectionTimeoutError():
            return TransportError(reason.CONNECT_FAILED, f"no connection within {_time_to_connect(timeout):g} seconds")
        case TimeoutError():
            return TransportError(reason.TIMEOUT, f"no whole answer within {timeout:g} seconds")
        case aiohttp.ClientConnectorError():
            return TransportError(reason.CONNECT_FAILED, f"no connection: {_inner(error)}")
        case aiohttp.ClientOSError(__cause__=ssl.SSLError() as cause):
            # With TLS 1.3, a peer rejects the client certificate only after the handshake.
            return TransportError(reason.CERTIFICATE_REJECTED, f"TLS failed: {_inner(cause)}")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return TransportError(reason.CONNECTION_LOST, "the peer closed the connection before it had answered")
        case aiohttp.InvalidURL() | ValueError():
            return TransportError(reason.PROTOCOL_BROKEN, "no request could be made: check the URL and the headers")
        case aiohttp.ClientError():
            return _unreadable(error)
        case _:
            return TransportError(reason.CONNECTION_LOST, f"the connection broke ({type(error).__name__})")


def _tls_failed(error: Exception) -> TransportError:
    """Return the error for a failed handshake; a peer that answers without TLS is not a problem with certificates."""
    if any(word in str(error) for word in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")):
        advice = "check the scheme and the port of the address"
        return TransportError(TransportReason.PROTOCOL_BROKEN, f"the peer does not speak TLS at this port: {advice}")
    return TransportError(TransportReason.CERTIFICATE_REJECTED, f"TLS failed: {_inner(error)}")


def _unreadable(error: aiohttp.ClientError) -> TransportError:
    """Return the error for an unreadable answer."""
    match error:
        case aiohttp.ClientResponseError():
            return unreadable_head(error.message)
        case aiohttp.ClientPayloadError(__cause__=HttpProcessingError() as cause) if not _is_cut_off(cause):
            return TransportError(TransportReason.PROTOCOL_BROKEN, _wrong_in(cause.message))
        case aiohttp.ClientPayloadError():
            return TransportError(TransportReason.CONNECTION_LOST, "the answer was cut off")
        case _:
            return TransportError(TransportReason.PROTOCOL_BROKEN, f"the exchange failed ({type(error).__name__})")


def unreadable_head(message: str) -> TransportError:
    """Return the error for an unreadable head of an answer, from aiohttp's parser message."""
    return TransportError(TransportReason.PROTOCOL_BROKEN, _wrong_in(message))


def _is_cut_off(error: HttpProcessingError) -> bool:
    return error.message.startswith("Not enough data")


def _wrong_in(message: str) -> str:
    """Describe, from aiohttp's parser message, which field or line was invalid HTTP, without a field's value."""
    if message in _REFUSED:
        return _REFUSED[message]
    if "bytes when reading" in message:
        return f"a line or field of the answer's header is longer than {LONGEST_FIELD_BYTES:,} bytes"
    if message.startswith("Too many headers"):
        return f"the answer's header has more than {MOST_FIELDS} fields"
    if encoding := re.match(r"Can not decode content-encoding: (\w+)", message):
        return f"the answer's body cannot be decoded: it is said to be {encoding[1]}"
    wrong = _LINE.match(message)
    if wrong is None:
        what = "a header field has a character that none may have" if "header" in message else _quoted(message)
        return f"not an HTTP answer: {what}"
    what = wrong["why"] or wrong["what"]
    if what.startswith("Expected HTTP/"):
        return f"not an HTTP answer: it begins with `{_quoted(wrong['line'])}`"
    name, colon, _ = wrong["line"].partition(":")
    place = f"the field {_quoted(name)}" if colon and wrong["why"] is None else f"the line `{_quoted(wrong['line'])}`"
    return f"not an HTTP answer: {what[0].lower()}{what[1:]}, in {place}"


def _quoted(text: str) -> str:
    line = "".join(character if character.isprintable() else " " for character in hide_cut(redact(text)))
    return line if len(line) <= _LONGEST_QUOTE else line[: _LONGEST_QUOTE - 1] + "…"


def _inner(error: Exception) -> str:
    """Describe an error in the words of the operating system or OpenSSL, which contain no URL."""
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
