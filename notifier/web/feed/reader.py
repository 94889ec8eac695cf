"""One who follows the stream: what was asked for, how far it has come, and the connection that takes it there."""

import asyncio
import socket
from typing import Final

from aiohttp import web

from notifier.ledger.feed import EventFilter

_IN_THE_KERNEL: Final = 256 * 1024
"""Bytes that the operating system keeps of what is not taken yet. By itself it would keep megabytes for each reader."""


class Reader:
    """Takes the stream to one connection. `after` is the number of the last event that it was handed or spared."""

    def __init__(self, after: int, chosen: EventFilter) -> None:
        """Take what was asked for; it is not connected yet."""
        self.after = after
        self.chosen = chosen
        self.ended = asyncio.get_running_loop().create_future()
        self._handed_at = 0.0
        self._response: web.StreamResponse | None = None
        self._transport: asyncio.Transport | None = None

    async def connect(self, request: web.Request, response: web.StreamResponse) -> None:
        """Send the head of the answer, and be ready to be handed something."""
        await response.prepare(request)
        self._response, self._transport = response, request.transport
        if self._transport is not None:
            # Whoever hands something looks first whether the last piece was taken, and must never be made to wait.
            self._transport.set_write_buffer_limits(high=2**40)
            connection = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _IN_THE_KERNEL)

    @property
    def is_gone(self) -> bool:
        """Whether the connection is closed."""
        return self._transport is None or self._transport.is_closing()

    @property
    def is_taking(self) -> bool:
        """Whether a part of what it was handed last is still to be taken."""
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    def idle_for(self) -> float:
        """Return the seconds since it was last handed something."""
        return asyncio.get_running_loop().time() - self._handed_at

    async def hand(self, written: bytes) -> None:
        """Hand it something to send; does not wait. What a connection that is gone was handed is lost."""
        self._handed_at = asyncio.get_running_loop().time()
        try:
            if self._response is not None:
                await self._response.write(written)
        except ConnectionError:
            self.end()

    def drop(self) -> None:
        """End it at once, with what it has not taken."""
        if self._transport is not None:
            self._transport.abort()
        self.end()

    def end(self) -> None:
        """Hand it nothing more."""
        if not self.ended.done():
            self.ended.set_result(None)
