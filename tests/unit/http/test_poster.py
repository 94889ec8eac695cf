"""A Poster prepares once what its requests have in common, and sends the same bytes as aiohttp's client."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import pytest
from aiohttp.connector import Connection

from notifier.http import poster as posters
from notifier.http.exchange import LARGE_BODY_BYTES, Answer, RequestOptions, new_session, send
from notifier.http.poster import Poster, internals_match
from notifier.http.transport_errors import TransportError, TransportReason
from tests.support.waiting import until

HUGE: Final = b"x" * 2**25
"""More than the buffers between two programs hold."""

YES: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
COMMON: Final = {"x-key": "Schl\u00fcssel", "user-agent": "us", "accept-encoding": "identity"}
OWN: Final = {"content-type": "application/json", "webhook-id": "evt_1"}


@dataclass
class Peer:
    """A server that records the bytes of each request, and counts the connections."""

    url: str = ""
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                length = re.search(rb"(?i)content-length: (\d+)", head)
                self.bodies.append(await reader.readexactly(int(length[1]) if length else 0))
                writer.write(YES)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@dataclass
class SlowPeer(Peer):
    """A server that sends `answer`, waits for `may_read`, and then reads the body to the end of the connection."""

    answer: bytes = YES
    may_read: asyncio.Event = field(default_factory=asyncio.Event)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self.answer)
        await self.may_read.wait()
        body = b""
        with suppress(ConnectionError):
            while piece := await reader.read(2**16):
                body += piece
        self.bodies.append(body)
        writer.close()


@asynccontextmanager
async def listen(peer: Peer) -> AsyncIterator[None]:
    server = await asyncio.start_server(peer.converse, "127.0.0.1", 0)
    peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield
    server.close()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    made = Peer()
    async with listen(made):
        yield made


@pytest.fixture
def no_body_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a Poster send `HUGE` itself."""
    monkeypatch.setattr(posters, "LARGE_BODY_BYTES", len(HUGE))


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with new_session() as opened:
        yield opened


@pytest.fixture
def client_posts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which the length of each body that aiohttp's client posts is added."""
    posted: list[int] = []

    async def counted(
        session: aiohttp.ClientSession, method: str, url: str, body: bytes, options: RequestOptions
    ) -> Answer:
        posted.append(len(body))
        return await send(session, method, url, body, options)

    monkeypatch.setattr(posters, "send", counted)
    return posted


def parse_head(head: bytes) -> tuple[bytes, list[bytes]]:
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    return first, sorted(name.lower() + b":" + value for name, _, value in (line.partition(b":") for line in lines))


def new_poster(session: aiohttp.ClientSession, url: str, headers: Mapping[str, str] = COMMON) -> Poster:
    return Poster(session, url, headers, timeout=5.0, limit=100)


def test_internals_match_is_true_for_the_installed_aiohttp() -> None:
    assert internals_match(), (
        "THE INNER PARTS OF AIOHTTP HAVE CHANGED: deliveries take more processor time. Change notifier/http/poster.py,"
        " see both ways pass the same tests, and raise the bound of aiohttp in pyproject.toml."
    )


@pytest.mark.parametrize("part", ["a parameter", "an attribute"])
def test_internals_match_is_false_after_a_change_in_aiohttp(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    if part == "a parameter":
        monkeypatch.setitem(posters._CALLED_INTERNALS, aiohttp.TCPConnector.connect, {"req", "something_new"})
    else:
        monkeypatch.setitem(posters._READ_ATTRIBUTES, aiohttp.StreamReader, ("something_new",))
    assert not internals_match.__wrapped__()


@pytest.mark.parametrize("user", ["", "us%C3%A9r:secret@"])
@pytest.mark.parametrize("body", [b"", b"{}", b"x" * 100_000])
async def test_poster_and_client_send_the_same_request(
    session: aiohttp.ClientSession, peer: Peer, monkeypatch: pytest.MonkeyPatch, user: str, body: bytes
) -> None:
    url = peer.url.replace("//", f"//{user}") + "/A%2fb/?q=%zz&q=\u00e9#part"
    answers = [await new_poster(session, url).post(body, OWN)]
    monkeypatch.setattr(posters, "internals_match", lambda: False)
    answers.append(await new_poster(session, url).post(body, OWN))
    assert [(answer.status, dict(answer.headers), answer.body) for answer in answers] == [
        (200, {"Content-Length": "2"}, b"ok")
    ] * 2
    assert peer.bodies == [body] * 2
    one, other = map(parse_head, peer.heads)
    assert one == other
    assert peer.connections == 1


async def test_poster_reuses_its_connection_but_not_the_headers_of_one_request(
    session: aiohttp.ClientSession, peer: Peer, client_posts: list[int]
) -> None:
    poster = new_poster(session, peer.url)
    for number in range(3):
        await poster.post(b"x" * number, {"content-type": f"text/{number}"})
    assert peer.connections == 1
    assert peer.bodies == [b"", b"x", b"xx"]
    assert [re.findall(rb"content-type: (\S+)", head) for head in peer.heads] == [[b"text/0"], [b"text/1"], [b"text/2"]]
    assert client_posts == []


async def test_poster_leaves_large_bodies_and_expect_headers_to_the_client(
    session: aiohttp.ClientSession, peer: Peer, client_posts: list[int]
) -> None:
    await new_poster(session, peer.url).post(b"x" * LARGE_BODY_BYTES, OWN)
    assert client_posts == []
    await new_poster(session, peer.url).post(b"x" * (LARGE_BODY_BYTES + 1), OWN)
    assert client_posts == [LARGE_BODY_BYTES + 1]
    with pytest.raises(TransportError):
        await Poster(session, peer.url, {"Expect": "100-continue"}, timeout=0.3, limit=100).post(b"x", OWN)
    assert client_posts == [LARGE_BODY_BYTES + 1, 1]


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "a\x7fb"])
async def test_poster_rejects_a_header_value_with_a_control_character(
    session: aiohttp.ClientSession, peer: Peer, value: str
) -> None:
    with pytest.raises(TransportError) as raised:
        await new_poster(session, peer.url).post(b"x", {"webhook-id": value})
    assert raised.value.reason is TransportReason.PROTOCOL_BROKEN
    assert peer.connections == 0


@pytest.mark.usefixtures("no_body_is_large")
async def test_poster_does_not_reuse_a_connection_with_an_early_answer(
    session: aiohttp.ClientSession,
) -> None:
    peer = SlowPeer()
    async with listen(peer):
        poster = new_poster(session, peer.url)
        answers = [await poster.post(HUGE, OWN), await poster.post(b"{}", OWN)]
        assert [(answer.status, answer.body) for answer in answers] == [(200, b"ok")] * 2
        assert peer.connections == 2
        peer.may_read.set()
        await session.close()
        await until(lambda: sorted(map(len, peer.bodies)) == [2, len(HUGE)])


@pytest.mark.usefixtures("no_body_is_large")
@pytest.mark.parametrize("size", [2, len(HUGE)])
async def test_cancelled_post_closes_its_connection_and_sends_no_more(
    session: aiohttp.ClientSession, size: int
) -> None:
    peer = SlowPeer(answer=b"")
    async with listen(peer):
        task = asyncio.create_task(new_poster(session, peer.url).post(HUGE[:size], OWN))
        await until(lambda: peer.heads != [])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        peer.may_read.set()
        await until(lambda: peer.bodies != [])
    assert len(peer.bodies[0]) <= size // 2 or size == 2


async def test_poster_reports_connection_lost_if_it_closes_before_its_use(
    session: aiohttp.ClientSession, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = aiohttp.TCPConnector.connect

    async def closing(self: aiohttp.TCPConnector, *args: Any, **options: Any) -> Connection:
        connection = await connect(self, *args, **options)
        assert connection.transport is not None
        connection.transport.abort()
        await until(lambda: connection.transport is None)
        return connection

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", closing)
    with pytest.raises(TransportError) as raised:
        await new_poster(session, peer.url).post(b"x", OWN)
    assert raised.value.reason is TransportReason.CONNECTION_LOST
    assert peer.heads == []
