"""Commands on a machine whose daemon stands by while a daemon on another machine holds the store."""

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from notifier.daemon.socket_path import STANDBY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.command_line import Home, Receiver

REFUSAL = "this process is standing by: other, process 7 holds the store; ask the holder"


@asynccontextmanager
async def standby(home: "Home") -> "AsyncIterator[None]":
    """Answer on the owner's socket like a daemon that stands by."""

    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"error": {"reason": STANDBY, "message": REFUSAL}}, status=503)

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"ok": True})

    app = web.Application()
    app.router.add_get("/healthz", health)
    app.router.add_route("*", "/{path:.*}", refuse)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.UnixSite(runner, str(home.socket)).start()
    yield
    await runner.cleanup()


async def test_test_command_at_a_standby_sends_a_sample_event(home: "Home", receiver: "Receiver") -> None:
    home.configure(hr=receiver.url)
    async with standby(home):
        said = await home.call("test", "hr")
    assert (said.code, len(receiver.bodies)) == (0, 1), said.err


@pytest.mark.parametrize("command", [("listen",), ("poll", "acme")], ids=" ".join)
async def test_command_that_needs_the_holder_is_refused_at_a_standby(home: "Home", command: tuple[str, ...]) -> None:
    async with standby(home):
        said = await home.run(*command)
    assert (said.code, said.err) == (1, f"Error: the daemon says: {REFUSAL}\n")
