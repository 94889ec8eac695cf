"""What every destination type must do, whatever it speaks: one more type is one more entry in KINDS."""

import asyncio
import gzip
import tracemalloc
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from notifier.config.destinations import HttpSettings, SlackSettings
from notifier.deliver.destination import Destination
from notifier.deliver.outcome import Outcome, Reason
from notifier.deliver.registry import build
from notifier.ledger.outbox import Delivery

if TYPE_CHECKING:
    from tests.conftest import FakeClock
    from tests.deliver.conftest import MakeEvent, Receiver

PATH = "/services/T0PATHPART/B0PATHPART/lastsegmentIsTheSecret"
SECRETS = ("lastsegmentIsTheSecret", "c2VjcmV0IG9mIGEgcmVjZWl2ZXIgMTIzNDU=", "static-header-value")
IMPATIENT = "200ms"
"""What an attempt may take where a test waits for its end."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A destination type: how it is configured, how its peers say yes, and which statuses mean something else."""

    settings: type[HttpSettings | SlackSettings]
    keys: Mapping[str, Any]
    yes: tuple[int, bytes] = (200, b"")
    reasons: Mapping[int, Reason] = field(default_factory=dict)


HTTP = {"type": "http", "secret": f"whsec_{SECRETS[1]}", "headers": {"Authorization": f"Bearer {SECRETS[2]}"}}
KINDS = {
    "http cloudevents": Kind(HttpSettings, HTTP),
    "http standard": Kind(HttpSettings, HTTP | {"format": "standard"}),
    "http batches": Kind(HttpSettings, HTTP | {"batch_size": 100}),
    "slack": Kind(
        SlackSettings,
        {"type": "slack"},
        yes=(200, b"ok"),
        reasons=dict.fromkeys((200, 201, 204), Reason.ANSWER_UNEXPECTED),
    ),
}
STATUSES = {
    **dict.fromkeys((200, 201, 204), Reason.DELIVERED),
    **dict.fromkeys((300, 301, 302, 303, 304, 307, 308), Reason.REDIRECTED),
    **dict.fromkeys((400, 401, 403, 404, 413, 422), Reason.REFUSED),
    408: Reason.REQUEST_TIMEOUT,
    410: Reason.GONE,
    425: Reason.TOO_EARLY,
    429: Reason.THROTTLED,
    **dict.fromkeys((500, 502, 503, 504, 599), Reason.SERVER_ERROR),
}

Make = Callable[..., Destination]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def make(kind: Kind, session: aiohttp.ClientSession, clock: "FakeClock") -> Make:
    """Make a destination of this kind at a base URL."""

    def made(base: str, timeout: str = "20s") -> Destination:
        settings = kind.settings.model_validate({**kind.keys, "url": base + PATH, "timeout": timeout})
        return build("there", settings, session, clock)

    return made


@pytest.fixture
def sent(make_event: "MakeEvent", deliveries: Callable[..., list[Delivery]]) -> list[Delivery]:
    return deliveries(make_event())


async def test_a_yes_is_a_delivery(kind: Kind, make: Make, receiver: "Receiver", sent: list[Delivery]) -> None:
    receiver.answers(*kind.yes)
    outcome = await make(receiver.url).send(sent)
    assert (outcome.reason, outcome.status) == (Reason.DELIVERED, 200)
    (received,) = receiver.received
    assert received.path == PATH
    assert received.headers["user-agent"].startswith("completion-notifier/")
    assert b"David Ball" in received.body


@pytest.mark.parametrize("status", STATUSES)
async def test_each_status_has_its_reason(
    kind: Kind, make: Make, receiver: "Receiver", sent: list[Delivery], status: int
) -> None:
    receiver.answers(status, b"" if status in {204, 304} else b"no comment")
    outcome = await make(receiver.url).send(sent)
    assert (outcome.reason, outcome.status) == (kind.reasons.get(status, STATUSES[status]), status)
    assert outcome.detail == ("" if status in {204, 304} else "no comment")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed(
    make: Make, receiver: "Receiver", sent: list[Delivery], status: int
) -> None:
    receiver.answers(status, Location=f"{receiver.url}/elsewhere")
    outcome = await make(receiver.url).send(sent)
    assert outcome.reason is Reason.REDIRECTED
    assert outcome.detail.startswith("Location: http://127.0.0.1")
    assert [received.path for received in receiver.received] == [PATH]


async def test_a_peer_that_hangs_before_it_answers_times_out(
    make: Make, receiver: "Receiver", sent: list[Delivery]
) -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    receiver.script = hang
    assert await make(receiver.url, IMPATIENT).send(sent) == Outcome(
        Reason.TIMEOUT, detail="no whole answer within 0.2 seconds"
    )


async def test_a_peer_that_hangs_in_the_middle_of_its_answer_times_out(
    make: Make, receiver: "Receiver", sent: list[Delivery]
) -> None:
    async def begin(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"o")
        await asyncio.Event().wait()
        raise AssertionError

    receiver.script = begin
    assert (await make(receiver.url, IMPATIENT).send(sent)).reason is Reason.TIMEOUT


async def test_a_peer_that_resets_the_connection_loses_it(
    make: Make, receiver: "Receiver", sent: list[Delivery]
) -> None:
    async def reset(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    receiver.script = reset
    outcome = await make(receiver.url).send(sent)
    assert (outcome.reason, outcome.status) == (Reason.CONNECTION_LOST, None)


@pytest.mark.parametrize("reason", [Reason.SERVER_ERROR, Reason.REFUSED])
async def test_an_endless_answer_is_read_no_further_than_it_matters(
    make: Make, receiver: "Receiver", sent: list[Delivery], reason: Reason
) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=500 if reason is Reason.SERVER_ERROR else 400)
        await response.prepare(request)
        while True:
            await response.write(b"more and " * 1000)

    receiver.script = endless
    outcome = await make(receiver.url).send(sent)
    assert outcome.reason is reason
    assert len(outcome.detail) == 300


async def test_a_compressed_bomb_does_not_go_off(make: Make, receiver: "Receiver", sent: list[Delivery]) -> None:
    receiver.answers(500, gzip.compress(b"x" * 2**26, 1), Content_Encoding="gzip")
    tracemalloc.start()
    outcome = await make(receiver.url).send(sent)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert outcome.reason is Reason.SERVER_ERROR
    assert peak < 2**23


@asynccontextmanager
async def saying(answer: bytes) -> AsyncIterator[str]:
    """Serve fixed bytes that no HTTP server would write; yield the base URL."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"220 mail.example.com ESMTP\r\n", Reason.PROTOCOL_BROKEN),
        (b"HTTP/1.1 999999 What\r\n\r\n", Reason.PROTOCOL_BROKEN),
        (b"HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\ncut", Reason.CONNECTION_LOST),
        (b"HTTP/1.1 500 No\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nnot", Reason.CONNECTION_LOST),
        (b"HTTP/1.1 199 Perhaps\r\n\r\n", Reason.CONNECTION_LOST),
        (b"HTTP/1.1 700 Beyond\r\ncontent-length: 0\r\n\r\n", Reason.ANSWER_UNEXPECTED),
        (b"", Reason.CONNECTION_LOST),
    ],
)
async def test_what_is_no_answer_is_named(make: Make, sent: list[Delivery], answer: bytes, reason: Reason) -> None:
    async with saying(answer) as url:
        assert (await make(url).send(sent)).reason is reason


async def test_a_refused_connection_is_named(make: Make, sent: list[Delivery]) -> None:
    async with saying(b"") as url:
        pass
    assert await make(url).send(sent) == Outcome(Reason.CONNECT_FAILED, detail="no connection: Connection refused")


async def test_a_name_that_leads_nowhere_is_named(make: Make, sent: list[Delivery]) -> None:
    outcome = await make("https://nowhere.invalid").send(sent)
    assert outcome == Outcome(Reason.NAME_NOT_RESOLVED, detail="the name nowhere.invalid could not be resolved")


async def test_a_certificate_that_nobody_vouches_for_is_rejected(
    make: Make, tls_receiver: "Receiver", sent: list[Delivery]
) -> None:
    outcome = await make(tls_receiver.url).send(sent)
    assert outcome == Outcome(Reason.CERTIFICATE_REJECTED, detail="TLS failed: self-signed certificate")
    assert tls_receiver.received == []


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("120", 120.0),
        ("Sat, 21 Nov 2026 17:02:00 GMT", 119.877),
        ("Sat, 21 Nov 2026 16:00:00 GMT", 0.0),
        ("999999999999", 86_400.0),
        ("soon", None),
    ],
)
async def test_a_wished_wait_is_handed_on(
    make: Make, receiver: "Receiver", sent: list[Delivery], value: str, wait: float | None
) -> None:
    for status in (429, 503):
        receiver.answers(status, Retry_After=value)
        assert (await make(receiver.url).send(sent)).retry_after == wait


@pytest.mark.parametrize("status", [200, 302, 400, 500])
async def test_a_peer_that_repeats_all_it_knows_reveals_nothing(
    kind: Kind, make: Make, receiver: "Receiver", sent: list[Delivery], status: int
) -> None:
    known = [secret for secret in SECRETS if secret in f"{PATH} {kind.keys}"]

    async def echo(request: web.Request) -> web.StreamResponse:
        words = [request.path, str(request.url), *known, *request.headers.values()]
        return web.Response(status=status, text=" and ".join(words), headers={"Location": PATH})

    receiver.script = echo
    outcome = await make(receiver.url).send(sent)
    assert outcome.detail or status == 200
    assert not any(secret in outcome.detail for secret in (PATH, *known))


async def test_a_destination_goes_on_after_every_kind_of_failure(
    kind: Kind, make: Make, receiver: "Receiver", sent: list[Delivery]
) -> None:
    destination = make(receiver.url)
    for status in (500, 302, 429):
        receiver.answers(status)
        await destination.send(sent)
    receiver.answers(*kind.yes)
    assert (await destination.send(sent)).reason is Reason.DELIVERED
