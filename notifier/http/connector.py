"""Connections for a process that runs for years: they follow changes of addresses and certificate authorities."""

import asyncio
import ssl
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

from notifier.http.resolver import Resolver
from notifier.http.tls import file_version

if TYPE_CHECKING:
    from aiohttp import ClientRequest, ClientTimeout
    from aiohttp.abc import AbstractResolver
    from aiohttp.tracing import Trace

IDLE_CONNECTION_SECONDS = 30.0
"""Seconds for which an unused connection is kept. Most servers keep it longer, so a request rarely gets a connection
that the server has already closed.
"""

CONNECTION_LIFE_SECONDS = 300.0
"""The maximum age of a connection in seconds. A busy connection would otherwise keep using an outdated address."""

NAME_CACHE_SECONDS = 10
"""Seconds for which the address of a host name is cached."""

CHECK_AUTHORITIES_SECONDS = 3600.0
"""Seconds between two checks for changes of the system's certificate authorities."""

_END_OF_HEAD: Final = b"\r\n\r\n"
_STATUS_OFFSET: Final = len("HTTP/1.1 ")
_STATUSES_WITH_BODY: Final = frozenset({b"200", b"201", b"202"})

MAX_HEAD_BYTES: Final = 2**16
"""The maximum number of bytes before an answer's body, including interim answers. It also limits how many bytes may
arrive within the body without adding to its content, such as chunk extensions.
"""

MAX_INTERIM: Final = 20
"""The maximum number of interim answers, such as 103 Early Hints, before the final answer."""

TOO_MUCH_BEFORE: Final = "too much before the body"
TOO_MANY_INTERIM: Final = "too many interim answers"
TOO_MUCH_WITHOUT_BODY: Final = "too much that is no body"
"""The messages of the exceptions for answers that exceed a limit. The limits are, in this order: MAX_HEAD_BYTES before
the body, MAX_INTERIM, and MAX_HEAD_BYTES within the body.
"""

Version = tuple[tuple[int, int, int] | None, ...]


class ExpiringConnection(ResponseHandler):
    """A connection that is not used for another request once it is `CONNECTION_LIFE_SECONDS` old.

    The head of an answer is parsed before the body. If both were parsed together, invalid HTTP in the body would
    discard the head, and the status would be lost. Only a plain answer (see `_is_plain_answer`) is parsed in one step.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Initialise the connection and its expiry time."""
        super().__init__(loop)
        self._expires_at = loop.time() + CONNECTION_LIFE_SECONDS
        self._awaits_head = False
        self._head_begins = self._head_ends = b""
        self._head_bytes = self._interim_answers = self._bytes_without_body = 0
        self._is_refused = False

    def set_response_params(self, **params: Any) -> None:
        """Prepare to read the next answer."""
        self._awaits_head = True
        self._head_begins = self._head_ends = b""
        self._head_bytes = self._interim_answers = self._bytes_without_body = 0
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, one head at a time; refuse answers that exceed the limits."""
        if self._awaits_head and not self._head_bytes and _is_plain_answer(data):
            self._awaits_head = False
        while self._awaits_head and data and not self._is_refused:
            size = self._count_head_bytes(data)
            self._head_bytes += size
            if self._head_bytes > MAX_HEAD_BYTES:
                return self._refuse(TOO_MUCH_BEFORE)
            if self._interim_answers > MAX_INTERIM:
                return self._refuse(TOO_MANY_INTERIM)
            super().data_received(data[:size])
            data = data[size:]
            if not data:
                return None
        if self._is_refused:
            return None
        body, size = self._payload, 0 if self._payload is None else self._payload.total_bytes
        super().data_received(data)
        if body is not None and body is self._payload and not body.is_eof():
            self._bytes_without_body = self._bytes_without_body + len(data) if body.total_bytes == size else 0
            if self._bytes_without_body > MAX_HEAD_BYTES:
                return self._refuse(TOO_MUCH_WITHOUT_BODY)
        return None

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Continue reading if it was paused. Otherwise do nothing: the library would parse again after each read."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def _refuse(self, message: str) -> None:
        """Stop reading the current answer, because parsing endless data would block the event loop."""
        self._is_refused = True
        if self.transport is not None:
            self.transport.abort()
        self.set_exception(HttpProcessingError(message=message))

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Abort the current answer; code that reads the answer's body fails at once, not after a timeout."""
        payload = self._payload
        super().set_exception(exc, exc if exc_cause is None else exc_cause)
        if isinstance(exc, HttpProcessingError) and payload is not None and not payload.is_eof():
            broken = aiohttp.ClientPayloadError("the body is no HTTP")
            broken.__cause__ = exc
            payload.set_exception(broken)

    def _count_head_bytes(self, data: bytes) -> int:
        """Return how many of the bytes in `data` belong to the current head, and note whether another head follows."""
        self._head_begins += data[: _STATUS_OFFSET + 3 - len(self._head_begins)]
        joined = self._head_ends + data
        end = joined.find(_END_OF_HEAD)
        if end < 0:
            self._head_ends = joined[-len(_END_OF_HEAD) + 1 :]
            return len(data)
        size = end + len(_END_OF_HEAD) - len(self._head_ends)
        # Another head follows only after an interim answer such as 103 Early Hints.
        self._awaits_head = (
            self._head_begins[_STATUS_OFFSET:][:1] == b"1" and self._head_begins[_STATUS_OFFSET:] != b"101"
        )
        self._interim_answers += self._awaits_head
        self._head_begins = self._head_ends = b""
        return size

    @property
    def should_close(self) -> bool:
        """Whether the connection is closed after the current request."""
        return super().should_close or self._loop.time() >= self._expires_at

    def is_connected(self) -> bool:
        """Return whether the connector may use the idle connection for another request.

        Returns False if the peer has sent an answer without a request, because the next request would get that answer.
        """
        return super().is_connected() and not self.should_close


class Connector(aiohttp.TCPConnector):
    """Makes connections with current addresses of host names and the system's current certificate authorities.

    The library neither limits the age of a connection nor reads the authorities again after its import. This class
    overrides internals of the library. Tests fail if the library no longer calls the overridden methods.
    """

    def __init__(self, resolver: "AbstractResolver | None" = None) -> None:
        """Initialise with a `resolver` for host names (None: a new one, which is closed with the connector)."""
        super().__init__(
            limit=0,
            keepalive_timeout=IDLE_CONNECTION_SECONDS,
            ttl_dns_cache=NAME_CACHE_SECONDS,
            resolver=resolver or Resolver(),
        )
        self._resolver_owner = resolver is None
        self._factory = cast("partial[ResponseHandler]", partial(ExpiringConnection, loop=self._loop))
        self._authorities_version = _read_authorities_version()
        self._check_again_at = self._loop.time() + CHECK_AUTHORITIES_SECONDS

    async def _create_connection(
        self, req: "ClientRequest", traces: "list[Trace]", timeout: "ClientTimeout"
    ) -> ResponseHandler:
        if req.is_ssl() and self._loop.time() >= self._check_again_at:
            self._check_again_at = self._loop.time() + CHECK_AUTHORITIES_SECONDS
            found = await asyncio.to_thread(_read_authorities_version)
            if found != self._authorities_version:
                self._ssl = await asyncio.to_thread(_new_ssl_context)
                self._authorities_version = found
        return await super()._create_connection(req, traces, timeout)


def _is_plain_answer(data: bytes) -> bool:
    """Return whether `data` is one whole answer with a body of the stated length, which is certainly valid HTTP.

    A head that states both a length and a chunked body is not checked here, because the parser refuses it. Parsing a
    plain answer in one step saves 3 % of a delivery's processor time.
    """
    head, end, body = data.partition(_END_OF_HEAD)
    return (
        data[_STATUS_OFFSET : _STATUS_OFFSET + 3] in _STATUSES_WITH_BODY
        and len(head) + len(end) <= MAX_HEAD_BYTES
        and b"\r\nContent-Length: %d\r\n" % len(body) in head + end
    )


def _read_authorities_version() -> Version:
    """Return the version of the system's certificate authorities, from the status of their files (blocking)."""
    paths = ssl.get_default_verify_paths()
    return tuple(file_version(Path(path)) for path in (paths.cafile, paths.capath) if path)


def _new_ssl_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
