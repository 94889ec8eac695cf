"""Accepts connections and limits their number; closes connections that are idle or slow for too long."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from notifier.web.listening.limits import ConnectionLimits
from notifier.web.listening.transport import ListenerKind, peer_key_of, peer_of
from notifier.web.responses import error_answer
from notifier.web.security.headers import set_default_headers
from notifier.web.security.origin import SAFE_METHODS

_log = logging.getLogger(__name__)

_CHECK_INTERVAL_SECONDS: Final = 1.0
"""Seconds between two checks of the connections' time limits."""

_SEND_LIMIT_FACTOR: Final = 10
"""A client must receive _SEND_LIMIT_BYTES within `ConnectionLimits.stalled_seconds` times this factor."""

_SEND_LIMIT_BYTES: Final = 65_536

_HEAD_TOO_LONG: Final = (
    "a line in the head of this request is too long; a browser also sends the cookies of other programs at this host:"
    " delete them, or use 127.0.0.1 instead of localhost"
)

_LOG_INTERVAL_SECONDS: Final = 60.0
"""Seconds between two log lines about too many connections."""


class Connection(RequestHandler):
    """A connection from a client. It parses and handles the client's requests."""

    def __init__(
        self, connections: "Connections", listener_kind: ListenerKind, manager: web.Server, **options: Any
    ) -> None:
        """Initialise with the collection that will hold this connection, and the kind of listener that accepts it."""
        super().__init__(manager, loop=asyncio.get_running_loop(), **options)
        self.listener_kind = listener_kind
        self.peer = "unknown"
        self.peer_key = "unknown"
        self.has_delayed_refusal = False
        """Whether the request is refused and its answer is delayed. During the delay, the connection may be closed."""
        self.idle_noticed_at: float | None = None
        """When the connection was made or first found idle by a check (event loop's clock); None during a request."""
        self._connections = connections
        self._head_since: float | None = None
        self._unsent = self._taken_bytes = 0
        self._unsent_since = self._taken_since = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether the connection handles a request. If so, it is not closed to make room for another connection."""
        return (self._current_request is not None or bool(self._messages)) and not self.has_delayed_refusal

    def idle_since(self) -> float:
        """Return when the connection became idle (event loop's clock).

        While a refusal is delayed, return 0, so that this connection is the first to be closed.
        """
        if self.has_delayed_refusal:
            return 0.0
        # An idle connection has no `idle_noticed_at` if its request has ended since the last regular check.
        return self._loop.time() if self.idle_noticed_at is None else self.idle_noticed_at

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection, or drop it if there are too many."""
        connection = transport.get_extra_info("socket")
        self.peer = peer_of(connection)
        self.peer_key = peer_key_of(self.peer)
        self.idle_noticed_at = self._head_since = self._unsent_since = self._taken_since = self._loop.time()
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
            self._head_since = self.idle_noticed_at = None
        elif self._head_since is None:
            self._head_since = self._loop.time()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return an error answer in JSON. The request was malformed, or handling it failed."""
        super().handle_error(request, status, exc, message)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            answer = error_answer(status, "internal_error", "an internal error; see the log")
        else:
            problem = _HEAD_TOO_LONG if isinstance(exc, LineTooLong) else "this is not a well-formed HTTP request"
            answer = error_answer(status, "bad_request", problem)
        set_default_headers(answer)
        answer.force_close()
        return answer

    def drop(self) -> None:
        """Close the connection at once."""
        self._connections.remove(self)
        transport = self.transport
        self.force_close()
        if isinstance(transport, asyncio.Transport):
            transport.abort()

    def enforce_time_limits(self, now: float, limits: ConnectionLimits) -> None:
        """Close the connection if a request's head arrives too slowly, or the client receives an answer too slowly."""
        if self._is_stalled(now, limits.stalled_seconds):
            self.drop()
        elif self._current_request is not None or self._messages:
            self.idle_noticed_at = None
        else:
            if self.idle_noticed_at is None:
                self.idle_noticed_at = now
            if self._head_since is not None and now - self._head_since >= limits.head_seconds:
                self.drop()

    def _is_stalled(self, now: float, limit_seconds: float) -> bool:
        transport = self.transport
        unsent = transport.get_write_buffer_size() if isinstance(transport, asyncio.Transport) else 0
        # Data that was written since the last check hides some of what was received, but never adds to it.
        self._taken_bytes += max(0, self._unsent - unsent)
        if not unsent or self._taken_bytes >= _SEND_LIMIT_BYTES:
            self._taken_bytes, self._taken_since = 0, now
        if not unsent or unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
        # The second limit is for a client that receives a byte now and then, and so never exceeds the first one.
        return (
            now - self._unsent_since >= limit_seconds or now - self._taken_since >= limit_seconds * _SEND_LIMIT_FACTOR
        )


class Connections:
    """All open connections of the interface, with limits on their number.

    At the total limit, a new connection replaces the one that has been idle longest. At the limit for one peer, it
    replaces an idle connection of that peer. If none is idle, the new connection is closed. The owner's socket has its
    own limit, so that others cannot lock the owner out. The limits leave file descriptors for polls and deliveries.
    """

    def __init__(self, limits: ConnectionLimits, on_check: Callable[[], None] = lambda: None) -> None:
        """Initialise with the limits; `on_check` is called every second while there are connections."""
        self.limits = limits
        self._on_check = on_check
        self._open: set[Connection] = set()
        self._check_timer: asyncio.TimerHandle | None = None
        self._closed = 0
        self._logged_at = -_LOG_INTERVAL_SECONDS

    def protocol_factory(
        self, listener_kind: ListenerKind, manager: web.Server, **options: Any
    ) -> Callable[[], asyncio.Protocol]:
        """Return a function that makes a `Connection` for each connection of a listener."""
        return lambda: Connection(self, listener_kind, manager, keepalive_timeout=self.limits.idle_seconds, **options)

    def __len__(self) -> int:
        """Return the number of open connections."""
        return len(self._open)

    def admit(self, new: Connection) -> bool:
        """Add a connection, and return True. At a limit, first close an idle connection to make room.

        At a limit without an idle connection, add nothing, and return False.
        """
        is_owner = new.listener_kind is ListenerKind.OWNER
        same_kind = [it for it in self._open if (it.listener_kind is ListenerKind.OWNER) == is_owner]
        from_peer = [it for it in same_kind if it.peer_key == new.peer_key]
        if is_owner:
            is_admitted = len(same_kind) < self.limits.max_for_owner or self._close_longest_idle(same_kind)
        else:
            is_admitted = len(from_peer) < self.limits.max_per_peer or self._close_longest_idle(from_peer)
            is_admitted = is_admitted and (
                len(same_kind) < self.limits.most
                or self._close_longest_idle(it for it in same_kind if it in self._open)
            )
        if is_admitted:
            self._open.add(new)
            self._schedule_check()
        else:
            self._count_and_log_closed(new)
        return is_admitted

    def remove(self, connection: Connection) -> None:
        """Remove a connection that has ended."""
        self._open.discard(connection)

    def stop(self) -> None:
        """Stop the regular checks of the time limits."""
        if self._check_timer is not None:
            self._check_timer.cancel()
            self._check_timer = None

    def _close_longest_idle(self, candidates: Iterable[Connection]) -> bool:
        idle = [it for it in candidates if not it.is_busy]
        if not idle:
            return False
        oldest = min(idle, key=Connection.idle_since)
        self._count_and_log_closed(oldest)
        oldest.drop()
        return True

    def _count_and_log_closed(self, connection: Connection) -> None:
        self._closed += 1
        now = time.monotonic()
        if now - self._logged_at >= _LOG_INTERVAL_SECONDS:
            _log.warning(
                "there are too many connections to the HTTP interface, and some were closed",
                extra={"closed": self._closed, "address": connection.peer, "transport": connection.listener_kind.value},
            )
            self._closed, self._logged_at = 0, now

    def _schedule_check(self) -> None:
        if self._check_timer is None:
            self._check_timer = asyncio.get_running_loop().call_later(_CHECK_INTERVAL_SECONDS, self._check_connections)

    def _check_connections(self) -> None:
        self._check_timer = None
        now = asyncio.get_running_loop().time()
        for connection in tuple(self._open):
            connection.enforce_time_limits(now, self.limits)
        self._on_check()
        if self._open:
            self._schedule_check()


def connection_of(request: web.BaseRequest) -> Connection:
    """Return the connection of a request."""
    connection = request.protocol
    if not isinstance(connection, Connection):
        raise TypeError("the listeners of the HTTP interface create all connections")
    return connection
