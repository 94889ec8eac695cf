"""Serves the local HTTP interface on the owner's socket beside the state file, and on the configured address."""

import asyncio
import logging
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from notifier.clock import SystemClock
from notifier.config import HttpInterfaceSettings, TcpAddress, UnixAddress
from notifier.web.app import make_app
from notifier.web.daemon_api import DaemonApi
from notifier.web.dashboard.login import SignInPages
from notifier.web.dashboard.templating import PageRenderer
from notifier.web.feed.service import Feed
from notifier.web.listening.connections import Connections
from notifier.web.listening.limits import ConnectionLimits, limits_of_process
from notifier.web.listening.sockets import (
    BACKLOG,
    ListenError,
    is_reachable_by_other_machines,
    open_tcp_sockets,
    open_unix_socket,
)
from notifier.web.listening.transport import ListenerKind
from notifier.web.security.guard import Guard
from notifier.web.security.guess_limiter import GuessLimiter
from notifier.web.security.links import SignInLinks
from notifier.web.security.sessions import Sessions

_log = logging.getLogger(__name__)

RETRY_INTERVAL_SECONDS: Final = 10.0
"""Seconds between two tries to listen on the configured address."""

_SHUTDOWN_SECONDS = 0.5
_LOOPBACK_FOR_WILDCARD = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - the configuration decides where to listen


class _ProtocolLog(logging.LoggerAdapter[logging.Logger]):
    """A logger for aiohttp that does not log malformed requests as errors, because clients cause them."""

    def exception(self, msg: object, *args: object, **more: Any) -> None:
        """Log an error with its traceback; log a malformed request only at debug level."""
        fault = more.get("exc_info")
        if isinstance(fault, HttpProcessingError | web.RequestPayloadError):
            self.debug("a malformed request was refused", extra={"detail": str(fault)})
        else:
            super().exception(msg, *args, **more)


class LocalServer:
    """Serves the HTTP interface while the daemon runs."""

    def __init__(
        self,
        daemon: DaemonApi,
        feed: Feed,
        settings: HttpInterfaceSettings,
        socket_path: Path,
        handed_over: Sequence[socket.socket] = (),
        limits: ConnectionLimits | None = None,
    ) -> None:
        """Initialise with the daemon and its feed, the settings, and the path of the owner's socket.

        `handed_over` has the listening sockets from systemd. If there are any, the configured address is not used.
        """
        self._listen = settings.listen
        self._token = settings.token.get_secret_value()
        self._socket_path = socket_path
        self._handed_over = list(handed_over)
        self._problem: str | None = None
        self._retry_task: asyncio.Task[None] | None = None
        self._servers: list[asyncio.Server] = []
        self._has_unix_socket = False
        clock = SystemClock()
        sessions = Sessions(clock)
        self._connections = Connections(limits or limits_of_process(), sessions.end_expired)
        guard = Guard(self._token, sessions, GuessLimiter(clock), anonymous=settings.anonymous)
        renderer = PageRenderer()
        self._sign_in = SignInPages(guard, SignInLinks(clock), renderer, self._dashboard_url_or_empty)
        self.app = make_app(daemon, feed, guard, renderer, self._sign_in, self._connections.limits.body_seconds)
        self._runner = web.AppRunner(self.app, shutdown_timeout=_SHUTDOWN_SECONDS)

    @property
    def url(self) -> str | None:
        """The dashboard's address for a browser on this machine; None if the server listens on no port."""
        for place in self.addresses:
            host = _LOOPBACK_FOR_WILDCARD.get(place[0]) or place[0]
            return f"http://{TcpAddress(host, place[1])}/"
        return None

    def sign_in_link(self) -> str | None:
        """Return a link that signs one browser in; None if the server listens only on the owner's socket."""
        return self._sign_in.make_link()

    def _dashboard_url_or_empty(self) -> str | None:
        """Return `url` if the server listens on a port.

        If it listens on no port, but on a Unix socket from the configuration or from systemd, return "". If it listens
        only on the owner's socket, return None.
        """
        return self.url or ("" if self._has_unix_socket else None)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The addresses and ports that the server listens on."""
        found = [it.getsockname() for server in self._servers for it in server.sockets if it.family != socket.AF_UNIX]
        return [(str(place[0]), int(place[1])) for place in found]

    @property
    def problem(self) -> str | None:
        """Why the server cannot listen on the configured address or the sockets from systemd; None if it can."""
        return self._problem

    async def start(self) -> None:
        """Listen on the owner's socket, and on the sockets from systemd.

        Without sockets from systemd, the configured address is used. If only the owner's socket works, the server tries
        to listen on the others every RETRY_INTERVAL_SECONDS. Raises ListenError if the owner's socket cannot be bound.
        """
        await self._runner.setup()
        await self._serve_on(open_unix_socket(self._socket_path), ListenerKind.OWNER)
        if not await self._try_to_listen():
            _log.error(
                "the HTTP interface does not listen, because its address cannot be bound; it is tried again",
                extra={"detail": self._problem},
            )
            self._retry_task = asyncio.create_task(self._retry_listening(), name="listen")

    async def stop(self) -> None:
        """Close all listeners and their connections."""
        if self._retry_task is not None:
            self._retry_task.cancel()
            await asyncio.wait([self._retry_task])
        for server in self._servers:
            server.close()
        self._connections.stop()
        await self._runner.cleanup()
        for listener in self._handed_over:
            listener.close()

    async def _retry_listening(self) -> None:
        while True:
            await asyncio.sleep(RETRY_INTERVAL_SECONDS)
            if await self._try_to_listen():
                _log.info("the HTTP interface is available again", extra={"dashboard": self.url})
                return

    async def _try_to_listen(self) -> bool:
        """Listen on the sockets from systemd or, if there are none, on the configured address.

        Returns whether this succeeded.
        """
        try:
            if self._handed_over:
                await self._serve_handed_over()
            else:
                await self._listen_as_configured()
        except ListenError as error:
            self._problem = str(error)
        else:
            self._problem = None
        return self._problem is None

    async def _listen_as_configured(self) -> None:
        match self._listen:
            case UnixAddress(path):
                if path != self._socket_path:
                    await self._serve_on(open_unix_socket(path), ListenerKind.UNIX)
            case TcpAddress() as address:
                for listener in await open_tcp_sockets(address):
                    await self._serve_on(listener, ListenerKind.TCP)
            case None:
                pass

    async def _serve_handed_over(self) -> None:
        if not self._token and any(map(is_reachable_by_other_machines, self._handed_over)):
            raise ListenError(
                "systemd passes a socket that other machines can connect to, but there is no [http] token: set one,"
                " or let the socket's unit listen on 127.0.0.1"
            )
        for listener in self._handed_over:
            await self._serve_on(listener, ListenerKind.UNIX if listener.family == socket.AF_UNIX else ListenerKind.TCP)

    async def _serve_on(self, listener: socket.socket, listener_kind: ListenerKind) -> None:
        manager = self._runner.server
        if manager is None:
            raise RuntimeError("the application is set up first")
        protocol = self._connections.protocol_factory(
            listener_kind,
            manager,
            access_log=None,
            logger=_ProtocolLog(_log),
            # Bodies are not decompressed, because a small one may expand to gigabytes.
            auto_decompress=False,
            lingering_time=self._connections.limits.body_seconds,
        )
        server = await asyncio.get_running_loop().create_server(protocol, sock=listener, backlog=BACKLOG)
        self._servers.append(server)
        self._has_unix_socket |= listener_kind is ListenerKind.UNIX
