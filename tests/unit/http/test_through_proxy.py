"""Exchanges through a real proxy: one that works, one that refuses, and one that hangs."""

import ssl

import aiohttp
import pytest

from notifier.http.exchange import Answer, RequestOptions, send, stream
from notifier.http.proxy import Proxy
from notifier.http.transport_errors import TransportError, TransportReason
from tests.support.destinations import CertificateFiles, Receiver
from tests.support.proxies import AUTHORIZATION, CREDENTIALS, PASSWORD, ForwardProxy, proxying

pytestmark = pytest.mark.usefixtures("way_to_post")

HEADERS = {"user-agent": "completion-notifier/test", "x-own": "for the peer only"}
TIMEOUT_SECONDS = 5.0


@pytest.fixture
def trusting(certificates: CertificateFiles) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificates.certificate)


async def send_through(
    session: aiohttp.ClientSession,
    url: str,
    proxy: str,
    context: ssl.SSLContext | bool = True,
    timeout: float = TIMEOUT_SECONDS,
) -> Answer:
    through = Proxy(proxy, "HTTPS_PROXY")
    return await send(
        session, "POST", url, b"{}", RequestOptions(HEADERS, timeout, 100, ssl_context=context, proxy=through)
    )


async def test_https_request_uses_one_tunnel_and_hides_its_headers_from_the_proxy(
    session: aiohttp.ClientSession, forward_proxy: ForwardProxy, tls_receiver: Receiver, trusting: ssl.SSLContext
) -> None:
    forward_proxy.wants = AUTHORIZATION
    for _ in range(3):
        answer = await send_through(session, f"{tls_receiver.url}/in", forward_proxy.url_with_credentials, trusting)
        assert (answer.status, answer.body) == (200, b"ok")
    assert [request.path for request in tls_receiver.received] == ["/in"] * 3
    assert {request.headers.get("Proxy-Authorization") for request in tls_receiver.received} == {None}
    assert tls_receiver.received[0].headers["x-own"] == HEADERS["x-own"]
    (head,) = forward_proxy.heads
    assert head.startswith(f"CONNECT {tls_receiver.url.removeprefix('https://')} HTTP/1.1\r\n")
    assert f"user-agent: {HEADERS['user-agent']}\r\n".lower() in head.lower()
    assert "x-own" not in head


async def test_http_request_is_sent_to_the_proxy_with_the_whole_url(
    session: aiohttp.ClientSession, forward_proxy: ForwardProxy, receiver: Receiver
) -> None:
    forward_proxy.wants = AUTHORIZATION
    forward_proxy.hosts["receiver.example"] = ("127.0.0.1", int(receiver.url.rpartition(":")[2]))
    answer = await send_through(session, "http://receiver.example/in?a=%2f", forward_proxy.url_with_credentials)
    assert answer.status == 200
    assert [request.path for request in receiver.received] == ["/in?a=%2f"]
    assert "Proxy-Authorization" not in receiver.received[0].headers
    assert forward_proxy.heads[0].startswith("POST http://receiver.example/in?a=%2f HTTP/1.1\r\n")


async def test_connections_of_different_proxies_are_not_shared(
    session: aiohttp.ClientSession, forward_proxy: ForwardProxy, tls_receiver: Receiver, trusting: ssl.SSLContext
) -> None:
    async with proxying() as other:
        for proxy in (forward_proxy.url, other.url, forward_proxy.url_with_credentials):
            await send_through(session, tls_receiver.url, proxy, trusting)
        assert (len(forward_proxy.heads), len(other.heads)) == (2, 1)


async def test_https_proxy_is_used_and_its_untrusted_certificate_is_rejected(
    session: aiohttp.ClientSession, certificates: CertificateFiles, tls_receiver: Receiver, trusting: ssl.SSLContext
) -> None:
    async with proxying(certificates.server_context) as proxy:
        assert (await send_through(session, tls_receiver.url, proxy.url, trusting)).status == 200
        with pytest.raises(TransportError, match=r"TLS with the proxy https://127.0.0.1:") as raised:
            await send_through(session, tls_receiver.url, proxy.url)
    assert raised.value.reason is TransportReason.CERTIFICATE_REJECTED


async def test_stream_uses_the_proxy(
    session: aiohttp.ClientSession, forward_proxy: ForwardProxy, tls_receiver: Receiver, trusting: ssl.SSLContext
) -> None:
    proxy = Proxy(forward_proxy.url, "proxy")
    async with stream(
        session, tls_receiver.url, b"", RequestOptions(HEADERS, 5.0, 100, ssl_context=trusting, proxy=proxy)
    ) as answer:
        assert await answer.read() == b"ok"
    assert len(forward_proxy.heads) == 1


REFUSALS = [
    (b"407 Who", TransportReason.PROXY_REFUSED, "refused: 407 Proxy Authentication Required; check the user name and"),
    (b"403 No", TransportReason.PROXY_REFUSED, "refused: 403 Forbidden; it must allow this address, or `HTTPS_PROXY`"),
    (b"405 No", TransportReason.PROXY_REFUSED, "refused: 405 Method Not Allowed; it must allow"),
    (b"499 Odd", TransportReason.PROXY_REFUSED, "refused: 499; it must allow"),
    (b"302 Over there", TransportReason.PROXY_REFUSED, "refused: 302 Found"),
    (b"502 Down", TransportReason.CONNECT_FAILED, "did not connect: 502 Bad Gateway"),
    (b"503 Busy", TransportReason.CONNECT_FAILED, "did not connect: 503 Service Unavailable"),
]


@pytest.mark.parametrize(("line", "reason", "message"), REFUSALS)
async def test_proxy_refusal_is_reported_without_the_words_of_the_proxy(
    session: aiohttp.ClientSession, forward_proxy: ForwardProxy, line: bytes, reason: TransportReason, message: str
) -> None:
    forward_proxy.refuses = b"HTTP/1.1 " + line + b" of " + PASSWORD.encode() + b"\r\nContent-Length: 4\r\n\r\nnope"
    with pytest.raises(TransportError) as raised:
        await send_through(session, "https://api.example.com", forward_proxy.url_with_credentials)
    assert raised.value.reason is reason
    assert raised.value.message.startswith(f"the proxy {forward_proxy.address} {message}")
    assert PASSWORD not in raised.value.message


async def test_http_request_without_proxy_credentials_is_proxy_refused(
    session: aiohttp.ClientSession, forward_proxy: ForwardProxy
) -> None:
    forward_proxy.wants = AUTHORIZATION
    with pytest.raises(TransportError) as raised:
        await send_through(session, "http://receiver.example", forward_proxy.url)
    assert raised.value.reason is TransportReason.PROXY_REFUSED


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", TransportReason.CONNECTION_LOST),
        (b"SSH-2.0-OpenSSH\r\n", TransportReason.PROTOCOL_BROKEN),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, TransportReason.PROTOCOL_BROKEN),
    ],
)
async def test_peer_that_is_no_proxy_is_connection_lost_or_protocol_broken(
    session: aiohttp.ClientSession, forward_proxy: ForwardProxy, answer: bytes, reason: TransportReason
) -> None:
    forward_proxy.refuses = answer
    with pytest.raises(TransportError) as raised:
        await send_through(session, "https://api.example.com", forward_proxy.url)
    assert raised.value.reason is reason


async def test_hanging_proxy_is_connect_failed_after_the_time_to_connect(
    session: aiohttp.ClientSession, forward_proxy: ForwardProxy
) -> None:
    forward_proxy.hangs = True
    with pytest.raises(TransportError) as raised:
        await send_through(session, "https://api.example.com", forward_proxy.url, timeout=0.4)
    assert raised.value.reason is TransportReason.CONNECT_FAILED
    assert raised.value.message == f"no connection through the proxy {forward_proxy.address} within 0.3 seconds"


@pytest.mark.parametrize(
    ("proxy", "reason", "message"),
    [
        ("http://127.0.0.1:1", TransportReason.CONNECT_FAILED, "no connection to the proxy 127.0.0.1:1: Connection"),
        ("http://proxy.invalid:1", TransportReason.NAME_NOT_RESOLVED, "the name proxy.invalid of the proxy could not"),
    ],
)
async def test_unreachable_proxy_is_reported_without_the_password(
    session: aiohttp.ClientSession, proxy: str, reason: TransportReason, message: str
) -> None:
    with pytest.raises(TransportError) as raised:
        await send_through(session, "https://api.example.com", proxy.replace("://", f"://{CREDENTIALS}@"))
    assert raised.value.reason is reason
    assert raised.value.message.startswith(message)
    assert PASSWORD not in raised.value.message


async def test_untrusted_certificate_of_a_peer_behind_the_proxy_is_rejected(
    session: aiohttp.ClientSession, forward_proxy: ForwardProxy, tls_receiver: Receiver
) -> None:
    with pytest.raises(TransportError, match=r"^TLS failed: self-signed") as raised:
        await send_through(session, tls_receiver.url, forward_proxy.url)
    assert raised.value.reason is TransportReason.CERTIFICATE_REJECTED
