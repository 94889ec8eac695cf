"""Addresses and authorities that change are used without a restart of the daemon."""

import asyncio
import socket
import ssl
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler

from notifier.http.exchange import RequestOptions, new_session, send
from notifier.http.transport_errors import TransportError, TransportReason
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("way_to_post")
OLD, NEW = "127.0.0.1", "127.0.0.2"


class ChangingResolver(AbstractResolver):
    """A resolver that returns `address` for every name."""

    def __init__(self) -> None:
        self.address = OLD
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        return [ResolveResult(hostname=host, host=self.address, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        pass


class TwoAddresses:
    """A server that listens at both addresses, and counts the requests to each and the connections."""

    def __init__(self) -> None:
        self.port = 0
        self.request_counts: Counter[str] = Counter()
        self.connections: set[tuple[str, int]] = set()

    async def open(self, resources: AsyncExitStack) -> None:
        app = web.Application()
        app.router.add_post("/", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        resources.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, OLD, 0).start()
        self.port = runner.addresses[0][1]
        await web.TCPSite(runner, NEW, self.port).start()

    async def _answer(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        self.request_counts[request.transport.get_extra_info("sockname")[0]] += 1
        self.connections.add(request.transport.get_extra_info("peername"))
        return web.Response(body=await request.read())


@pytest.fixture
async def server() -> AsyncIterator[TwoAddresses]:
    async with AsyncExitStack() as resources:
        this = TwoAddresses()
        await this.open(resources)
        yield this


async def send_requests(resolver: ChangingResolver, server: TwoAddresses, asked: asyncio.Event) -> None:
    async with new_session(resolver) as session:
        while True:
            answer = await send(session, "POST", f"http://peer.test:{server.port}/", b"x", RequestOptions({}, 5.0, 10))
            assert answer.body == b"x"
            asked.set()
            await asyncio.sleep(0.005)


async def test_busy_session_moves_to_a_new_address_of_the_host(
    server: TwoAddresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.http.connector.CONNECTION_LIFE_SECONDS", 0.3)
    monkeypatch.setattr("notifier.http.connector.NAME_CACHE_SECONDS", 0)
    resolver, asked = ChangingResolver(), asyncio.Event()
    asking = asyncio.create_task(send_requests(resolver, server, asked))
    await asked.wait()
    resolver.address = NEW
    await until(lambda: server.request_counts[NEW] >= 5)
    old = server.request_counts[OLD]
    await asyncio.sleep(0.1)
    assert server.request_counts[OLD] == old
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()


async def test_session_reuses_a_young_connection_and_a_resolved_name(server: TwoAddresses) -> None:
    resolver, asked = ChangingResolver(), asyncio.Event()
    asking = asyncio.create_task(send_requests(resolver, server, asked))
    await until(lambda: server.request_counts[OLD] >= 20)
    asking.cancel()
    await asyncio.wait([asking])
    assert (len(server.connections), resolver.asked) == (1, 1)


async def test_connection_parses_a_short_answer_only_once(
    server: TwoAddresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[bytes] = []
    parse = ResponseHandler.data_received

    def note(connection: ResponseHandler, data: bytes) -> None:
        parsed.append(data)
        parse(connection, data)

    monkeypatch.setattr(ResponseHandler, "data_received", note)
    async with new_session() as session:
        answer = await send(session, "POST", f"http://{OLD}:{server.port}/", b"x", RequestOptions({}, 5.0, 10))
    assert (answer.body, len(parsed)) == (b"x", 1)


async def test_send_does_not_take_an_unrequested_answer_for_the_next_request() -> None:
    """A peer or a proxy in between sends two answers to one request, the second one a moment later."""
    may_send_second = asyncio.Event()
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"x")
        if connections == 1:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await may_send_second.wait()
            writer.write(b"HTTP/1.1 200 Unasked\r\nContent-Length: 0\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, new_session() as session:
        assert (await send(session, "POST", url, b"x", RequestOptions({}, 5.0, 10))).status == 200
        assert session.connector is not None
        ((idle, _),) = next(iter(session.connector._conns.values()))
        may_send_second.set()
        await until(lambda: bool(idle._buffer))
        assert (await send(session, "POST", url, b"x", RequestOptions({}, 5.0, 10))).status == 503
    assert connections == 2


async def test_session_trusts_a_new_system_authority_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, certificate, key = (tmp_path / name for name in ("bundle.pem", "own.pem", "own.key"))
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=own"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    bundle.touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setattr("notifier.http.connector.CHECK_AUTHORITIES_SECONDS", 0.0)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"x")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, new_session() as session:
        with pytest.raises(TransportError) as refused:
            await send(session, "POST", url, b"x", RequestOptions({}, 5.0, 10))
        assert refused.value.reason is TransportReason.CERTIFICATE_REJECTED
        bundle.write_bytes(certificate.read_bytes())
        assert (await send(session, "POST", url, b"x", RequestOptions({}, 5.0, 10))).status == 200
