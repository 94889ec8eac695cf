"""Where the local HTTP interface listens: the owner-only socket beside the state file, and the configured address."""

import asyncio
import logging
import os
import socket
import stat
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from notifier.clock import SystemClock
from notifier.config import HttpInterfaceSettings, TcpAddress, UnixAddress
from notifier.web.app import make_app
from notifier.web.control import Control
from notifier.web.dashboard.rendering import Rendering
from notifier.web.feed.feed import Feed
from notifier.web.guard import Guard
from notifier.web.sessions import Guesses, Sessions

_log = logging.getLogger(__name__)

_LONGEST_SOCKET_PATH = 107
_OWNER_ONLY = 0o177
_SHUTDOWN = 0.5
_LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is listened on is the configuration's matter


class ListenError(Exception):
    """An address cannot be listened on; the message says which, why, and what to do."""


class _ProtocolLog(logging.LoggerAdapter[logging.Logger]):
    """Where aiohttp logs: what is wrong with a request is its sender's fault, and no error here."""

    def exception(self, msg: object, *args: object, **more: Any) -> None:
        """Log a fault of the program; of a request that is none, only say so for debugging."""
        fault = more.get("exc_info")
        if isinstance(fault, HttpProcessingError | web.RequestPayloadError):
            self.debug("a malformed request was refused", extra={"detail": str(fault)})
        else:
            super().exception(msg, *args, **more)


class LocalServer:
    """Listens for as long as the daemon runs."""

    def __init__(self, control: Control, feed: Feed, settings: HttpInterfaceSettings, socket_path: Path) -> None:
        """Take the daemon to answer for and its feed, the configured address, and the path of the owner's socket."""
        self._listen = settings.listen
        self._socket_path = socket_path
        clock = SystemClock()
        guard = Guard(settings.token.get_secret_value(), Sessions(clock))
        self._rendering = Rendering()
        self._preparing: asyncio.Task[None] | None = None
        app = make_app(control, feed, guard, Guesses(clock), self._rendering)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_ProtocolLog(_log),
            # No few bytes of ours are worth a body that unpacks to gigabytes.
            auto_decompress=False,
            shutdown_timeout=_SHUTDOWN,
        )

    @property
    def url(self) -> str | None:
        """Where a browser on this machine finds the dashboard, while the server listens on a port; None: nowhere."""
        for address in self._runner.addresses:
            if isinstance(address, tuple):
                host = _LOOPBACK_OF.get(address[0]) or str(address[0])
                return f"http://{TcpAddress(host, address[1])}/"
        return None

    async def start(self) -> None:
        """Listen. Raises ListenError."""
        await self._runner.setup()
        await self._listen_on_socket(self._socket_path)
        match self._listen:
            case UnixAddress(path):
                if path != self._socket_path:
                    await self._listen_on_socket(path)
            case TcpAddress() as address:
                await self._listen_on_port(address)
            case None:
                pass

    def prepare_pages(self) -> None:
        """Begin to prepare the dashboard, beside whatever else is done, where a browser can come."""
        if self.url is not None:
            self._preparing = asyncio.create_task(self._rendering.prepare(), name="prepare pages")

    async def stop(self) -> None:
        """Close the listeners and their connections."""
        if self._preparing is not None:
            self._preparing.cancel()
            await asyncio.wait([self._preparing])
        await self._runner.cleanup()

    async def _listen_on_port(self, address: TcpAddress) -> None:
        try:
            await web.TCPSite(self._runner, address.host, address.port).start()
        except OSError as error:
            raise ListenError(
                f'cannot listen on {address} ({error.strerror}): free it, or set another [http] listen ("" for none)'
            ) from error

    async def _listen_on_socket(self, path: Path) -> None:
        if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
            raise ListenError(f"the socket's path {path} is longer than {_LONGEST_SOCKET_PATH} bytes: shorten it")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _remove_stale(path)
            mask = os.umask(_OWNER_ONLY)
            try:
                listener.bind(str(path))
            finally:
                os.umask(mask)
        except OSError as error:
            listener.close()
            raise ListenError(
                f"cannot listen on the socket {path} ({error.strerror}): free it, or make its folder writable"
            ) from error
        await web.SockSite(self._runner, listener).start()


def _remove_stale(path: Path) -> None:
    """Remove a socket that a killed process left; one that somebody listens on stays, and cannot be bound to."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
        visitor.setblocking(False)
        try:
            visitor.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        except BlockingIOError:
            return
