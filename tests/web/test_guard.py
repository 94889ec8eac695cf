"""Who may talk to the local interface, over TCP and over the owner's socket."""

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.web.conftest import Interface, Open

TOKEN = "correct-horse-battery-staple"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8787",
        "127.8.7.6:1",
        "localhost",
        "LocalHost:8787",
        "localhost.:80",
        "[::1]",
        "[::1]:8787",
    ],
)
async def test_loopback_names_are_answered(interface: "Interface", host: str) -> None:
    async with interface.over_tcp.get(f"{interface.url}/healthz", headers={"Host": host}) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8787",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "10.0.0.1:8787",
        "192.168.0.1",
        "[2001:db8::1]:8787",
        "[::1",
        "[::1].evil.example",
        "1",
    ],
)
async def test_a_page_that_points_its_own_name_at_this_machine_is_refused(interface: "Interface", host: str) -> None:
    for path in ("/healthz", "/v1/status", "/nothing"):
        async with interface.over_tcp.get(f"{interface.url}{path}", headers={"Host": host}) as response:
            assert response.status == 403
            assert (await response.json())["error"]["reason"] == "foreign_host"


async def test_a_request_without_a_host_is_refused(interface: "Interface") -> None:
    answer = await interface.raw(b"GET /v1/status HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 403")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost", ""])
async def test_a_page_of_another_origin_changes_nothing(interface: "Interface", origin: str) -> None:
    headers = {"Origin": origin}
    async with interface.over_tcp.post(f"{interface.url}/v1/sources/acme/poll", headers=headers) as response:
        assert response.status == 403
        assert (await response.json())["error"]["reason"] == "foreign_origin"
    assert interface.daemon.done == []


async def test_a_page_of_its_own_origin_may_change_something(interface: "Interface") -> None:
    headers = {"Origin": interface.url}
    async with interface.over_tcp.post(f"{interface.url}/v1/sources/acme/poll", headers=headers) as response:
        assert response.status == 200
    assert interface.daemon.done == [("poll", "acme")]


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN.upper()}",
        f"Bearer  {TOKEN}",
        "Bearer \udcff\udcfe",
    ],
)
async def test_beyond_loopback_everything_needs_the_token(listen: "Open", sent: str | None) -> None:
    interface = await listen("0.0.0.0:0", TOKEN)
    line = b"" if sent is None else b"Authorization: " + sent.encode(errors="surrogateescape") + b"\r\n"
    for request in (b"GET /healthz", b"GET /v1/status", b"GET /nothing", b"POST /v1/sources/acme/poll"):
        answer = await interface.raw(
            request + b" HTTP/1.1\r\nHost: notifier.example\r\nConnection: close\r\n" + line + b"\r\n"
        )
        assert answer.startswith(b"HTTP/1.1 401")
        assert b"token_required" in answer
        assert b"WWW-Authenticate: Bearer" in answer
    assert interface.daemon.done == []


@pytest.mark.parametrize("sent", [f"Bearer {TOKEN}", f"bearer {TOKEN}"])
async def test_the_right_token_opens_under_any_name(listen: "Open", sent: str) -> None:
    interface = await listen("0.0.0.0:0", TOKEN)
    headers = {"Authorization": sent, "Host": "notifier.example"}
    async with interface.over_tcp.post(f"{interface.url}/v1/sources/acme/poll", headers=headers) as response:
        assert response.status == 200


async def test_the_token_does_not_help_a_page_of_another_origin(listen: "Open") -> None:
    interface = await listen("127.0.0.1:0", TOKEN)
    headers = {"Authorization": f"Bearer {TOKEN}", "Origin": "https://evil.example"}
    async with interface.over_tcp.post(f"{interface.url}/v1/sources/acme/poll", headers=headers) as response:
        assert response.status == 403


async def test_the_owners_socket_needs_neither_token_nor_name(listen: "Open") -> None:
    interface = await listen("127.0.0.1:0", TOKEN)
    headers = {"Host": "whatever.example"}
    async with interface.over_socket.post("http://x/v1/sources/acme/poll", headers=headers) as response:
        assert response.status == 200


async def test_a_visitor_who_is_gone_at_once_is_not_taken_for_the_owner(listen: "Open") -> None:
    interface = await listen("127.0.0.1:0", TOKEN)
    for _ in range(20):
        # All of it before the listener has accepted.
        visitor = socket.create_connection(("127.0.0.1", interface.port))
        visitor.sendall(b"POST /v1/sources/acme/poll HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        visitor.close()
    async with interface.over_socket.get("http://x/healthz") as response:
        assert response.status == 200
    await asyncio.sleep(0.05)
    assert interface.daemon.done == []
