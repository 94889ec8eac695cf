"""A reader of the stream: its request, its position, and its connection."""

import asyncio
import socket
from typing import Final

from aiohttp import web

from notifier.store.queries.feed import EventFilter

_SEND_BUFFER_BYTES: Final = 256 * 1024
"""The maximum number of bytes that the operating system may buffer for a reader; by default it may buffer megabytes."""


class Subscriber:
    """Sends events over one connection. `after` is the number of the last event that was sent or filtered out."""

    def __init__(self, after: int, event_filter: EventFilter) -> None:
        """Initialise with the requested position and filter; there is no connection yet."""
        self.after = after
        self.event_filter = event_filter
        self.ended = asyncio.get_running_loop().create_future()
        self._sent_at = 0.0
        self._response: web.StreamResponse | None = None
        self._transport: asyncio.Transport | None = None

    async def connect(self, request: web.Request, response: web.StreamResponse) -> None:
        """Send the head of the answer, after which events can be sent."""
        await response.prepare(request)
        self._response, self._transport = response, request.transport
        if self._transport is not None:
            # With a lower limit, `send` would wait. Its callers check `has_unsent_data` instead.
            self._transport.set_write_buffer_limits(high=2**40)
            connection = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)

    @property
    def is_disconnected(self) -> bool:
        """Whether the connection is closed."""
        return self._transport is None or self._transport.is_closing()

    @property
    def has_unsent_data(self) -> bool:
        """Whether data of an earlier `send` is still in this process's buffer."""
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    def seconds_since_send(self) -> float:
        """Return the seconds since the last call of `send`."""
        return asyncio.get_running_loop().time() - self._sent_at

    async def send(self, data: bytes) -> None:
        """Send data without waiting for the client. If the connection is closed, the data is lost."""
        self._sent_at = asyncio.get_running_loop().time()
        try:
            if self._response is not None:
                await self._response.write(data)
        except ConnectionError:
            self.end()

    def drop(self) -> None:
        """Close the connection at once; buffered events are lost."""
        if self._transport is not None:
            self._transport.abort()
        self.end()

    def end(self) -> None:
        """Mark this reader as ended, so that nothing more is sent."""
        if not self.ended.done():
            self.ended.set_result(None)
