"""`notifier reload` with a configuration from which not even the path of the state file can be read."""

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from notifier.daemon.socket_path import WRONG_CONFIGURATION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.command_line import Home


@asynccontextmanager
async def refusing(home: "Home") -> "AsyncIterator[list[str]]":
    """Answer each reload on the daemon's socket with an error, and record the paths of the requests."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        body = {"reason": WRONG_CONFIGURATION, "message": "config.toml: line 2: is not valid TOML"}
        return web.json_response(body, status=200 if request.path == "/healthz" else 422)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(home.socket)).start()
    yield asked
    await runner.cleanup()


@pytest.mark.parametrize("is_typed_by_operator", [False, True])
async def test_reload_with_a_broken_configuration_still_asks_the_daemon(
    home: "Home", tmp_path: "Path", monkeypatch: pytest.MonkeyPatch, *, is_typed_by_operator: bool
) -> None:
    """Otherwise there would be no alert that the daemon still uses the previous configuration."""
    if is_typed_by_operator:
        monkeypatch.setattr("notifier.config.paths.SYSTEM_FILE", home.config)
        monkeypatch.setattr("notifier.config.paths.STATE_ROOT", tmp_path / "lib")
        (tmp_path / "lib").mkdir()
        (tmp_path / "lib" / "notifier").symlink_to(home.folder)
    else:
        monkeypatch.setenv("STATE_DIRECTORY", str(home.folder))
    home.config.write_text("[sources.acme]\n[\n")
    async with refusing(home) as asked:
        said = await home.call("reload")
    assert (said.code, said.err) == (78, "Error: config.toml: line 2: is not valid TOML\n")
    assert "/v1/reload" in asked


async def test_reload_with_a_broken_configuration_and_no_daemon_exits_78(
    home: "Home", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(home.folder))
    home.config.write_text("[sources.acme]\n[\n")
    said = await home.call("reload")
    assert said.code == 78
    assert "config.toml: line 2" in said.err
