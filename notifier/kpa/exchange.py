"""One request to the API and its answer: the protocol that the client needs, and its HTTP implementation."""

import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

import aiohttp

from notifier import __version__
from notifier.config import SourceSettings
from notifier.http.exchange import Answer, IncomingAnswer, post, stream

_HEADERS: Final = {
    "accept": "application/json",
    "content-type": "application/json",
    "user-agent": f"completion-notifier/{__version__}",
}


class Exchange(Protocol):
    """Sends one request to the API of a source and returns its answer.

    `parameters` are the parameters of the method, without the token. A body longer than `limit_bytes` is an error. Both
    methods raise TransportError if no complete answer arrives, and no other exception.
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
    """Sends requests as JSON over HTTP, with the URL, token, headers and timeout of one source."""

    def __init__(self, session: aiohttp.ClientSession, settings: SourceSettings) -> None:
        self._session = session
        self._settings = settings

    async def __call__(self, method: str, parameters: Mapping[str, Any], *, limit_bytes: int) -> Answer:
        """POST the request and return the complete answer. Raises TransportError."""
        return await post(
            self._session,
            self._url(method),
            self._body(parameters),
            headers=_HEADERS,
            timeout=self._settings.timeout,
            limit=limit_bytes,
        )

    def stream(
        self, method: str, parameters: Mapping[str, Any], *, limit_bytes: int
    ) -> AbstractAsyncContextManager[IncomingAnswer]:
        """POST the request and yield the answer while it arrives. Raises TransportError."""
        return stream(
            self._session,
            self._url(method),
            self._body(parameters),
            headers=_HEADERS,
            timeout=self._settings.timeout,
            limit=limit_bytes,
        )

    def _url(self, method: str) -> str:
        return f"{self._settings.base_url.rstrip('/')}/{method}"

    def _body(self, parameters: Mapping[str, Any]) -> bytes:
        return json.dumps({"token": self._settings.token.get_secret_value(), **parameters}).encode()
