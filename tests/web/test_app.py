"""What the local interface answers, and where it listens."""

import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from yarl import URL

from notifier.ledger.errors import LedgerError, LedgerReason
from notifier.web.server import ListenError

if TYPE_CHECKING:
    from tests.web.conftest import Interface, Open


class Asking:
    """Asks the interface over one of its ways in."""

    def __init__(self, interface: "Interface", way: str) -> None:
        self.interface = interface
        self.daemon = interface.daemon
        self._session = interface.over_tcp if way == "tcp" else interface.over_socket
        self._base = interface.url if way == "tcp" else "http://localhost"

    async def __call__(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        # What is escaped goes out as it is: a slash in a key, for one, must not become part of the path.
        url = URL(self._base + path, encoded=path.isascii())
        async with self._session.request(method, url, **more) as response:
            assert response.content_type == "application/json"
            assert response.headers["Cache-Control"] == "no-store"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            return response.status, await response.json()


@pytest.fixture(params=["tcp", "socket"])
def ask(interface: "Interface", request: pytest.FixtureRequest) -> Asking:
    return Asking(interface, request.param)


def refused(answer: tuple[int, Any]) -> tuple[int, str]:
    """Check an answer for the form of errors; return its status and reason."""
    status, body = answer
    assert set(body) == {"error"}
    assert set(body["error"]) == {"reason", "message"}
    assert body["error"]["message"]
    return status, body["error"]["reason"]


async def test_the_process_works(ask: Asking) -> None:
    assert await ask("GET", "/healthz") == (200, {"ok": True})


async def test_it_is_ready_when_no_source_is_not(ask: Asking) -> None:
    assert await ask("GET", "/readyz") == (200, {"ready": True, "unready": {}})
    ask.daemon.not_ready = {"acme": "timeout: the API did not answer in time"}
    assert await ask("GET", "/readyz") == (503, {"ready": False, "unready": ask.daemon.not_ready})


async def test_the_status_is_the_daemons(ask: Asking) -> None:
    status: dict[str, Any] = {"version": "1", "started_at": None, "sources": {}, "destinations": {}, "conditions": []}
    assert await ask("GET", "/v1/status") == (200, status)


@pytest.mark.parametrize("what", ["poll", "sweep"])
async def test_a_source_is_polled_and_swept_on_demand(ask: Asking, what: str) -> None:
    assert await ask("POST", f"/v1/sources/acme/{what}") == (200, {"source": "acme", "what": what})
    ask.daemon.refuses = True
    assert (await ask("POST", f"/v1/sources/acme/{what}"))[0] == 409
    assert ask.daemon.done == [(what, "acme")] * 2


@pytest.mark.parametrize("what", ["poll", "sweep"])
@pytest.mark.parametrize("name", ["nobody", "a%2Fb", "%FF", "ü", "x" * 2000])
async def test_an_unknown_name_is_said_to_be_unknown(ask: Asking, what: str, name: str) -> None:
    status, body = await ask("POST", f"/v1/sources/{name}/{what}")
    assert refused((status, body)) == (404, "unknown_name")
    assert body["error"]["message"].endswith("; there is acme")


KEYS = ("1238", "a/b", "ü", "😀", "%", "%2F", "%252F", "{a}b{", ".", "..", "?", "#", "a b", "+", "\n", "\x00", "&=")


@pytest.mark.parametrize("key", KEYS)
async def test_a_record_is_found_whatever_characters_its_key_has(ask: Asking, key: str) -> None:
    ask.daemon.records = {key}
    path = f"/v1/records/{quote(key, safe='')}"
    assert await ask("GET", path) == (200, {"key": key, "sources": {"acme": {"key": key}}})


@pytest.mark.parametrize("key", ["99", "%FF", "%ED%B3%BF", "x" * 2000])
async def test_a_record_that_no_source_knows_is_said_to_be_unknown(ask: Asking, key: str) -> None:
    status, body = await ask("GET", f"/v1/records/{key}")
    assert refused((status, body)) == (404, "unknown_record")
    assert body["error"]["message"].startswith("no source knows a record `")


NOWHERE = (
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


@pytest.mark.parametrize("path", NOWHERE)
async def test_what_is_not_there_is_not_found(ask: Asking, path: str) -> None:
    assert refused(await ask("GET", path)) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/healthz", {"GET", "HEAD"}),
        ("DELETE", "/v1/status", {"GET", "HEAD"}),
        ("GET", "/v1/sources/acme/poll", {"POST"}),
        ("PUT", "/v1/sources/acme/sweep", {"POST"}),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(
    interface: "Interface", method: str, path: str, allowed: set[str]
) -> None:
    async with interface.over_tcp.request(method, interface.url + path) as response:
        assert refused((response.status, await response.json())) == (405, "method_not_allowed")
        assert set(response.headers["Allow"].split(",")) == allowed
    assert interface.daemon.done == []


async def test_a_body_that_is_too_large_is_refused_and_nothing_is_done(ask: Asking) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000

    json = {"Content-Type": "application/json"}
    for body in (b"x" * 100_000, pieces()):
        answer = await ask("POST", "/v1/sources/acme/poll", data=body, headers=json)
        assert refused(answer) == (413, "request_entity_too_large")
    assert ask.daemon.done == []
    assert (await ask("POST", "/v1/sources/acme/poll", data=b"x" * 60_000, headers=json))[0] == 200


async def test_trouble_with_the_state_file_is_named(ask: Asking) -> None:
    ask.daemon.trouble = LedgerError(LedgerReason.DISK_FULL, "the disk is full")
    assert refused(await ask("GET", "/v1/status")) == (503, "disk_full")


async def test_a_fault_of_the_program_shows_nothing_and_ends_nothing(
    ask: Asking, caplog: pytest.LogCaptureFixture
) -> None:
    ask.daemon.trouble = KeyError("inner workings")
    status, body = await ask("GET", "/v1/status")
    assert refused((status, body)) == (500, "internal_error")
    assert "inner workings" not in str(body)
    assert "inner workings" in caplog.text
    assert (await ask("GET", "/healthz"))[0] == 200


# Where it listens


async def test_the_socket_is_its_owners_alone(interface: "Interface") -> None:
    assert stat.S_IMODE(interface.socket.stat().st_mode) == 0o600


async def test_a_socket_can_be_the_configured_address_too(listen: "Open", tmp_path: Path) -> None:
    await listen(f"unix:{tmp_path}/other.sock")
    for name in ("notifier.db.sock", "other.sock"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


async def test_the_configured_socket_may_be_the_one_that_is_there_anyway(listen: "Open", tmp_path: Path) -> None:
    interface = await listen(f"unix:{tmp_path}/notifier.db.sock")
    async with interface.over_socket.get("http://localhost/healthz") as response:
        assert response.status == 200


async def test_without_an_address_only_the_socket_is_open(listen: "Open") -> None:
    interface = await listen("")
    assert interface.port == 0
    async with interface.over_socket.get("http://localhost/healthz") as response:
        assert response.status == 200


async def test_a_socket_that_a_killed_daemon_left_is_replaced(listen: "Open", tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "notifier.db.sock"))
        left.listen()
    interface = await listen()
    async with interface.over_socket.get("http://localhost/healthz") as response:
        assert response.status == 200


async def test_a_socket_that_somebody_listens_on_is_left_alone(listen: "Open", tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(theirs))
        listener.listen()
        with pytest.raises(ListenError, match=r"theirs\.sock \(Address already in use\)"):
            await listen(f"unix:{theirs}")
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect(str(theirs))


async def test_a_file_in_the_sockets_place_is_left_alone(listen: "Open", tmp_path: Path) -> None:
    (tmp_path / "notifier.db.sock").write_text("mine")
    with pytest.raises(ListenError, match=r"notifier\.db\.sock \(Address already in use\): free it"):
        await listen()
    assert (tmp_path / "notifier.db.sock").read_text() == "mine"


async def test_a_path_that_is_too_long_for_a_socket_is_said_to_be(listen: "Open", tmp_path: Path) -> None:
    longest = tmp_path / ("x" * (107 - len(str(tmp_path)) - 1))
    await listen(path=longest)
    with pytest.raises(ListenError, match="is longer than 107 bytes: shorten it"):
        await listen(path=longest.with_name(longest.name + "x"))


async def test_a_socket_in_no_folder_is_said_to_be(listen: "Open", tmp_path: Path) -> None:
    with pytest.raises(ListenError, match=r"No such file or directory\): free it, or make its folder writable"):
        await listen(path=tmp_path / "gone" / "notifier.db.sock")


async def test_a_port_in_use_is_said_to_be(listen: "Open", interface: "Interface", tmp_path: Path) -> None:
    with pytest.raises(
        ListenError, match=rf"cannot listen on 127\.0\.0\.1:{interface.port} .*in use.*: free it, or set"
    ):
        await listen(f"127.0.0.1:{interface.port}", path=tmp_path / "second.sock")
