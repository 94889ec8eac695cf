"""`notifier health` exits with 0 while a restart would not help, and with 1 when only a restart helps."""

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from notifier.cli.commands import health
from notifier.store.file.store import FileStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.command_line import Home


@asynccontextmanager
async def answering(home: "Home", status: int, body: object) -> "AsyncIterator[None]":
    """Answer on the daemon's socket."""

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(home.socket)).start()
    yield
    await runner.cleanup()


@asynccontextmanager
async def starting(home: "Home") -> "AsyncIterator[None]":
    """Hold the state file, as a daemon does before it answers."""
    await home.remember("David Ball")
    store = FileStore(home.state_file)
    await store.open()
    yield
    await store.close()


async def test_health_with_a_working_daemon_exits_0(home: "Home") -> None:
    async with answering(home, 200, {"ok": True, "hanging": []}):
        said = await home.call("health")
    assert (said.code, said.out) == (0, "The daemon works.\n")


async def test_health_with_a_hanging_part_exits_1_and_names_it(home: "Home") -> None:
    async with answering(home, 503, {"ok": False, "hanging": ["acme", "the store's thread"]}):
        said = await home.call("health")
    assert (said.code, said.err) == (1, "Error: the daemon hangs (acme, the store's thread): restart it\n")


async def test_health_of_a_starting_daemon_exits_0_until_the_start_takes_too_long(
    home: "Home", monkeypatch: pytest.MonkeyPatch
) -> None:
    async with starting(home):
        said = await home.call("health")
        assert (said.code, said.out) == (0, "The daemon is starting.\n")
        monkeypatch.setattr(health, "LONGEST_START_SECONDS", 0.0)
        said = await home.call("health")
    assert said.code == 1
    assert f"process {os.getpid()} uses the state file" in said.err
    assert "does not answer: restart it" in said.err


async def test_health_without_a_daemon_exits_1(home: "Home") -> None:
    said = await home.call("health")
    assert said.code == 1
    assert "no daemon uses the state file" in said.err


@pytest.mark.parametrize("broken", ["[nonsense]\n", "[", "\0"])
async def test_health_with_a_broken_configuration_still_asks_the_running_daemon(
    home: "Home", broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the check failed, the container would be restarted, and a working daemon would end and not start again."""
    monkeypatch.setenv("STATE_DIRECTORY", str(home.folder))

    home.config.write_text("[sources.acme]\n" + broken)
    async with answering(home, 200, {"ok": True}):
        said = await home.call("health")
    assert (said.code, said.out) == (0, "The daemon works.\n")
    assert (await home.call("health")).code in {1, 78}
