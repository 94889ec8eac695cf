"""Limits on the number and duration of connections, which leave enough for the daemon and its owner."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from msgspec.structs import replace

from notifier.daemon.descriptors import descriptors_in_use
from notifier.web.daemon_api import ActionResult
from notifier.web.listening.limits import ConnectionLimits, limits_for
from tests.support.waiting import until
from tests.support.ways_in import TOKEN, WAYS, Way

if TYPE_CHECKING:
    from tests.support.local_interface import Interface, Open

QUICK = ConnectionLimits(head_seconds=0.5, body_seconds=0.5, idle_seconds=0.6, stalled_seconds=0.5)


@pytest.fixture(autouse=True)
def check_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.web.listening.connections._CHECK_INTERVAL_SECONDS", 0.05)


async def read_until_closed(reader: asyncio.StreamReader) -> bytes:
    """Return the bytes that a connection delivers until the other end closes it."""
    async with asyncio.timeout(20):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (b"GET /healthz HTTP/1.1\r\nHost: loc", b""),
        (
            b"POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n",
            b"",
        ),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", b"HTTP/1.1 200 "),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea", b"HTTP/1.1 200 "),
        (b"POST /sign-out HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nab", b"HTTP/1.1 408 "),
    ],
    ids=["nothing", "half a head", "most of a head", "a request", "one and a half", "half a body"],
)
async def test_unused_connection_is_closed_after_its_time_limit(
    listen: "Open", tmp_path: Path, way: Way, sent: bytes, answer: bytes
) -> None:
    entrance = await way.open(lambda *a, **k: listen(*a, **k, limits=QUICK), tmp_path)
    if entrance.socket:
        reader, writer = await asyncio.open_unix_connection(str(entrance.socket))
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", entrance.interface.port)
    began = time.monotonic()
    writer.write(sent)
    came = await read_until_closed(reader)
    assert came.startswith(answer)
    assert bool(came) is bool(answer)
    assert time.monotonic() - began >= 0.4
    writer.close()


async def test_request_head_sent_byte_by_byte_gets_no_extra_time(listen: "Open") -> None:
    interface = await listen(limits=QUICK)
    reader, writer = await asyncio.open_connection("127.0.0.1", interface.port)
    gone = asyncio.create_task(read_until_closed(reader))
    for byte in b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 1000:
        if gone.done():
            break
        writer.write(bytes([byte]))
        await asyncio.sleep(0.05)
    assert await gone == b""
    writer.close()


async def test_connection_is_closed_if_no_answer_is_read(listen: "Open", monkeypatch: pytest.MonkeyPatch) -> None:
    interface = await listen(limits=QUICK)

    async def much(_self: object) -> bytes:
        return b"x" * 50_000_000

    monkeypatch.setattr(type(interface.daemon), "metrics", much)
    with closing(socket.create_connection(("127.0.0.1", interface.port))) as silent:
        silent.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connections = interface.server._connections
        await until(lambda: len(connections) == 1)
        await until(lambda: len(connections) == 0)


async def test_answer_that_is_read_steadily_is_sent_to_the_end(listen: "Open", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.web.listening.connections._SEND_LIMIT_FACTOR", 1)
    interface = await listen(limits=replace(QUICK, stalled_seconds=2.0))
    size = 14_000_000

    async def much(_self: object) -> bytes:
        return b"x" * size

    monkeypatch.setattr(type(interface.daemon), "metrics", much)
    with closing(socket.create_connection(("127.0.0.1", interface.port))) as steady:
        steady.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert await asyncio.to_thread(read_steadily, steady) > size


def read_steadily(connection: socket.socket) -> int:
    """Read at about 3 MB a second until the connection is closed, and return the number of bytes."""
    count = 0
    while piece := connection.recv(30_000):
        count += len(piece)
        time.sleep(0.01)
    return count


async def test_connection_is_closed_if_the_answer_is_read_too_slowly(
    listen: "Open", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.web.listening.connections._SEND_LIMIT_FACTOR", 4)
    interface = await listen(limits=QUICK)

    async def much(_self: object) -> bytes:
        return b"x" * 50_000_000

    monkeypatch.setattr(type(interface.daemon), "metrics", much)
    with closing(socket.socket()) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", interface.port))
        slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connections = interface.server._connections
        await until(lambda: len(connections) == 1)
        async with asyncio.timeout(20):
            while len(connections):
                slow.recv(1000)
                await asyncio.sleep(0.1)


async def test_event_stream_stays_open_while_there_are_no_events(listen: "Open") -> None:
    interface = await listen(limits=QUICK)
    async with interface.over_tcp.get(f"{interface.url}/v1/events/stream") as response:
        await asyncio.sleep(1.5)
        assert not response.content.at_eof()
        assert interface.feed.stream.reader_count == 1


# The number of connections


async def test_new_connection_closes_the_oldest_idle_one_and_no_active_one(
    listen: "Open", caplog: pytest.LogCaptureFixture
) -> None:
    interface = await listen(limits=replace(QUICK, head_seconds=60, idle_seconds=60, max_per_peer=4))
    at_work = await interface.over_tcp.get(f"{interface.url}/v1/events/stream")
    silent = [await asyncio.open_connection("127.0.0.1", interface.port) for _ in range(3)]
    await until(lambda: len(interface.server._connections) == 4)
    for reader, _ in silent[:2]:
        silent.append(await asyncio.open_connection("127.0.0.1", interface.port))
        assert await read_until_closed(reader) == b""
    async with aiohttp.ClientSession() as other, other.get(f"{interface.url}/healthz") as response:
        assert response.status == 200
        assert await read_until_closed(silent[2][0]) == b""
    assert not at_work.content.at_eof()
    at_work.close()
    for _, writer in silent:
        writer.close()
    # However many connections are closed, only one log entry is written.
    assert len([it for it in caplog.records if "too many connections" in it.getMessage()]) == 1


async def test_new_connection_is_closed_if_all_others_are_active(listen: "Open") -> None:
    interface = await listen(limits=replace(QUICK, max_per_peer=3))
    async with AsyncExitStack() as stack:
        for _ in range(3):
            session = await stack.enter_async_context(aiohttp.ClientSession())
            stream = await session.get(f"{interface.url}/v1/events/stream")
            stack.callback(stream.close)
        reader, writer = await asyncio.open_connection("127.0.0.1", interface.port)
        assert await read_until_closed(reader) == b""
        writer.close()
        async with interface.over_socket.get("http://localhost/healthz") as response:
            assert response.status == 200


async def test_right_token_is_accepted_while_many_wrong_ones_are_delayed(listen: "Open") -> None:
    interface = await listen(token=TOKEN, limits=replace(QUICK, max_per_peer=8))
    wrong = {"Authorization": "Bearer wrong"}

    async def guess() -> None:
        async with aiohttp.ClientSession() as session:
            try:
                await session.get(f"{interface.url}/v1/status", headers=wrong)
            except aiohttp.ClientError:
                return

    guessing = [asyncio.create_task(guess()) for _ in range(40)]
    await asyncio.sleep(0.3)
    right = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession() as session, session.get(f"{interface.url}/v1/status", headers=right) as response:
        assert response.status == 200
    await asyncio.gather(*guessing)


async def test_event_streams_per_peer_are_limited_and_other_peers_can_connect(
    listen: "Open", monkeypatch: pytest.MonkeyPatch
) -> None:
    interface = await listen()
    monkeypatch.setattr(interface.feed.stream, "_max_per_peer", 2)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            stream = await interface.over_tcp.get(f"{interface.url}/v1/events/stream")
            stack.callback(stream.close)
        async with interface.over_tcp.get(f"{interface.url}/v1/events/stream") as refused:
            assert refused.status == 503
            assert (await refused.json())["error"]["reason"] == "too_many_readers"
        stream = await interface.over_socket.get("http://localhost/v1/events/stream")
        stack.callback(stream.close)
        assert stream.status == 200


FLOOD = """
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (2000, 2000))
held = []
for _ in range(1100):
    one = socket.socket(socket.AF_UNIX if len(sys.argv) > 2 else socket.AF_INET)
    one.settimeout(2)
    try:
        one.connect(sys.argv[2] if len(sys.argv) > 2 else ("127.0.0.1", int(sys.argv[1])))
    except OSError:
        continue
    held.append(one)
print(len(held), flush=True)
sys.stdin.read()
"""


def as_other_user() -> list[str]:
    """Return the start of a command that runs a program as another user; it is empty unless the tests run as root."""
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []


async def test_silent_connections_of_another_user_leave_enough_descriptors(listen: "Open") -> None:
    descriptors = 256
    interface = await listen(token=TOKEN, limits=replace(limits_for(descriptors), head_seconds=60, idle_seconds=60))
    before = descriptors_in_use()
    assert before is not None
    with subprocess.Popen(
        [*as_other_user(), "/usr/bin/env", "python3", "-c", FLOOD, str(interface.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
    ) as flood:
        assert flood.stdin is not None
        assert flood.stdout is not None
        assert int(await asyncio.to_thread(flood.stdout.readline)) > 100
        await until(lambda: len(interface.server._connections) <= limits_for(descriptors).most)
        now = descriptors_in_use()
        assert now is not None
        # Enough descriptors remain for polls and deliveries.
        assert now.used - before.used <= descriptors // 2
        async with interface.over_socket.get("http://localhost/v1/status") as response:
            assert response.status == 200
        right = {"Authorization": f"Bearer {TOKEN}"}
        async with interface.over_tcp.get(f"{interface.url}/v1/status", headers=right) as response:
            assert response.status == 200
        flood.stdin.close()


@pytest.mark.parametrize(
    ("descriptors", "limits"),
    [
        (16, (8, 8, 8)),
        (256, (64, 32, 16)),
        (1024, (256, 128, 64)),
        (4096, (512, 256, 64)),
        (1_048_576, (512, 256, 64)),
    ],
)
def test_limits_for_depends_on_the_descriptor_limit(descriptors: int, limits: tuple[int, int, int]) -> None:
    found = limits_for(descriptors)
    assert (found.most, found.max_per_peer, found.max_for_owner) == limits
    assert (found.head_seconds, found.body_seconds, found.idle_seconds) == (10, 10, 75)


RAISE = """
import resource, socket
from notifier.daemon.descriptors import descriptors_in_use, raise_descriptor_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 300))
raise_descriptor_limit()
before = descriptors_in_use()
with socket.socket(), socket.socket():
    more = descriptors_in_use()
print(before.limit, more.used - before.used)
"""


def test_raise_descriptor_limit_raises_it_to_the_hard_limit() -> None:
    said = subprocess.run([sys.executable, "-c", RAISE], check=True, capture_output=True, text=True).stdout
    assert said == "300 2\n"


# Clients that disconnect, and shared answers


async def test_client_disconnect_cancels_a_read_and_not_a_change(
    interface: "Interface", monkeypatch: pytest.MonkeyPatch
) -> None:
    began, ended, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def read(_self: object) -> bytes:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return b""

    async def change(_self: object, source: str) -> ActionResult[Any]:
        began.set()
        await asyncio.sleep(0.3)
        done.set()
        return ActionResult(ok=True, body={"source": source})

    monkeypatch.setattr(type(interface.daemon), "metrics", read)
    monkeypatch.setattr(type(interface.daemon), "poll", change)
    for request, effect in ((b"GET /metrics", ended), (b"POST /v1/sources/acme/poll", done)):
        began.clear()
        _, writer = await asyncio.open_connection("127.0.0.1", interface.port)
        writer.write(request + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(20):
            await began.wait()
            writer.close()
            await effect.wait()


async def test_anonymous_metrics_requests_share_a_page(listen: "Open", monkeypatch: pytest.MonkeyPatch) -> None:
    interface = await listen(anonymous=False)
    made = 0

    async def page(_self: object) -> bytes:
        nonlocal made
        made += 1
        await asyncio.sleep(0.05)
        return b"notifier_up %d\n" % made

    monkeypatch.setattr(type(interface.daemon), "metrics", page)

    async def ask() -> bytes:
        async with interface.over_tcp.get(f"{interface.url}/metrics") as response:
            return await response.read()

    assert set(await asyncio.gather(*(ask() for _ in range(50)))) == {b"notifier_up 1\n"}
    await asyncio.sleep(1.1)
    assert await ask() == b"notifier_up 2\n"
