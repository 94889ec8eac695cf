"""What a process that stands by answers."""

import time
from pathlib import Path

import aiohttp

from notifier.config import Settings
from notifier.daemon.configuration import RunningConfiguration
from notifier.daemon.socket_path import socket_path
from notifier.daemon.standby_reload import StandbyReloader
from notifier.daemon.standby_server import StandbyServer, StandbyState
from notifier.daemon.systemd.liveness import LONG_TRANSACTION_SECONDS
from notifier.daemon.systemd.notify import SystemdNotifier


async def test_a_request_to_the_database_that_never_ends_is_a_reason_for_a_restart(tmp_path: Path) -> None:
    document = {
        "store": {"path": str(tmp_path / "notifier.db")},
        "http": {"listen": ""},
        "sources": {"acme": {"token": "secret"}},
        "destinations": {},
    }
    configuration = RunningConfiguration(Settings.model_validate(document))
    state = StandbyState()
    server = StandbyServer(state, configuration, StandbyReloader(configuration, SystemdNotifier()))
    await server.start()
    try:
        connector = aiohttp.UnixConnector(str(socket_path(tmp_path / "notifier.db")))
        async with aiohttp.ClientSession("http://notifier", connector=connector) as session:
            # The tables may be updated for minutes, by the process itself.
            state.asked_at = time.monotonic() - LONG_TRANSACTION_SECONDS / 2
            async with session.get("/healthz") as answer:
                assert (answer.status, await answer.json()) == (200, {"ok": True})
            state.asked_at = time.monotonic() - LONG_TRANSACTION_SECONDS - 1
            async with session.get("/healthz") as answer:
                assert (answer.status, await answer.json()) == (503, {"ok": False, "hanging": ["the store's thread"]})
    finally:
        await server.stop()
