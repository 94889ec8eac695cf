"""`notifier dashboard` prints a link that signs a browser in once."""

import os
import socket
import stat
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
from yarl import URL

from notifier.cli.browser import open_in_browser

if TYPE_CHECKING:
    from tests.support.command_line import Api, Home


def listen_on_free_port(home: "Home") -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as found:
        port = found.getsockname()[1]
    text = home.config.read_text()
    home.config.write_text(text.replace('listen = ""', f'listen = "127.0.0.1:{port}"'))


async def test_dashboard_link_signs_a_browser_in_once(home: "Home", api: "Api") -> None:
    home.configure(api.url)
    listen_on_free_port(home)
    async with home.daemon():
        said = await home.run("dashboard")
        link = URL(said.out.splitlines()[0])
        assert said.code == 0
        assert "Open it in a browser on this machine within 10 minutes; it is valid once." in said.out
        assert f"first run `ssh -L {link.port}:127.0.0.1:{link.port} {socket.gethostname()}` there" in said.out
        status = link.origin() / "v1/status"
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
            async with browser.get(status) as response:
                assert response.status == 401
            # A HEAD request does not use up the link.
            async with browser.head(link) as response:
                assert (response.status, response.cookies) == (200, {})
            async with browser.get(link) as response:
                assert 'http-equiv="refresh" content="0; url=/"' in await response.text()
            (cookie,) = response.cookies.values()
            assert cookie.key == f"notifier_session_{link.port}"
            assert (cookie["httponly"], cookie["samesite"], cookie["secure"]) == (True, "Strict", "")
            async with browser.get(status) as response:
                assert response.status == 200
        async with aiohttp.ClientSession() as other, other.get(link) as response:
            assert response.status == 403
            assert "This link was already used" in await response.text()
            assert not response.cookies


@pytest.mark.parametrize("user", [0, 1000])
def test_open_in_browser_opens_a_private_redirect_page_but_not_as_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int
) -> None:
    link = "http://127.0.0.1:8787/sign-in?link=a-secret"
    programs, runtime, opened = tmp_path / "bin", tmp_path / "run", tmp_path / "opened"
    programs.mkdir()
    runtime.mkdir()
    (programs / "xdg-open").write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}\n')
    (programs / "xdg-open").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("DISPLAY", "")
    monkeypatch.setenv("WAYLAND_DISPLAY", "")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setattr("os.geteuid", lambda: user)
    assert not open_in_browser(link)
    monkeypatch.setenv("DISPLAY", ":0")
    # As root, no browser is opened.
    assert open_in_browser(link) is (user != 0)
    assert opened.exists() is (user != 0)
    if user:
        page = Path(opened.read_text())
        # Other users can read a program's arguments, so the link must not be among them.
        assert page.parent == runtime
        assert stat.S_IMODE(page.stat().st_mode) == 0o600
        assert f"url={link}" in page.read_text()
        assert open_in_browser(link)


async def test_dashboard_on_a_unix_socket_prints_the_path_of_the_link(home: "Home", api: "Api") -> None:
    home.configure(api.url)
    place = home.folder / "listen.sock"
    home.config.write_text(home.config.read_text().replace('listen = ""', f'listen = "unix:{place}"'))
    async with home.daemon():
        said = await home.run("dashboard")
        link = said.out.splitlines()[0]
        assert link.startswith("/sign-in?link=")
        assert "put the address of a proxy or an SSH tunnel to it before the path" in said.out
        connector = aiohttp.UnixConnector(str(place))
        jar = aiohttp.CookieJar(unsafe=True)
        # Through a tunnel, the browser sends the address of the tunnel as the host.
        host = {"Host": "localhost:8787"}
        async with aiohttp.ClientSession("http://localhost:8787", connector=connector, cookie_jar=jar) as browser:
            async with browser.get("/v1/status", headers=host) as response:
                assert response.status == 401
            async with browser.get(link, headers=host) as response:
                assert response.status == 200
            async with browser.get("/v1/status", headers=host) as response:
                assert response.status == 200


async def test_dashboard_without_a_daemon_or_a_port_fails(home: "Home", api: "Api") -> None:
    home.configure(api.url)
    said = await home.run("dashboard")
    assert (said.code, said.out) == (1, "")
    assert "needs a running daemon" in said.err
    async with home.daemon():
        said = await home.run("dashboard")
    assert (said.code, said.out) == (1, "")
    assert "the daemon listens on no port now" in said.err
