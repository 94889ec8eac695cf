"""The answers of the local HTTP interface, and its listeners."""

import asyncio
import errno
import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from yarl import URL

from notifier.store.errors import StoreError, StoreReason
from notifier.watch.detection.holds import Direction
from notifier.web.listening.sockets import ListenError
from tests.support.waiting import until
from tests.support.ways_in import TOKEN, WAYS, Entrance

if TYPE_CHECKING:
    from tests.support.local_interface import Interface, Open


class Client:
    """Sends requests to the interface over TCP or over the owner's socket."""

    def __init__(self, interface: "Interface", way: str) -> None:
        self.interface = interface
        self.daemon = interface.daemon
        self.peer = "127.0.0.1" if way == "tcp" else f"uid {os.getuid()}"
        self._session = interface.over_tcp if way == "tcp" else interface.over_socket
        self._base_url = interface.url if way == "tcp" else "http://localhost"

    async def __call__(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        # An escaped path is sent unchanged. An escaped slash in a key must not become a slash in the path.
        url = URL(self._base_url + path, encoded=path.isascii())
        async with self._session.request(method, url, **more) as response:
            assert response.content_type == "application/json"
            assert response.headers["Cache-Control"] == "no-store"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            return response.status, await response.json()


@pytest.fixture(params=["tcp", "socket"])
def ask(interface: "Interface", request: pytest.FixtureRequest) -> Client:
    return Client(interface, request.param)


def error_of(answer: tuple[int, Any]) -> tuple[int, str]:
    """Check that an answer has the format of errors; return its status and reason."""
    status, body = answer
    assert set(body) == {"error"}
    assert set(body["error"]) == {"reason", "message"}
    assert body["error"]["message"]
    return status, body["error"]["reason"]


async def test_healthz_returns_503_when_a_part_hangs(ask: Client) -> None:
    assert await ask("GET", "/healthz") == (200, {"ok": True, "hanging": []})
    ask.daemon.hangs = ("acme",)
    assert await ask("GET", "/healthz") == (503, {"ok": False, "hanging": ["acme"]})


async def test_readyz_returns_503_when_a_source_is_not_ready(ask: Client) -> None:
    assert await ask("GET", "/readyz") == (200, {"ready": True, "unready": {}})
    ask.daemon.not_ready = {"acme": "timeout: the API did not answer in time"}
    assert await ask("GET", "/readyz") == (503, {"ready": False, "unready": ask.daemon.not_ready})


async def test_status_route_returns_the_status_of_the_daemon(ask: Client) -> None:
    assert await ask("GET", "/v1/status") == (200, await ask.daemon.status())


@pytest.mark.parametrize("what", ["poll", "sweep"])
async def test_source_routes_poll_and_sweep_on_demand_or_return_409(ask: Client, what: str) -> None:
    assert await ask("POST", f"/v1/sources/acme/{what}") == (200, {"source": "acme", "what": what})
    ask.daemon.refuses = True
    assert (await ask("POST", f"/v1/sources/acme/{what}"))[0] == 409
    assert ask.daemon.done == [(what, "acme")] * 2


@pytest.mark.parametrize("what", Direction)
@pytest.mark.parametrize("silently", [True, False, None])
async def test_release_route_releases_held_changes_and_passes_on_the_requester(
    ask: Client, what: Direction, *, silently: bool | None
) -> None:
    body = {"what": what} if silently is None else {"what": what, "silently": silently}
    status, _ = await ask("POST", "/v1/sources/acme/release", json=body)
    assert status == 200
    assert ask.daemon.released == [(what, bool(silently), ask.peer)]


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, "`what` is required: one of removals, arrivals, changes"),
        ({"what": "everything"}, "`what` must be one of removals, arrivals, changes"),
        ({"what": ["removals"]}, "`what` must be one of removals, arrivals, changes"),
        ({"what": "removals", "silently": "yes"}, "`silently` must be true or false"),
        ({"what": "removals", "quietly": True}, "there is no field `quietly`"),
    ],
)
async def test_release_route_rejects_an_invalid_body(ask: Client, body: dict[str, Any], wrong: str) -> None:
    status, answer = await ask("POST", "/v1/sources/acme/release", json=body)
    assert (status, answer["error"]["reason"]) == (400, "bad_request")
    assert wrong in answer["error"]["message"]
    assert ask.daemon.released == []


@pytest.mark.parametrize("what", ["poll", "sweep"])
@pytest.mark.parametrize("name", ["nobody", "a%2Fb", "%FF", "ü", "x" * 2000])
async def test_source_routes_return_404_for_an_unknown_source(ask: Client, what: str, name: str) -> None:
    status, body = await ask("POST", f"/v1/sources/{name}/{what}")
    assert error_of((status, body)) == (404, "unknown_name")
    assert body["error"]["message"].endswith("; there is acme")


KEYS = ("1238", "a/b", "ü", "😀", "%", "%2F", "%252F", "{a}b{", ".", "..", "?", "#", "a b", "+", "\n", "\x00", "&=")


@pytest.mark.parametrize("key", KEYS)
async def test_record_route_finds_keys_with_any_characters(ask: Client, key: str) -> None:
    ask.daemon.records = {key}
    path = f"/v1/records/{quote(key, safe='')}"
    assert await ask("GET", path) == (200, {"key": key, "sources": {"acme": {"key": key}}})


@pytest.mark.parametrize("key", ["99", "%FF", "%ED%B3%BF", "x" * 2000])
async def test_record_route_returns_404_for_an_unknown_record(ask: Client, key: str) -> None:
    status, body = await ask("GET", f"/v1/records/{key}")
    assert error_of((status, body)) == (404, "unknown_record")
    assert body["error"]["message"].startswith("no source knows a record `")


UNKNOWN_PATHS = (
    "/nothing",
    "/dashboard/nothing.css",
    "/dashboard/",
    "/records/",
    "/v1",
    "/v1/sources",
    "/v1/sources/a",
    "/v1/sources//poll",
    "/v1/records/",
    "/v1/records/a/b",
    "/V1/status",
)


@pytest.mark.parametrize("path", UNKNOWN_PATHS)
async def test_unknown_paths_return_404(ask: Client, path: str) -> None:
    assert error_of(await ask("GET", path)) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/healthz", {"GET", "HEAD"}),
        ("DELETE", "/v1/status", {"GET", "HEAD"}),
        ("GET", "/v1/sources/acme/poll", {"POST"}),
        ("PUT", "/v1/sources/acme/sweep", {"POST"}),
    ],
)
async def test_wrong_method_returns_405_with_the_allowed_methods(
    interface: "Interface", method: str, path: str, allowed: set[str]
) -> None:
    async with interface.over_tcp.request(method, interface.url + path) as response:
        assert error_of((response.status, await response.json())) == (405, "method_not_allowed")
        assert set(response.headers["Allow"].split(",")) == allowed
    assert interface.daemon.done == []


async def test_too_large_body_is_rejected_and_nothing_is_done(ask: Client) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000

    json = {"Content-Type": "application/json"}
    for body in (b"x" * 100_000, pieces()):
        answer = await ask("POST", "/v1/sources/acme/poll", data=body, headers=json)
        assert error_of(answer) == (413, "request_entity_too_large")
    assert ask.daemon.done == []
    assert (await ask("POST", "/v1/sources/acme/poll", data=b"x" * 60_000, headers=json))[0] == 200


async def test_store_error_is_named_in_a_503_answer(ask: Client) -> None:
    ask.daemon.trouble = StoreError(StoreReason.DISK_FULL, "the disk is full")
    assert error_of(await ask("GET", "/v1/status")) == (503, "disk_full")


async def test_internal_error_is_logged_but_not_shown_and_later_requests_work(
    ask: Client, caplog: pytest.LogCaptureFixture
) -> None:
    ask.daemon.trouble = KeyError("inner workings")
    status, body = await ask("GET", "/v1/status")
    assert error_of((status, body)) == (500, "internal_error")
    assert "inner workings" not in str(body)
    assert "inner workings" in caplog.text
    assert (await ask("GET", "/healthz"))[0] == 200


# Addresses and sockets on which it listens


async def test_owners_socket_is_accessible_only_to_its_owner(interface: "Interface") -> None:
    assert stat.S_IMODE(interface.socket.stat().st_mode) == 0o600


async def test_configured_unix_socket_is_opened_beside_the_owners_socket(listen: "Open", tmp_path: Path) -> None:
    await listen(f"unix:{tmp_path}/other.sock")
    for name in ("notifier.db.sock", "other.sock"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


async def test_configured_unix_socket_may_be_the_owners_socket(listen: "Open", tmp_path: Path) -> None:
    interface = await listen(f"unix:{tmp_path}/notifier.db.sock")
    async with interface.over_socket.get("http://localhost/healthz") as response:
        assert response.status == 200


async def test_interface_without_an_address_opens_only_the_socket(listen: "Open") -> None:
    interface = await listen("")
    assert interface.port == 0
    async with interface.over_socket.get("http://localhost/healthz") as response:
        assert response.status == 200


async def test_stale_socket_of_a_killed_daemon_is_replaced(listen: "Open", tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "notifier.db.sock"))
        left.listen()
    interface = await listen()
    async with interface.over_socket.get("http://localhost/healthz") as response:
        assert response.status == 200


async def test_socket_that_is_in_use_is_kept_and_reported(listen: "Open", tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(theirs))
        listener.listen()
        interface = await listen(f"unix:{theirs}")
        assert re.search(r"theirs\.sock \(Address already in use\)", interface.server.problem or "")
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect(str(theirs))


async def test_file_at_the_path_of_the_socket_is_kept_and_raises_listen_error(listen: "Open", tmp_path: Path) -> None:
    (tmp_path / "notifier.db.sock").write_text("mine")
    with pytest.raises(ListenError, match=r"notifier\.db\.sock \(Address already in use\): free that path"):
        await listen()
    assert (tmp_path / "notifier.db.sock").read_text() == "mine"


async def test_socket_path_that_is_too_long_raises_listen_error(listen: "Open", tmp_path: Path) -> None:
    longest = tmp_path / ("x" * (107 - len(str(tmp_path)) - 1))
    await listen(path=longest)
    with pytest.raises(ListenError, match="is longer than 107 bytes: shorten it"):
        await listen(path=longest.with_name(longest.name + "x"))


async def test_socket_path_in_a_missing_folder_raises_listen_error(listen: "Open", tmp_path: Path) -> None:
    with pytest.raises(ListenError, match=r"No such file or directory\): free that path, or make its folder writable"):
        await listen(path=tmp_path / "gone" / "notifier.db.sock")


async def test_port_in_use_is_reported_and_tried_again(
    listen: "Open", monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("notifier.web.server.RETRY_INTERVAL_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        interface = await listen(f"127.0.0.1:{port}")
        said = rf"cannot listen on 127\.0\.0\.1:{port} .*in use.*: free that address, or set"
        assert re.search(said, interface.server.problem or "")
        assert interface.server.url is None
        async with interface.over_socket.get("http://localhost/healthz") as response:
            assert response.status == 200
        async with interface.over_socket.post("http://localhost/v1/sign-in-link") as response:
            assert response.status == 409
            assert "listens on no port now" in (await response.json())["message"]
    await until(lambda: interface.server.problem is None)
    async with interface.over_tcp.get(f"http://127.0.0.1:{port}/healthz") as response:
        assert response.status == 200
    assert [record.levelname for record in caplog.records if "does not listen" in record.getMessage()] == ["ERROR"]


async def test_localhost_is_served_if_ipv6_is_disabled(
    listen: "Open", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a container: the name has both addresses, and the kernel refuses `::1`.
    both = [(socket.AF_INET6, ("::1", 0, 0, 0)), (socket.AF_INET, ("127.0.0.1", 0))]
    bind = socket.socket.bind

    async def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(family, socket.SOCK_STREAM, 6, "", place) for family, place in both]

    def refuse_ipv6(listener: socket.socket, place: Any) -> None:
        if listener.family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        bind(listener, place)

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    monkeypatch.setattr(socket.socket, "bind", refuse_ipv6)
    interface = await listen("localhost:0")
    assert interface.server.problem is None
    assert [host for host, _ in interface.server.addresses] == ["127.0.0.1"]
    both.pop()
    alone = await listen("localhost:0", path=tmp_path / "alone.sock")
    assert "Cannot assign requested address" in (alone.server.problem or "")


# Sockets that systemd hands over


async def test_systemd_socket_replaces_the_configured_address(listen: "Open", tmp_path: Path) -> None:
    tcp = socket.create_server(("127.0.0.1", 0))
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(tmp_path / "activated.sock"))
    unix.listen()
    interface = await listen("127.0.0.1:1", anonymous=False, handed_over=[tcp, unix])
    assert interface.server.addresses == [tcp.getsockname()]
    tcp_way, unix_way = WAYS[0], WAYS[3]
    for entrance in (
        Entrance(tcp_way, interface, None),
        Entrance(unix_way, interface, tmp_path / "activated.sock"),
    ):
        assert (await entrance.ask("GET", "/healthz")).status == 200
        assert (await entrance.ask("GET", "/v1/status")).status == 401


async def test_systemd_socket_beyond_loopback_is_served_only_with_a_token(listen: "Open", tmp_path: Path) -> None:
    for token in ("", TOKEN):
        beyond = socket.create_server(("0.0.0.0", 0))  # noqa: S104 - that is the case
        path = tmp_path / f"{bool(token)}.sock"
        interface = await listen("127.0.0.1:0", token, path, anonymous=False, handed_over=[beyond])
        problem = interface.server.problem or ""
        assert ("there is no [http] token" in problem) is not bool(token)
        assert bool(interface.server.addresses) is bool(token)


@pytest.mark.parametrize(
    ("number", "process", "found"), [("2", "mine", 2), ("2", "1", 0), ("", "mine", 0), ("x", "mine", 0)]
)
def test_systemd_sockets_for_another_process_are_ignored(number: str, process: str, found: int, tmp_path: Path) -> None:
    script = tmp_path / "activated.py"
    script.write_text(
        "import os, sys\n"
        "from notifier.web.listening.sockets import take_systemd_sockets\n"
        "os.environ |= {'LISTEN_FDS': sys.argv[1], 'LISTEN_FDNAMES': 'a:b'}\n"
        "os.environ['LISTEN_PID'] = str(os.getpid()) if sys.argv[2] == 'mine' else sys.argv[2]\n"
        "found = take_systemd_sockets(os.environ)\n"
        "left = [name for name in os.environ if name.startswith('LISTEN_')]\n"
        "print(len(found), left, [os.get_inheritable(it.fileno()) for it in found])\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        command = [sys.executable, str(script), number, process]
        # As systemd does it: the descriptors from 3 on.
        first, second = one.fileno(), other.fileno()
        begin = f"import os, sys; os.dup2({first}, 3); os.dup2({second}, 4); os.execv(sys.argv[1], sys.argv[1:])"
        said = subprocess.run(
            [sys.executable, "-c", begin, *command],
            pass_fds=(first, second),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    assert said == f"{found} [] {[False] * found}\n"
