"""One request to the API and its answer: the protocol that the client needs, and its HTTP implementation."""

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol

import aiohttp
import orjson

from notifier import __version__
from notifier.clock import Clock, SystemClock
from notifier.config import SourceSettings
from notifier.http.exchange import Answer, IncomingAnswer, RequestOptions, stream
from notifier.http.poster import Poster
from notifier.http.proxy import Proxy, proxy_of
from notifier.http.tls import CertificateFileError, Certificates, TlsContextCache
from notifier.http.transport_errors import TransportError, TransportReason

_HEADERS: Final = {
    "accept": "application/json",
    "content-type": "application/json",
    "user-agent": f"completion-notifier/{__version__}",
}


class Exchange(Protocol):
    """Sends one request to the API of a source and returns its answer.

    `parameters` lack the token. A body longer than `limit_bytes` is an error. If no complete answer arrives, both
    methods raise TransportError. They raise no other exception.
    """

    async def __call__(self, method: str, parameters: Mapping[str, Any], *, limit_bytes: int) -> Answer:
        """Return the complete answer."""
        ...

    def stream(
        self, method: str, parameters: Mapping[str, Any], *, limit_bytes: int
    ) -> AbstractAsyncContextManager[IncomingAnswer]:
        """Yield the answer while it arrives."""
        ...


class HttpExchange:
    """Sends requests as JSON over HTTP, with the URL, token, proxy, CA certificates and timeout of one source."""

    def __init__(self, session: aiohttp.ClientSession, settings: SourceSettings, clock: Clock | None = None) -> None:
        self._session = session
        self._settings = settings
        self._proxy = proxy_of(settings.base_url, settings.proxy.get_secret_value())
        self._trust = TlsContextCache(Certificates(settings.ca_file), clock or SystemClock())
        self._posters: dict[tuple[str, int], Poster] = {}

    @property
    def proxy(self) -> Proxy | None:
        """The proxy that requests go through; None if they go to the API directly."""
        return self._proxy

    async def __call__(self, method: str, parameters: Mapping[str, Any], *, limit_bytes: int) -> Answer:
        """POST the request and return the complete answer. Raises TransportError."""
        poster = self._posters.get((method, limit_bytes)) or self._poster(method, limit_bytes)
        return await poster.post(self._body(parameters), {}, ssl_context=await self._tls())

    @asynccontextmanager
    async def stream(
        self, method: str, parameters: Mapping[str, Any], *, limit_bytes: int
    ) -> AsyncIterator[IncomingAnswer]:
        """POST the request and yield the answer while it arrives. Raises TransportError."""
        tls = await self._tls()
        options = RequestOptions(_HEADERS, self._settings.timeout, limit_bytes, ssl_context=tls, proxy=self._proxy)
        async with stream(self._session, self._url(method), self._body(parameters), options) as answer:
            yield answer

    def _poster(self, method: str, limit_bytes: int) -> Poster:
        poster = Poster(
            self._session,
            self._url(method),
            _HEADERS,
            timeout=self._settings.timeout,
            limit=limit_bytes,
            proxy=self._proxy,
        )
        self._posters[method, limit_bytes] = poster
        return poster

    async def _tls(self) -> ssl.SSLContext | bool:
        """Return the TLS context of the next request. Raises TransportError if `ca_file` is unusable."""
        try:
            return await self._trust.context()
        except CertificateFileError as error:
            raise TransportError(TransportReason.CERTIFICATE_REJECTED, str(error)) from error

    def _url(self, method: str) -> str:
        return f"{self._settings.base_url.rstrip('/')}/{method}"

    def _body(self, parameters: Mapping[str, Any]) -> bytes:
        body = {"token": self._settings.token.get_secret_value(), **parameters}
        try:
            return orjson.dumps(body)
        except TypeError:
            # A setting from the environment may contain bytes that are not UTF-8.
            return json.dumps(body).encode()
