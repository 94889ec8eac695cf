"""Commands whose request takes the daemon longer than the timeout for an answer."""

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from notifier.cli import daemon_client

if TYPE_CHECKING:
    from tests.support.command_line import Home

SILENCE_SECONDS = 0.2


@pytest.mark.parametrize("hanging", [(), ("the store's thread",)])
@pytest.mark.parametrize(
    "command",
    [
        ("retry",),
        ("enable", "hr"),
        ("disable", "hr"),
        ("deliveries", "drop", "hr", "--yes"),
        ("deliveries", "move", "former", "hr"),
        ("replay", "--stop"),
        ("poll", "acme"),
    ],
    ids=" ".join,
)
async def test_command_waits_for_a_busy_daemon_but_not_for_a_hanging_one(
    home: "Home", monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], hanging: tuple[str, ...]
) -> None:
    """A request takes long, for example, if it requeues all dead deliveries of a long outage."""
    monkeypatch.setattr(daemon_client, "ANSWER_TIMEOUT_SECONDS", SILENCE_SECONDS)
    defaults = daemon_client.request.__kwdefaults__ or {}
    monkeypatch.setitem(defaults, "timeout", SILENCE_SECONDS)
    is_working = False

    async def health(_: web.Request) -> web.Response:
        is_hanging = is_working and hanging
        return web.json_response({"hanging": hanging}, status=503 if is_hanging else 200)

    async def work(_: web.Request) -> web.Response:
        nonlocal is_working
        is_working = True
        await asyncio.sleep(3 * SILENCE_SECONDS)
        return web.json_response({"error": {"reason": "done", "message": "done"}}, status=400)

    app = web.Application()
    app.router.add_get("/healthz", health)
    app.router.add_post("/{path:.*}", work)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.UnixSite(runner, str(home.socket)).start()
    said = await home.call(*command)
    await runner.cleanup()
    expected = "the daemon hangs (the store's thread): restart it" if hanging else "the daemon says: done"
    assert said.err == f"Error: {expected}\n"
