"""Incoming connections, with limits on their number and on the time that each may stay unused or slow."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from notifier.web.listening.limits import ConnectionLimits
from notifier.web.listening.transport import Transport, network_of, peer_of
from notifier.web.responses import error_answer
from notifier.web.security.headers import set_headers
from notifier.web.security.origin import SAFE_METHODS

_log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 1.0
"""Seconds between two checks for connections that take too long."""

_SLOWEST: Final = 10
"""The time limit for sending an answer, as a multiple of `ConnectionLimits.stalled`."""

_TOLD_EVERY_SECONDS: Final = 60.0
"""Seconds between two log lines about too many connections."""


class Connection(RequestHandler):
    """A connection of a client, and the requests over it."""

    def __init__(self, connections: "Connections", transport: Transport, manager: web.Server, **options: Any) -> None:
        """Initialize with the collection of all connections, and the kind of listener that accepted this one."""
        super().__init__(manager, loop=asyncio.get_running_loop(), **options)
        self.came_by = transport
        self.peer = "unknown"
        self.network = "unknown"
        self.may_be_closed = False
        """Whether the connection may be closed during a request whose refusal is decided, and only delayed."""
        self.quiet_since: float | None = None
        """When the connection began, or a check first found it idle (event loop's clock); None during a request."""
        self._connections = connections
        self._head_since: float | None = None
        self._unsent = 0
        self._unsent_since = self._sending_since = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether a request is under way during which the connection may not be closed."""
        return (self._current_request is not None or bool(self._messages)) and not self.may_be_closed

    def idle_since(self) -> float:
        """Return when the connection became idle (time of the event loop's clock); 0 if it may be closed anyway."""
        if self.may_be_closed:
            return 0.0
        # An idle connection has no `quiet_since` if its request has ended since the last regular check.
        return self._loop.time() if self.quiet_since is None else self.quiet_since

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection, or drop it if there are too many."""
        connection = transport.get_extra_info("socket")
        self.peer = peer_of(connection)
        self.network = network_of(self.peer)
        self.quiet_since = self._head_since = self._unsent_since = self._sending_since = self._loop.time()
        super().connection_made(transport)
        if not self._connections.admit(self):
            self.drop()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection. Cancel a request that only reads; let a request that changes something finish."""
        self._connections.remove(self)
        request, task = self._current_request, self._task_handler
        super().connection_lost(exc)
        if request is not None and task is not None and request.method in SAFE_METHODS:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, and note when the head of a request begins and when it is complete."""
        super().data_received(data)
        if self._current_request is not None or self._messages:
            self._head_since = self.quiet_since = None
        elif self._head_since is None:
            self._head_since = self._loop.time()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to a malformed request, in the form of all errors of this interface."""
        super().handle_error(request, status, exc, message)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            answer = error_answer(status, "internal_error", "an internal error; see the log")
        else:
            answer = error_answer(status, "bad_request", "this is not a well-formed HTTP request")
        set_headers(answer)
        answer.force_close()
        return answer

    def drop(self) -> None:
        """Close the connection at once."""
        self._connections.remove(self)
        transport = self.transport
        self.force_close()
        if isinstance(transport, asyncio.Transport):
            transport.abort()

    def look(self, now: float, limits: ConnectionLimits) -> None:
        """Close the connection if the head of a request arrives too slowly, or an answer is received too slowly."""
        if self._is_stalled(now, limits.stalled):
            self.drop()
        elif self._current_request is not None or self._messages:
            self.quiet_since = None
        else:
            if self.quiet_since is None:
                self.quiet_since = now
            if self._head_since is not None and now - self._head_since >= limits.head:
                self.drop()

    def _is_stalled(self, now: float, most: float) -> bool:
        transport = self.transport
        unsent = transport.get_write_buffer_size() if isinstance(transport, asyncio.Transport) else 0
        if not unsent:
            self._sending_since = now
        if not unsent or unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
        # The client has received nothing for too long, or only a byte now and then.
        return now - self._unsent_since >= most or now - self._sending_since >= most * _SLOWEST


class Connections:
    """All open connections of the interface.

    When there are too many, the connection that has been idle longest is closed in favour of the new one. If the new
    one's peer has too many, a connection of that peer is closed. If none is idle, the new one is closed. The owner's
    socket has its own limit, and all limits leave descriptors for polls and deliveries. So other users and machines can
    block neither the owner nor polls nor deliveries.
    """

    def __init__(self, limits: ConnectionLimits, on_look: Callable[[], None] = lambda: None) -> None:
        """Initialize with the limits; `on_look` is called every second while there are connections."""
        self.limits = limits
        self._on_look = on_look
        self._open: set[Connection] = set()
        self._looking: asyncio.TimerHandle | None = None
        self._closed = 0
        self._told_at = -_TOLD_EVERY_SECONDS

    def factory(self, transport: Transport, manager: web.Server, **options: Any) -> Callable[[], asyncio.Protocol]:
        """Return a function that makes a `Connection` for each connection of a listener."""
        return lambda: Connection(self, transport, manager, keepalive_timeout=self.limits.rest, **options)

    def __len__(self) -> int:
        """Return the number of open connections."""
        return len(self._open)

    def admit(self, new: Connection) -> bool:
        """Add a connection, in place of an idle one if there are too many; return whether that was possible."""
        is_owner = new.came_by is Transport.OWNER
        alike = [it for it in self._open if (it.came_by is Transport.OWNER) == is_owner]
        of_peer = [it for it in alike if it.network == new.network]
        if is_owner:
            room = len(alike) < self.limits.most_of_owner or self._make_room(alike)
        else:
            room = len(of_peer) < self.limits.most_of_peer or self._make_room(of_peer)
            room = room and (len(alike) < self.limits.most or self._make_room(it for it in alike if it in self._open))
        if room:
            self._open.add(new)
            self._look_later()
        else:
            self._count_closed(new)
        return room

    def remove(self, connection: Connection) -> None:
        """Remove a connection that has ended."""
        self._open.discard(connection)

    def stop(self) -> None:
        """Stop the regular checks."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _make_room(self, among: Iterable[Connection]) -> bool:
        idle = [it for it in among if not it.is_busy]
        if not idle:
            return False
        oldest = min(idle, key=Connection.idle_since)
        self._count_closed(oldest)
        oldest.drop()
        return True

    def _count_closed(self, connection: Connection) -> None:
        self._closed += 1
        now = time.monotonic()
        if now - self._told_at >= _TOLD_EVERY_SECONDS:
            _log.warning(
                "there are too many connections to the HTTP interface, and some were closed",
                extra={"closed": self._closed, "address": connection.peer, "transport": connection.came_by.value},
            )
            self._closed, self._told_at = 0, now

    def _look_later(self) -> None:
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._looking = None
        now = asyncio.get_running_loop().time()
        for connection in tuple(self._open):
            connection.look(now, self.limits)
        self._on_look()
        if self._open:
            self._look_later()


def connection_of(request: web.BaseRequest) -> Connection:
    """Return the connection of a request."""
    connection = request.protocol
    if not isinstance(connection, Connection):
        raise TypeError("the listeners of the HTTP interface create all connections")
    return connection
