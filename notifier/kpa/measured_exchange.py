"""Measures the requests to the API: how long each took, and whether it failed."""

import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

from notifier.http.exchange import Answer, IncomingAnswer
from notifier.http.transport_errors import TransportError
from notifier.kpa.exchange import Exchange

OnRequest = Callable[[float, bool], None]
"""Called after each request with the seconds that it took, and whether it failed."""

_OK_IS_FALSE: Final = re.compile(rb'\s*\{\s*"ok"\s*:\s*false\b')


class MeasuredExchange:
    """Sends requests through another exchange, and measures them.

    A request has failed if no complete answer arrives, if the HTTP status is not 200, or if the body's JSON begins with
    `"ok": false`. The body of a streamed answer is not checked.
    """

    def __init__(self, exchange: Exchange, on_request: OnRequest) -> None:
        """Initialise with the exchange that sends the requests, and the function that gets the measurements."""
        self._exchange = exchange
        self._on_request = on_request

    async def __call__(self, method: str, parameters: Mapping[str, Any], *, limit_bytes: int) -> Answer:
        """Return the complete answer. Raises TransportError."""
        began = time.monotonic()
        try:
            answer = await self._exchange(method, parameters, limit_bytes=limit_bytes)
        except TransportError:
            self._on_request(time.monotonic() - began, True)
            raise
        failed = answer.status != HTTPStatus.OK or _OK_IS_FALSE.match(answer.body) is not None
        self._on_request(time.monotonic() - began, failed)
        return answer

    def stream(
        self, method: str, parameters: Mapping[str, Any], *, limit_bytes: int
    ) -> AbstractAsyncContextManager[IncomingAnswer]:
        """Yield the answer while it arrives. Raises TransportError."""
        return self._stream(method, parameters, limit_bytes)

    @asynccontextmanager
    async def _stream(
        self, method: str, parameters: Mapping[str, Any], limit_bytes: int
    ) -> AsyncIterator[IncomingAnswer]:
        began = time.monotonic()
        failed = True
        try:
            async with self._exchange.stream(method, parameters, limit_bytes=limit_bytes) as answer:
                yield answer
                failed = answer.head.status != HTTPStatus.OK
        finally:
            self._on_request(time.monotonic() - began, failed)
