"""The HTTP interface of a process that stands by. Its answers name the process that holds the store."""

import asyncio
import html
import logging
import socket
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any, Final

import orjson
from aiohttp import web
from msgspec import Struct

from notifier.clock import SystemClock, iso_utc
from notifier.config import Settings, TcpAddress, UnixAddress
from notifier.daemon.configuration import RunningConfiguration
from notifier.daemon.socket_path import STANDBY, socket_path
from notifier.daemon.standby_reload import StandbyReloader
from notifier.daemon.systemd.liveness import LONG_TRANSACTION_SECONDS, STORE
from notifier.store.errors import StoreError
from notifier.store.opening import open_read_only, store_address
from notifier.web.listening.sockets import ListenError, open_tcp_sockets, open_unix_socket
from notifier.web.metrics.snapshot import CONTENT_TYPE
from notifier.web.responses import action_answer
from notifier.web.security.headers import add_default_headers
from notifier.web.server import RETRY_INTERVAL_SECONDS

_log = logging.getLogger(__name__)

_PAGE: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    "<title>Completion Notifier: standby</title><h1>Completion Notifier</h1><p>{sentence}</p></html>"
)
_IS_OWNER: Final = web.AppKey("owner", bool)


class StandbyState(Struct):
    """The state of the store as seen by a process that stands by."""

    holder: str | None = None
    """The process that has held the store since `since_ms` (Unix ms). Both are None until a holder is known."""
    since_ms: int | None = None
    error: StoreError | None = None
    """Why the database cannot be used; None if it can."""
    asked_at: float | None = None
    """The start of the current request to the database (monotonic seconds); None between requests."""

    @property
    def is_hanging(self) -> bool:
        """Whether the current request to the database takes longer than an update of all tables should take."""
        return self.asked_at is not None and time.monotonic() - self.asked_at > LONG_TRANSACTION_SECONDS

    def sentence(self) -> str:
        """Return the state as a sentence for people."""
        if self.error is not None:
            return f"standing by, but the database cannot be used: {self.error.message}"
        if self.holder is None or self.since_ms is None:
            return "standing by"
        return f"standing by: {self.holder} holds the store since {iso_utc(self.since_ms)}"


class StandbyServer:
    """Serves HTTP while this process stands by, on the addresses that the daemon will use later."""

    def __init__(
        self,
        state: StandbyState,
        configuration: RunningConfiguration,
        reloader: StandbyReloader,
        systemd_sockets: Sequence[socket.socket] = (),
    ) -> None:
        """Initialise with the objects that hold the current state and the current configuration, and with the reloader.

        `systemd_sockets` are listening sockets from systemd, which replace `[http] listen`.
        """
        self._state = state
        self._configuration = configuration
        self._reloader = reloader
        self._systemd_sockets = systemd_sockets
        self._owner_runner: web.AppRunner | None = None
        self._interface_runner: web.AppRunner | None = None
        self._listen = configuration.settings.http.listen
        self._listen_again_at: float | None = None

    async def start(self) -> None:
        """Start to listen on the Unix socket for commands and on `[http] listen`.

        Raises ListenError if the Unix socket cannot be bound. If `[http] listen` cannot be bound, the error is only
        logged, and later calls of `apply_settings` try again.
        """
        self._owner_runner = await self._serve([open_unix_socket(socket_path(self._settings.store.path))], owner=True)
        await self._start_interface()

    async def apply_settings(self) -> None:
        """Listen on the new address if a reload changed `[http] listen`; also try again if listening has failed."""
        is_due = self._listen_again_at is not None and time.monotonic() >= self._listen_again_at
        is_changed = self._settings.http.listen != self._listen
        if is_changed:
            self._listen_again_at = None
        if is_due or is_changed:
            await _stop_runner(self._interface_runner)
            await self._start_interface()

    async def stop(self) -> None:
        """Close all listening sockets and their connections."""
        await _stop_runner(self._owner_runner)
        await _stop_runner(self._interface_runner)

    @property
    def _settings(self) -> Settings:
        return self._configuration.settings

    async def _start_interface(self) -> None:
        self._listen = self._settings.http.listen
        self._interface_runner = None
        try:
            self._interface_runner = await self._serve(await self._interface_sockets(), owner=False)
        except ListenError as error:
            if self._listen_again_at is None:
                _log.error("the HTTP interface does not listen; it is tried again", extra={"detail": str(error)})
            self._listen_again_at = time.monotonic() + RETRY_INTERVAL_SECONDS
        else:
            if self._listen_again_at is not None:
                _log.info("the HTTP interface is available again")
            self._listen_again_at = None

    async def _interface_sockets(self) -> list[socket.socket]:
        if self._systemd_sockets:
            return [listener.dup() for listener in self._systemd_sockets]
        match self._settings.http.listen:
            case TcpAddress() as address:
                return await open_tcp_sockets(address)
            case UnixAddress(path) if path != socket_path(self._settings.store.path):
                return [open_unix_socket(path)]
            case _:
                return []

    async def _serve(self, listeners: Sequence[socket.socket], *, owner: bool) -> web.AppRunner:
        app = web.Application()
        app.on_response_prepare.append(add_default_headers)
        app[_IS_OWNER] = owner
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/v1/status", self._status),
                web.post("/v1/reload", self._reload),
                web.get("/", self._page),
                web.route("*", "/{path:.*}", self._refuse),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        for listener in listeners:
            await web.SockSite(runner, listener).start()
        return runner

    async def _healthz(self, request: web.Request) -> web.Response:
        if not self._state.is_hanging:
            return _json({"ok": True})
        return _json({"ok": False, **({"hanging": [STORE]} if request.app[_IS_OWNER] else {})}, 503)

    async def _readyz(self, request: web.Request) -> web.Response:
        if request.query.get(STANDBY) == "ok":
            return _json({"ready": self._state.error is None}, 200 if self._state.error is None else 503)
        return self._standby_answer()

    async def _metrics(self, _: web.Request) -> web.Response:
        # Imported here, because only a process that Prometheus scrapes needs the library of Prometheus.
        from notifier.web.metrics.standby import standby_page  # noqa: PLC0415

        page = standby_page(store_address(self._settings.store), is_reachable=self._state.error is None)
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE})

    async def _page(self, _: web.Request) -> web.Response:
        sentence = html.escape(self._state.sentence())
        return web.Response(text=_PAGE.format(sentence=sentence), content_type="text/html", status=503)

    async def _status(self, request: web.Request) -> web.Response:
        if not request.app[_IS_OWNER]:
            return self._standby_answer()
        try:
            document = await asyncio.to_thread(self._stored_status)
        except StoreError as error:
            return _json({"error": {"reason": error.reason, "message": error.message}}, 503)
        return _json(document)

    def _stored_status(self) -> dict[str, Any]:
        # Imported here, because few processes that stand by are ever asked for their status.
        from notifier.daemon.api.stored_status import stored_status_document  # noqa: PLC0415

        with closing(open_read_only(self._settings.store)) as db:
            document = stored_status_document(db, self._settings.sources, self._settings.destinations, SystemClock())
        return {**document, STANDBY: True}

    async def _reload(self, request: web.Request) -> web.Response:
        if not request.app[_IS_OWNER]:
            return self._standby_answer()
        return action_answer(await self._reloader.reload())

    async def _refuse(self, _: web.Request) -> web.Response:
        return self._standby_answer()

    def _standby_answer(self) -> web.Response:
        message = f"this process is {self._state.sentence()}; ask the holder"
        return _json({"error": {"reason": STANDBY, "message": message}}, 503)


async def _stop_runner(runner: web.AppRunner | None) -> None:
    if runner is not None:
        await runner.cleanup()


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")
