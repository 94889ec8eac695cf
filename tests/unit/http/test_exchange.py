"""One exchange with peers that break, stall or send too much, beyond the tests of the client and destinations."""

import asyncio
import base64
import gzip
import socket
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from notifier.http.exchange import Answer, RequestOptions, new_session, request_url, send, stream
from notifier.http.transport_errors import TransportError, TransportReason

pytestmark = pytest.mark.usefixtures("way_to_post")
HEAD = b"HTTP/1.1 200 OK\r\n"
SECRET = "lastsegmentIsTheSecret"

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def session(resources: AsyncExitStack) -> aiohttp.ClientSession:
    return await resources.enter_async_context(new_session())


@pytest.fixture
def listening(resources: AsyncExitStack) -> Callable[[Peer], Awaitable[str]]:
    """Start a raw TCP peer; return its base URL."""

    async def start(peer: Peer) -> str:
        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await peer(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(converse, "127.0.0.1", 0)
        resources.callback(server.close)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    return start


@pytest.fixture
def serving(resources: AsyncExitStack) -> Callable[..., Awaitable[str]]:
    """Serve one handler with a real HTTP server; return its base URL."""

    async def start(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> str:
        app = web.Application(client_max_size=2**27)
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        resources.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    return start


async def exchange(
    session: aiohttp.ClientSession,
    url: str,
    body: bytes = b"{}",
    *,
    limit: int = 1000,
    truncate: bool = False,
    timeout: float = 2.0,
) -> Answer:
    options = RequestOptions({"x-key": SECRET}, timeout, limit, truncate=truncate)
    return await send(session, "POST", f"{url}/{SECRET}", body, options)


async def failed_exchange(session: aiohttp.ClientSession, url: str, body: bytes = b"{}") -> TransportError:
    with pytest.raises(TransportError) as raised:
        await exchange(session, url, body)
    assert SECRET not in str(raised.value)
    assert "://" not in str(raised.value)
    return raised.value


def peer_answering(answer: bytes, *, then_stay: float = 0.0) -> Peer:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        await asyncio.sleep(then_stay)

    return peer


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (HEAD + b"X-Long: " + b"x" * 70_000 + b"\r\n\r\n", TransportReason.PROTOCOL_BROKEN),
        (HEAD + b"X: y\r\n" * 50_000, TransportReason.PROTOCOL_BROKEN),
        (HEAD + b"Content-Length: -1\r\n\r\n", TransportReason.PROTOCOL_BROKEN),
        (HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok", TransportReason.PROTOCOL_BROKEN),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n", TransportReason.PROTOCOL_BROKEN),
        (HEAD + b"no colon\r\n\r\n", TransportReason.PROTOCOL_BROKEN),
        (b"\x15\x03\x01\x00\x02\x02\x46", TransportReason.PROTOCOL_BROKEN),
        (b"HTTP/1.1", TransportReason.CONNECTION_LOST),
        (HEAD, TransportReason.CONNECTION_LOST),
    ],
)
async def test_send_reports_an_answer_that_is_no_http(
    session: aiohttp.ClientSession, listening: Callable[[Peer], Awaitable[str]], answer: bytes, reason: TransportReason
) -> None:
    assert (await failed_exchange(session, await listening(peer_answering(answer)))).reason is reason


def recording_peer(requests: list[bytes]) -> Peer:
    """Record what is sent, and answer 2xx."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    return peer


ROOMY = {
    "one field of nine thousand bytes": b"Content-Security-Policy: " + b"x" * 9_000 + b"\r\n",
    "one field of almost 64 KiB": b"X-Long: " + b"x" * 65_000 + b"\r\n",
    "two hundred cookies": b"Set-Cookie: track=me; Path=/\r\n" * 200,
    "nearly four hundred fields": b"X-Many: " + b"x" * 100 + b"\r\n" + b"X-Many: y\r\n" * 396,
}


@pytest.mark.parametrize("fields", ROOMY.values(), ids=ROOMY)
async def test_send_and_stream_accept_large_headers(
    session: aiohttp.ClientSession, listening: Callable[[Peer], Awaitable[str]], fields: bytes
) -> None:
    url = await listening(
        peer_answering(HEAD + fields + b"Connection: close\r\nContent-Length: 2\r\n\r\nok", then_stay=0.1)
    )
    assert (await exchange(session, url)).body == b"ok"
    assert await read_stream(session, url) == b"ok"


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINT = b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"
CHUNKED = HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        HINT * 20 + HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\nok",
        CHUNKED + b"0\r\n" + b"X-Many: y\r\n" * 390 + b"\r\n",
        CHUNKED + b"0\r\nX-Long: " + b"x" * 60_000 + b"\r\n\r\n",
    ],
    ids=["interim answers", "many trailers", "a long trailer"],
)
async def test_send_accepts_interim_answers_and_trailers(
    session: aiohttp.ClientSession, listening: Callable[[Peer], Awaitable[str]], answer: bytes
) -> None:
    assert (await exchange(session, await listening(peer_answering(answer, then_stay=0.1)))).body == b"ok"


@pytest.mark.parametrize(
    ("begin", "more", "message"),
    [
        (b"", CONTINUE, "more than 20 interim answers (1xx) came before an answer"),
        (b"", HINT.replace(b"<x>", b"x" * 60_000), "the answer's header is longer than 65,536 bytes"),
        (CHUNKED + b"0\r\n", b"X: " + b"x" * 60_000 + b"\r\n", "more than 65,536 bytes came without any"),
        (CHUNKED + b"1;x=", b"x" * 60_000, "more than 65,536 bytes came without any"),
    ],
    ids=["interim answers", "large interim answers", "trailers", "a chunk's extension"],
)
async def test_send_stops_at_endless_interim_answers_trailers_or_chunk_extensions(
    session: aiohttp.ClientSession,
    listening: Callable[[Peer], Awaitable[str]],
    begin: bytes,
    more: bytes,
    message: str,
) -> None:
    sent = 0

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(begin)
        piece = more * max(1, 100_000 // len(more))
        with suppress(ConnectionError):
            while sent < 50_000_000:
                writer.write(piece)
                sent += len(piece)
                await writer.drain()

    wrong = await failed_exchange(session, await listening(peer))
    assert wrong.reason is TransportReason.PROTOCOL_BROKEN
    assert wrong.message.startswith(message)
    assert sent < 20_000_000


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            HEAD + b"X-Long: " + b"x" * 70_000 + b"\r\n\r\n",
            "the answer's header is longer than 65,536 bytes, interim answers included",
        ),
        (
            b"HTTP/1.1 200 " + b"O" * 70_000 + b"\r\n\r\n",
            "the answer's header is longer than 65,536 bytes, interim answers included",
        ),
        (HEAD + b"X: y\r\n" * 500 + b"\r\n", "the answer's header has more than 400 fields"),
        (
            HEAD + b"Content-Length: -1\r\n\r\n",
            "not an HTTP answer: invalid character in Content-Length, in the field Content-Length",
        ),
        (
            HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
            "not an HTTP answer: duplicate Content-Length, in the field Content-Length",
        ),
        (
            HEAD + b"X Key: " + SECRET.encode() + b"\r\n\r\n",
            "not an HTTP answer: invalid header token, in the field X Key",
        ),
        (HEAD + b"no colon\r\n\r\n", "not an HTTP answer: invalid header token, in the line `no colon`"),
        (
            HEAD + b"X-Key: a\0" + SECRET.encode() + b"\r\n\r\n",
            "not an HTTP answer: a header field has a character that none may have",
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not an HTTP answer: it begins with `SSH-2.0-OpenSSH_9.2`"),
        (b"HTTP/3.9 200 OK\r\n\r\n", "not an HTTP answer: invalid HTTP version, in the line `HTTP/3.9 200 OK`"),
        (
            HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
            "the answer's body cannot be decoded: it is said to be gzip",
        ),
    ],
)
async def test_send_reports_the_error_in_a_malformed_answer(
    session: aiohttp.ClientSession, listening: Callable[[Peer], Awaitable[str]], answer: bytes, message: str
) -> None:
    error = await failed_exchange(session, await listening(peer_answering(answer, then_stay=0.1)))
    assert (error.reason, error.message) == (TransportReason.PROTOCOL_BROKEN, message)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://nothing.invalid", TransportReason.NAME_NOT_RESOLVED),
        ("http://xn--\u00fc\u00fc..example", TransportReason.PROTOCOL_BROKEN),
        ("http://[::1", TransportReason.PROTOCOL_BROKEN),
        ("http://127.0.0.1:99999", TransportReason.PROTOCOL_BROKEN),
        ("ftp://127.0.0.1", TransportReason.PROTOCOL_BROKEN),
        ("http://", TransportReason.PROTOCOL_BROKEN),
        ("", TransportReason.PROTOCOL_BROKEN),
    ],
)
async def test_send_reports_an_unusable_url(session: aiohttp.ClientSession, url: str, reason: TransportReason) -> None:
    assert (await failed_exchange(session, url)).reason is reason


async def test_send_reports_a_host_name_that_is_too_long(
    session: aiohttp.ClientSession,
) -> None:
    said = (await failed_exchange(session, "http://" + "x" * 300 + ".example")).reason
    assert said in (TransportReason.PROTOCOL_BROKEN, TransportReason.NAME_NOT_RESOLVED)


AS_WRITTEN = (
    "/a%2Fb?x=%2F%28%3A%7E&y=z",
    "//double/../up",
    "/a;b=c|d{e}'(f)*?sig=a+b%2Bc%20d/e?f",
    "/%7Euser/%e4%F6?",
    "/",
)


@pytest.mark.parametrize("path", AS_WRITTEN)
async def test_send_and_stream_keep_the_url_as_it_is_written(
    session: aiohttp.ClientSession, listening: Callable[[Peer], Awaitable[str]], path: str
) -> None:
    requests: list[bytes] = []
    url = await listening(recording_peer(requests))
    await send(session, "POST", url + path, b"{}", RequestOptions({}, 2.0, 10))
    async with stream(session, url + path, b"{}", RequestOptions({}, 2.0, 10)):
        pass
    # The library leaves out only a question mark that nothing follows.
    assert {request.split(b" ")[1].decode() for request in requests} == {path.removesuffix("?")}


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("", b"/"),
        ("?a=b#fragment", b"/?a=b"),
        ("/Zürich/Straße 5?q=ключ", b"/Z%C3%BCrich/Stra%C3%9Fe%205?q=%D0%BA%D0%BB%D1%8E%D1%87"),
    ],
)
async def test_send_encodes_characters_that_a_request_cannot_contain(
    session: aiohttp.ClientSession, listening: Callable[[Peer], Awaitable[str]], written: str, sent: bytes
) -> None:
    requests: list[bytes] = []
    url = await listening(recording_peer(requests))
    await send(session, "POST", url + written, b"{}", RequestOptions({}, 2.0, 10))
    assert requests[0].split(b" ")[1] == sent


@pytest.mark.parametrize(
    ("written", "pair"),
    [
        ("user:pass", "user:pass"),
        ("user", "user:"),
        ("üser:пароль", "üser:пароль"),
        ("%C3%BCser:%D0%BF%3A%40", "üser:п:@"),
    ],
)
async def test_send_encodes_user_and_password_in_utf_8(
    session: aiohttp.ClientSession, listening: Callable[[Peer], Awaitable[str]], written: str, pair: str
) -> None:
    requests: list[bytes] = []
    url = (await listening(recording_peer(requests))).replace("://", f"://{written}@")
    await send(session, "POST", f"{url}/x", b"{}", RequestOptions({}, 2.0, 10))
    (line,) = (line for line in requests[0].split(b"\r\n") if line.startswith(b"Authorization: "))
    assert base64.b64decode(line.removeprefix(b"Authorization: Basic ")).decode() == pair
    assert b"@" not in requests[0]


def test_request_url_encodes_the_host_name() -> None:
    assert str(request_url("https://Bücher.example:8443/x")[0]) == "https://xn--bcher-kva.example:8443/x"
    assert str(request_url("http://[::1]:8080/x")[0]) == "http://[::1]:8080/x"


async def test_send_rejects_a_header_value_with_a_line_break(
    session: aiohttp.ClientSession, serving: Callable[..., Awaitable[str]]
) -> None:
    async def handler(_: web.Request) -> web.Response:
        raise AssertionError

    with pytest.raises(TransportError) as raised:
        await send(session, "POST", await serving(handler), b"", RequestOptions({"x": "a\r\ny: b"}, 2.0, 10))
    assert raised.value.reason is TransportReason.PROTOCOL_BROKEN


async def test_send_reports_a_peer_that_does_not_speak_tls(
    session: aiohttp.ClientSession, listening: Callable[[Peer], Awaitable[str]]
) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    url = (await listening(plain)).replace("http:", "https:")
    error = await failed_exchange(session, url)
    assert error.reason is TransportReason.PROTOCOL_BROKEN
    assert error.message.startswith("the peer does not speak TLS at this port")


async def test_send_rejects_a_certificate_for_another_name(
    session: aiohttp.ClientSession, resources: AsyncExitStack, tmp_path: Path
) -> None:
    certificate, key = tmp_path / "other.pem", tmp_path / "other.key"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=other"
    names = ["-addext", "subjectAltName=DNS:other.example", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(peer_answering(HEAD), "127.0.0.1", 0, ssl=context)
    resources.callback(server.close)
    trusting = ssl.create_default_context(cafile=certificate)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(TransportError) as raised:
        await send(session, "POST", url, b"", RequestOptions({}, 2.0, 10, ssl_context=trusting))
    assert raised.value.reason is TransportReason.CERTIFICATE_REJECTED
    assert "IP address mismatch" in raised.value.message


async def test_send_to_a_peer_that_does_not_answer_ends_at_the_timeout(
    session: aiohttp.ClientSession,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(TransportError) as raised:
            await send(session, "POST", f"http://127.0.0.1:{silent.getsockname()[1]}", b"", RequestOptions({}, 0.3, 10))
    assert (raised.value.reason, raised.value.message) == (
        TransportReason.TIMEOUT,
        "no whole answer within 0.3 seconds",
    )
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(("timeout", "to_connect"), [(0.4, "0.3"), (1.2, "0.9")])
async def test_send_reports_connect_failed_if_the_tls_handshake_hangs(
    session: aiohttp.ClientSession, timeout: float, to_connect: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        with pytest.raises(TransportError) as raised:
            # The peer accepts the connection but never answers in TLS, so the request is not sent.
            await send(
                session, "POST", f"https://127.0.0.1:{silent.getsockname()[1]}", b"", RequestOptions({}, timeout, 10)
            )
    assert (raised.value.reason, raised.value.message) == (
        TransportReason.CONNECT_FAILED,
        f"no connection within {to_connect} seconds",
    )
    assert time.monotonic() - begun < timeout + 10


async def test_send_to_a_peer_that_does_not_read_ends_at_the_timeout(
    session: aiohttp.ClientSession, listening: Callable[[Peer], Awaitable[str]]
) -> None:
    async def silent(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2)

    with pytest.raises(TransportError) as raised:
        await send(session, "POST", await listening(silent), b"x" * 2**25, RequestOptions({}, 0.3, 10))
    assert raised.value.reason is TransportReason.TIMEOUT


@pytest.mark.parametrize("size", [0, 999, 1000, 1001, 200_000])
async def test_send_returns_truncates_or_rejects_a_body_by_its_length(
    session: aiohttp.ClientSession, serving: Callable[..., Awaitable[str]], size: int
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * size)

    url = await serving(handler)
    assert (await exchange(session, url, truncate=True)).body == b"x" * min(size, 1000)
    if size <= 1000:
        assert (await exchange(session, url)).body == b"x" * size
    else:
        assert (await failed_exchange(session, url)).reason is TransportReason.ANSWER_TOO_LARGE


@pytest.mark.parametrize("truncate", [False, True])
async def test_send_returns_a_body_that_ends_with_the_connection(
    session: aiohttp.ClientSession, listening: Callable[[Peer], Awaitable[str]], truncate: bool
) -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + b"\r\n")
        for piece in (b"ok", b" and", b" more"):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)

    answer = await exchange(session, await listening(peer), truncate=truncate)
    assert (answer.status, answer.body) == (200, b"ok and more")


@pytest.mark.parametrize("status", [200, 204, 301, 400, 500])
async def test_send_returns_an_answer_with_any_status(
    session: aiohttp.ClientSession, serving: Callable[..., Awaitable[str]], status: int
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    answer = await exchange(session, await serving(handler))
    assert (answer.status, answer.headers["location"]) == (status, "/elsewhere")


async def test_send_transmits_a_large_body_completely(
    session: aiohttp.ClientSession, serving: Callable[..., Awaitable[str]]
) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    url = await serving(handler)
    for size in (2**20, 2**20 + 1, 5 * 2**20):
        assert (await exchange(session, url, b"x" * size)).body == str(size).encode()


async def test_session_keeps_no_cookies(session: aiohttp.ClientSession, serving: Callable[..., Awaitable[str]]) -> None:
    sent: list[str | None] = []

    async def handler(request: web.Request) -> web.Response:
        sent.append(request.headers.get("Cookie"))
        return web.Response(headers={"Set-Cookie": "track=me"})

    # aiohttp never keeps the cookies of a numeric address.
    url = (await serving(handler)).replace("127.0.0.1", "localhost")
    for _ in range(2):
        await exchange(session, url)
    assert sent == [None, None]


async def test_send_on_a_connection_that_the_peer_closes_is_not_repeated(
    session: aiohttp.ClientSession, listening: Callable[[Peer], Awaitable[str]]
) -> None:
    requests: list[bytes] = []

    async def once_and_then_never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            requests.append(await reader.readuntil(b"{}"))
            if len(requests) % 2 == 0:
                return
            writer.write(HEAD + b"Content-Length: 0\r\n\r\n")
            await writer.drain()

    url = await listening(once_and_then_never)
    assert (await exchange(session, url)).status == 200
    assert (await failed_exchange(session, url)).reason is TransportReason.CONNECTION_LOST
    assert len(requests) == 2
    assert (await exchange(session, url)).status == 200


async def test_send_runs_150_requests_concurrently(
    session: aiohttp.ClientSession, serving: Callable[..., Awaitable[str]]
) -> None:
    arrived = 0
    together = asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        nonlocal arrived
        arrived += 1
        if arrived == 150:
            together.set()
        await together.wait()
        return web.Response()

    url = await serving(handler)
    answers = await asyncio.gather(*(exchange(session, url, timeout=30.0) for _ in range(150)))
    assert {answer.status for answer in answers} == {200}


async def test_send_raises_cancelled_error_when_it_is_cancelled(
    session: aiohttp.ClientSession, listening: Callable[[Peer], Awaitable[str]]
) -> None:
    task = asyncio.create_task(exchange(session, await listening(peer_answering(b"", then_stay=1))))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def read_stream(
    session: aiohttp.ClientSession, url: str, *, timeout: float = 2.0, limit: int = 10**6, pause: float = 0.0
) -> bytes:
    body = b""
    async with stream(session, f"{url}/{SECRET}", b"{}", RequestOptions({}, timeout, limit)) as answer:
        while piece := await answer.read():
            assert len(piece) <= 2**14
            body += piece
            await asyncio.sleep(pause)
    return body


async def test_stream_returns_pieces_before_the_body_is_complete(
    session: aiohttp.ClientSession, listening: Callable[[Peer], Awaitable[str]]
) -> None:
    may_continue = asyncio.Event()

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + b"X-Kind: list\r\nContent-Length: 6\r\n\r\none")
        await may_continue.wait()
        writer.write(b"two")
        await writer.drain()

    url = await listening(peer)
    async with stream(session, url, b"{}", RequestOptions({}, 2.0, 6)) as answer:
        assert (answer.head.status, answer.head.headers["x-kind"], answer.head.body) == (200, "list", b"")
        assert await answer.read() == b"one"
        may_continue.set()
        assert [await answer.read() for _ in range(2)] == [b"two", b""]


@pytest.mark.parametrize("size", [0, 1000, 200_000])
async def test_stream_limit_counts_decompressed_bytes(
    session: aiohttp.ClientSession, serving: Callable[..., Awaitable[str]], size: int
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(b"x" * size), headers={"Content-Encoding": "gzip"})

    url = await serving(handler)
    assert await read_stream(session, url, limit=size) == b"x" * size
    if size:
        with pytest.raises(TransportError) as raised:
            await read_stream(session, url, limit=size - 1)
        assert raised.value.reason is TransportReason.ANSWER_TOO_LARGE


async def test_stream_returns_a_redirect_as_an_answer(
    session: aiohttp.ClientSession, serving: Callable[..., Awaitable[str]]
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with stream(session, await serving(handler), b"", RequestOptions({}, 2.0, 10)) as answer:
        assert (answer.head.status, answer.head.headers["location"]) == (307, "/elsewhere")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1", TransportReason.CONNECTION_LOST),
        (HEAD + b"Content-Length: 9\r\n\r\nhalf", TransportReason.CONNECTION_LOST),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz", TransportReason.PROTOCOL_BROKEN),
    ],
)
async def test_stream_reports_an_answer_that_breaks_off_or_is_malformed(
    session: aiohttp.ClientSession, listening: Callable[[Peer], Awaitable[str]], answer: bytes, reason: TransportReason
) -> None:
    url = await listening(peer_answering(answer))
    with pytest.raises(TransportError) as raised:
        await read_stream(session, url)
    assert raised.value.reason is reason
    assert SECRET not in str(raised.value)


async def test_stream_timeout_covers_the_whole_body(
    session: aiohttp.ClientSession, serving: Callable[..., Awaitable[str]]
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(2**16))

    url = await serving(handler)
    began = time.monotonic()
    with pytest.raises(TransportError) as raised:
        await read_stream(session, url, timeout=0.3, limit=10**12, pause=0.01)
    assert raised.value.reason is TransportReason.TIMEOUT
    assert time.monotonic() - began < 10


async def test_stream_keeps_the_connection_only_after_a_complete_body(
    session: aiohttp.ClientSession, serving: Callable[..., Awaitable[str]]
) -> None:
    connections: list[object] = []

    async def handler(request: web.Request) -> web.Response:
        if request.transport not in connections:
            connections.append(request.transport)
        return web.Response(body=bytes(10**6))

    async def give_up() -> None:
        async with stream(session, url, b"", RequestOptions({}, 2.0, 10**6)) as answer:
            await answer.read()
            raise ValueError("the reader's own")

    url = await serving(handler)
    for _ in range(2):
        await read_stream(session, url)
    assert len(connections) == 1
    with pytest.raises(ValueError, match="the reader's own"):
        await give_up()
    assert session.connector is not None
    assert not session.connector._acquired
    await read_stream(session, url)
    assert len(connections) == 2
