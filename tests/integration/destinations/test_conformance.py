"""The conformance suite for destination types, whatever their protocols. A new type needs a new entry in KINDS.

A library that sends for a destination may hide details of answers (`Kind.hidden`): see HIDDEN.
"""

import asyncio
import gzip
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from notifier.config.destinations import DestinationSettings
from notifier.config.message_destinations import AppriseSettings, SlackSettings, TeamsSettings
from notifier.config.webhooks import HttpSettings
from notifier.destinations.base import Destination
from notifier.destinations.outcome import AttemptResult, Outcome
from notifier.destinations.registry import build
from notifier.store.tables.outbox import Delivery

if TYPE_CHECKING:
    from tests.support.clocks import FakeClock
    from tests.support.destinations import MakeEvent, Receiver

PATH = "/services/T0PATHPART/B0PATHPART/lastsegmentIsTheSecret"
SECRETS = ("lastsegmentIsTheSecret", "c2VjcmV0IG9mIGEgcmVjZWl2ZXIgMTIzNDU=", "static-header-value")
HIDDEN = {
    "reason": "every failure is `service_failed`, except a time-out, which the program itself measures",
    "status": "None, for success too",
    "Retry-After": "never known; the policy's own backoff holds",
    "detail": "the library's words, not the peer's",
    "statuses": "the library distinguishes only success and failure, so a few of each class are tried",
}
"""The exceptions for destinations for which a library sends. All other rules hold for them, too."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A destination type: its configuration, its receivers' answer to a success, and its special statuses.

    With `needs_body`, a success is recognised by its body. `schemes` stand for http and https in the type's URLs.
    With `hidden`, the exceptions in HIDDEN apply. `impatient` is the time limit of attempts that must time out.
    """

    settings: type[DestinationSettings]
    keys: Mapping[str, Any]
    yes: tuple[int, bytes] = (200, b"")
    reasons: Mapping[int, AttemptResult] = field(default_factory=dict)
    needs_body: bool = False
    schemes: tuple[str, str] = ("http", "https")
    hidden: bool = False
    impatient: float = 0.2

    def url(self, base: str) -> str:
        scheme, _, rest = base.partition("://")
        return f"{self.schemes[scheme == 'https']}://{rest}{PATH}"

    def sees(self, outcome: Outcome) -> Outcome:
        """Return the expected form of an outcome for this kind, without the parts that a library hides."""
        open_to_all = outcome.reason in {AttemptResult.DELIVERED, AttemptResult.TIMEOUT}
        reason = outcome.reason if open_to_all or not self.hidden else AttemptResult.SERVICE_FAILED
        return Outcome(reason, None if self.hidden else outcome.status)


HTTP = {"type": "http", "secret": f"whsec_{SECRETS[1]}", "headers": {"Authorization": f"Bearer {SECRETS[2]}"}}
KINDS = {
    "http cloudevents": Kind(HttpSettings, HTTP),
    "http standard": Kind(HttpSettings, HTTP | {"format": "standard"}),
    "http batches": Kind(HttpSettings, HTTP | {"batch_size": 100}),
    "slack": Kind(
        SlackSettings,
        {"type": "slack"},
        yes=(200, b"ok"),
        reasons=dict.fromkeys((200, 201, 204), AttemptResult.ANSWER_UNEXPECTED),
        needs_body=True,
    ),
    "teams": Kind(TeamsSettings, {"type": "teams"}, yes=(202, b"")),
    "apprise": Kind(AppriseSettings, {"type": "apprise"}, schemes=("json", "jsons"), hidden=True, impatient=1.5),
}
POSTED = {
    f"{name}{way}": (kind, way)
    for name, kind in KINDS.items()
    for way in ([""] if kind.hidden else [" by inner parts of aiohttp", " by its client"])
}
"""Each kind with each of its ways of posting: inner parts of aiohttp, aiohttp's client, or a library."""
STATUSES = {
    **dict.fromkeys((200, 201, 204), AttemptResult.DELIVERED),
    **dict.fromkeys((300, 301, 302, 303, 304, 307, 308), AttemptResult.REDIRECTED),
    **dict.fromkeys((400, 401, 403, 404, 406, 413, 415, 418, 422, 423, 451, 499), AttemptResult.REFUSED),
    408: AttemptResult.REQUEST_TIMEOUT,
    410: AttemptResult.GONE,
    425: AttemptResult.TOO_EARLY,
    429: AttemptResult.THROTTLED,
    **dict.fromkeys((500, 502, 503, 504, 599), AttemptResult.SERVER_ERROR),
}


def cases(every: Iterable[Any], *, hidden: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Combine the kinds with `every` case; kinds with a library are combined with fewer cases."""
    return [(name, case) for name, (kind, _) in POSTED.items() for case in (hidden if kind.hidden else every)]


NO_ANSWERS = [
    (b"220 mail.example.com ESMTP\r\n", AttemptResult.PROTOCOL_BROKEN),
    (b"HTTP/1.1 999999 What\r\n\r\n", AttemptResult.PROTOCOL_BROKEN),
    (b"HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\ncut", AttemptResult.CONNECTION_LOST),
    (b"HTTP/1.1 500 No\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nnot", AttemptResult.PROTOCOL_BROKEN),
    (b"HTTP/1.1 199 Perhaps\r\n\r\n", AttemptResult.CONNECTION_LOST),
    (b"HTTP/1.1 700 Beyond\r\ncontent-length: 0\r\n\r\n", AttemptResult.ANSWER_UNEXPECTED),
    (b"", AttemptResult.CONNECTION_LOST),
]
WAITS = [
    ("120", 120.0),
    ("Sat, 21 Nov 2026 17:02:00 GMT", 120.0),
    ("Sat, 21 Nov 2026 16:00:00 GMT", 0.0),
    ("999999999999", 86_400.0),
    ("soon", None),
]

Make = Callable[..., Destination]


@pytest.fixture(params=POSTED)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kind:
    kind, way = POSTED[request.param]
    monkeypatch.setattr("notifier.http.poster.internals_match", lambda: "inner" in way)
    return kind


@pytest.fixture
def make(kind: Kind, session: aiohttp.ClientSession, clock: "FakeClock") -> Make:
    """Return a function that creates a destination of this kind for a base URL."""

    def made(base: str, timeout: float = 20.0) -> Destination:
        keys = {**kind.keys, "url": kind.url(base), "timeout": f"{timeout * 1000:.0f}ms"}
        settings: Any = kind.settings.model_validate(keys)
        return build("there", settings, session, clock)

    return made


@pytest.fixture
def sent(make_event: "MakeEvent", deliveries: Callable[..., list[Delivery]]) -> list[Delivery]:
    return deliveries(make_event())


async def test_success_answer_is_delivered(kind: Kind, make: Make, receiver: "Receiver", sent: list[Delivery]) -> None:
    receiver.answers(*kind.yes)
    outcome = await make(receiver.url).send(sent)
    assert Outcome(outcome.reason, outcome.status) == kind.sees(Outcome(AttemptResult.DELIVERED, kind.yes[0]))
    (received,) = receiver.received
    assert received.path == PATH
    assert received.headers["user-agent"].startswith("completion-notifier/")
    assert b"David Ball" in received.body


@pytest.mark.parametrize(("kind", "status"), cases(STATUSES, hidden=(204, 301, 400, 410, 429, 500)), indirect=["kind"])
async def test_each_http_status_has_its_reason(
    kind: Kind, make: Make, receiver: "Receiver", sent: list[Delivery], status: int
) -> None:
    receiver.answers(status, b"" if status in {204, 304} else b"no comment")
    outcome = await make(receiver.url).send(sent)
    seen = kind.sees(Outcome(kind.reasons.get(status, STATUSES[status]), status))
    assert (outcome.reason, outcome.status) == (seen.reason, seen.status)
    if not kind.hidden:
        assert outcome.detail == ("" if status in {204, 304} else "no comment")


@pytest.mark.parametrize(("kind", "status"), cases([301, 302, 303, 307, 308], hidden=[302, 307]), indirect=["kind"])
async def test_redirect_is_never_followed(
    kind: Kind, make: Make, receiver: "Receiver", sent: list[Delivery], status: int
) -> None:
    receiver.answers(status, Location=f"{receiver.url}/elsewhere")
    outcome = await make(receiver.url).send(sent)
    assert outcome.reason is kind.sees(Outcome(AttemptResult.REDIRECTED)).reason
    assert kind.hidden or outcome.detail.startswith("Location: http://127.0.0.1")
    assert [received.path for received in receiver.received] == [PATH]


async def test_peer_that_hangs_before_its_answer_times_out(
    kind: Kind, make: Make, receiver: "Receiver", sent: list[Delivery]
) -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    receiver.script = hang
    assert await make(receiver.url, kind.impatient).send(sent) == Outcome(
        AttemptResult.TIMEOUT, detail=f"no whole answer within {kind.impatient:g} seconds"
    )


async def test_peer_that_hangs_within_its_answer_takes_no_longer_than_the_timeout(
    kind: Kind, make: Make, receiver: "Receiver", sent: list[Delivery]
) -> None:
    async def begin(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"o")
        await asyncio.Event().wait()
        raise AssertionError

    receiver.script = begin
    begun = time.monotonic()
    outcome = await make(receiver.url, kind.impatient).send(sent)
    assert outcome.reason is (AttemptResult.TIMEOUT if kind.needs_body or kind.hidden else AttemptResult.DELIVERED)
    assert time.monotonic() - begun < kind.impatient + 5


async def test_connection_reset_by_the_peer_is_connection_lost(
    kind: Kind, make: Make, receiver: "Receiver", sent: list[Delivery]
) -> None:
    async def reset(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    receiver.script = reset
    outcome = await make(receiver.url).send(sent)
    assert Outcome(outcome.reason, outcome.status) == kind.sees(Outcome(AttemptResult.CONNECTION_LOST))


@pytest.mark.parametrize(
    ("kind", "reason"),
    cases([AttemptResult.SERVER_ERROR, AttemptResult.REFUSED], hidden=[AttemptResult.SERVER_ERROR]),
    indirect=["kind"],
)
async def test_endless_answer_is_read_only_as_far_as_needed(
    kind: Kind, make: Make, receiver: "Receiver", sent: list[Delivery], reason: AttemptResult
) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=500 if reason is AttemptResult.SERVER_ERROR else 400)
        await response.prepare(request)
        while True:
            await response.write(b"more and " * 1000)

    receiver.script = endless
    if kind.hidden:
        # What is needed is not known: it ends with the time or the memory that an attempt may take.
        outcome = await make(receiver.url, kind.impatient).send(sent)
        assert outcome.reason in {AttemptResult.TIMEOUT, AttemptResult.SERVICE_FAILED}
    else:
        outcome = await make(receiver.url).send(sent)
        assert outcome.reason is reason
        assert len(outcome.detail) == 300


async def test_decompression_bomb_uses_little_memory(
    kind: Kind, make: Make, receiver: "Receiver", sent: list[Delivery]
) -> None:
    receiver.answers(500, gzip.compress(b"x" * 2**26, 1), Content_Encoding="gzip")
    tracemalloc.start()
    outcome = await make(receiver.url).send(sent)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert outcome.reason is kind.sees(Outcome(AttemptResult.SERVER_ERROR)).reason
    assert peak < 2**23


@asynccontextmanager
async def serving_bytes(answer: bytes, step: int = 10_000) -> AsyncIterator[str]:
    """Serve fixed bytes that no HTTP server would send, in pieces of a given size; yield the base URL."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for start in range(0, len(answer), step):
            writer.write(answer[start : start + step])
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(("kind", "case"), cases(NO_ANSWERS, hidden=NO_ANSWERS[2:4]), indirect=["kind"])
async def test_invalid_answer_has_its_reason(
    kind: Kind, make: Make, sent: list[Delivery], case: tuple[bytes, AttemptResult]
) -> None:
    answer, reason = case
    if answer.startswith(b"HTTP/1.1 500") and not kind.needs_body:
        reason = AttemptResult.SERVER_ERROR
    async with serving_bytes(answer) as url:
        assert (await make(url).send(sent)).reason is kind.sees(Outcome(reason)).reason


HEAD = b"HTTP/1.1 200 OK\r\n"
UNREADABLE = {
    "not gzip": HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nnot",
    "not deflate": HEAD + b"Content-Encoding: deflate\r\nContent-Length: 3\r\n\r\nnot",
    "br": HEAD + b"Content-Encoding: br\r\nContent-Length: 3\r\n\r\nnot",
    "zstd": HEAD + b"Content-Encoding: zstd\r\nContent-Length: 3\r\n\r\nnot",
    "cut off": HEAD + b"Content-Length: 9\r\n\r\nhalf",
    "cut off in a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhal",
    "a chunk without a size": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
    "a chunk longer than it says": HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n",
    "longer than it says": HEAD + b"Content-Length: 2\r\n\r\nok and more",
    "204 and a body": b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc",
    "204 and chunks": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "205 and a body": b"HTTP/1.1 205 Reset Content\r\n\r\nabc",
    "after a hint": b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + HEAD + b"Content-Length: 9\r\n\r\nhalf",
}


@pytest.mark.parametrize("step", [10_000, 1], ids=["at once", "byte by byte"])
@pytest.mark.parametrize(
    ("kind", "answer"),
    cases(UNREADABLE, hidden=()),
    indirect=["kind"],
)
async def test_unreadable_body_of_a_success_counts_only_where_the_body_is_needed(
    kind: Kind, make: Make, sent: list[Delivery], answer: str, step: int
) -> None:
    async with serving_bytes(UNREADABLE[answer], step=step) as url:
        outcome = await make(url).send(sent)
    if kind.needs_body:
        # What comes after a complete `ok` is ignored.
        assert outcome.reason is not AttemptResult.DELIVERED or answer == "longer than it says"
    else:
        status = int(UNREADABLE[answer].replace(b"HTTP/1.1 103", b"").split(b"HTTP/1.1 ")[-1][:3])
        assert (outcome.reason, outcome.status) == (AttemptResult.DELIVERED, status)


async def test_refused_connection_is_connect_failed(kind: Kind, make: Make, sent: list[Delivery]) -> None:
    async with serving_bytes(b"") as url:
        pass
    outcome = await make(url).send(sent)
    assert outcome.reason is kind.sees(Outcome(AttemptResult.CONNECT_FAILED)).reason
    assert kind.hidden or outcome.detail == "no connection: Connection refused"


async def test_unresolvable_host_is_name_not_resolved(kind: Kind, make: Make, sent: list[Delivery]) -> None:
    outcome = await make("https://nowhere.invalid").send(sent)
    assert outcome.reason is kind.sees(Outcome(AttemptResult.NAME_NOT_RESOLVED)).reason
    assert kind.hidden or outcome.detail == "the name nowhere.invalid could not be resolved"


async def test_self_signed_certificate_is_rejected(
    kind: Kind, make: Make, tls_receiver: "Receiver", sent: list[Delivery]
) -> None:
    outcome = await make(tls_receiver.url).send(sent)
    assert outcome.reason is kind.sees(Outcome(AttemptResult.CERTIFICATE_REJECTED)).reason
    assert kind.hidden or outcome.detail == "TLS failed: self-signed certificate"
    assert tls_receiver.received == []


@pytest.mark.parametrize(("kind", "case"), cases(WAITS, hidden=[("120", None)]), indirect=["kind"])
async def test_retry_after_header_is_passed_on_in_the_outcome(
    make: Make, receiver: "Receiver", sent: list[Delivery], case: tuple[str, float | None]
) -> None:
    value, wait = case
    for status in (429, 503):
        receiver.answers(status, Retry_After=value, Date="Sat, 21 Nov 2026 17:00:00 GMT")
        assert (await make(receiver.url).send(sent)).retry_after == wait


@pytest.mark.parametrize(("kind", "status"), cases([200, 302, 400, 500], hidden=[400]), indirect=["kind"])
async def test_outcome_detail_has_no_secrets_even_if_the_peer_echoes_them(
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


async def test_destination_delivers_again_after_failed_attempts(
    kind: Kind, make: Make, receiver: "Receiver", sent: list[Delivery]
) -> None:
    destination = make(receiver.url)
    for status in (500, 302, 429):
        receiver.answers(status)
        await destination.send(sent)
    receiver.answers(*kind.yes)
    assert (await destination.send(sent)).reason is AttemptResult.DELIVERED
