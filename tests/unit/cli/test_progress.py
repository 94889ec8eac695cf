"""The wait for work of the daemon, while other requests keep the daemon busy."""

from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from notifier.cli import progress
from notifier.daemon.socket_path import BUSY
from notifier.store.errors import StoreReason

if TYPE_CHECKING:
    from tests.support.command_line import Home

DONE = {"finished_at": "2026-11-21T17:00:00Z", "running": False, "records": 7, "changes": 0}


def test_reason_of_a_busy_daemon_is_that_of_the_store() -> None:
    assert StoreReason.BUSY.value == BUSY


@pytest.mark.parametrize(("busy_seconds", "code"), [(60.0, 0), (-1.0, 1)], ids=["for a moment", "for too long"])
async def test_sweep_asks_a_busy_daemon_for_the_progress_again(
    home: "Home", monkeypatch: pytest.MonkeyPatch, busy_seconds: float, code: int
) -> None:
    monkeypatch.setattr(progress, "_LONGEST_BUSY_SECONDS", busy_seconds)
    monkeypatch.setattr(progress, "_REFRESH_SECONDS", 0.01)
    answers = [
        web.json_response({"error": {"reason": BUSY, "message": "try again later"}}, status=503),
        web.json_response({"sources": {"acme": {"sweep": DONE}}}),
    ]

    async def respond(request: web.Request) -> web.Response:
        return answers.pop(0) if request.path == "/v1/status" else web.json_response({"ok": True})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", respond)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.UnixSite(runner, str(home.socket)).start()
    said = await home.call("sweep", "acme")
    await runner.cleanup()
    assert said.code == code, said.err
    assert ("7 records" in said.out, "try again later" in said.err) == (code == 0, code == 1)
