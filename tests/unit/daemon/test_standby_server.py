"""The HTTP interface of a process in standby."""

import socket
import time
from pathlib import Path

import aiohttp
import pytest

from notifier.config import Settings
from notifier.daemon.configuration import RunningConfiguration
from notifier.daemon.socket_path import socket_path
from notifier.daemon.standby_reload import StandbyReloader
from notifier.daemon.standby_server import StandbyServer, StandbyState
from notifier.daemon.systemd.liveness import LONG_TRANSACTION_SECONDS
from notifier.daemon.systemd.notify import SystemdNotifier
from notifier.web.security.headers import DEFAULT_HEADERS


def standby_server(folder: Path, state: StandbyState, *, listen: str = "") -> StandbyServer:
    document = {
        "store": {"path": str(folder / "notifier.db")},
        "http": {"listen": listen},
        "sources": {"acme": {"token": "secret"}},
        "destinations": {},
    }
    configuration = RunningConfiguration(Settings.model_validate(document))
    return StandbyServer(state, configuration, StandbyReloader(configuration, SystemdNotifier()))


async def test_standby_server_retries_a_port_that_was_in_use_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.daemon.standby_server.RETRY_INTERVAL_SECONDS", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = standby_server(tmp_path, StandbyState(), listen=f"127.0.0.1:{port}")
        await server.start()
    try:
        await server.apply_settings()
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/healthz") as answer:
            assert answer.status == 200
    finally:
        await server.stop()


async def test_a_reload_to_another_port_that_is_in_use_is_logged_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as another:
        first, second = (f"127.0.0.1:{it.getsockname()[1]}" for it in (one, another))
        server = standby_server(tmp_path, StandbyState(), listen=first)
        await server.start()
        server._configuration.settings = standby_server(tmp_path, StandbyState(), listen=second)._settings
        await server.apply_settings()
        await server.apply_settings()
        await server.stop()
    assert [getattr(record, "detail", "").count(second) for record in caplog.records] == [0, 1]


async def test_standby_healthz_answers_503_when_a_database_request_hangs(tmp_path: Path) -> None:
    state = StandbyState()
    server = standby_server(tmp_path, state)
    await server.start()
    try:
        connector = aiohttp.UnixConnector(str(socket_path(tmp_path / "notifier.db")))
        async with aiohttp.ClientSession("http://notifier", connector=connector) as session:
            # The tables may be updated for minutes, by the process itself.
            state.asked_at = time.monotonic() - LONG_TRANSACTION_SECONDS / 2
            async with session.get("/healthz") as answer:
                assert (answer.status, await answer.json()) == (200, {"ok": True})
                # The same headers as the daemon's, so that a cache or a load balancer sees no difference.
                assert answer.headers.items() >= DEFAULT_HEADERS.items()
                assert answer.headers["Server"] == "completion-notifier"
            state.asked_at = time.monotonic() - LONG_TRANSACTION_SECONDS - 1
            async with session.get("/healthz") as answer:
                assert (answer.status, await answer.json()) == (503, {"ok": False, "hanging": ["the store's thread"]})
    finally:
        await server.stop()
