"""The webhook receiver for manual tests, with requests as destinations send them."""

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from pydantic import TypeAdapter

from notifier.cli.receiver import ReceivedRequest, WebhookReceiver
from notifier.clock import SystemClock
from notifier.config import Destination
from notifier.destinations.outcome import AttemptResult, Outcome
from notifier.destinations.registry import build
from notifier.destinations.webhook.signature import public_key
from notifier.store.tables.outbox import Delivery
from tests.support.destinations import MakeEvent, deliveries, make_event, session

__all__ = ["deliveries", "make_event", "session"]

SECRET = "whsec_" + base64.b64encode(b"a secret of 24 bytes or more").decode()
PRIVATE = "whsk_" + base64.b64encode(b"the thirty-two bytes of the seed").decode()
SETTINGS: TypeAdapter[Destination] = TypeAdapter(Destination)


class Bench:
    """A receiver, the requests that it has received, and a method that sends requests to it."""

    def __init__(self, stack: AsyncExitStack, session: aiohttp.ClientSession, deliveries_: list[Delivery]) -> None:
        self._stack = stack
        self.session = session
        self._deliveries = deliveries_
        self.url = ""
        self.requests: list[ReceivedRequest] = []

    async def receive(self, *secrets: str, statuses: tuple[int, ...] = (200,)) -> None:
        receiver = WebhookReceiver(secrets, statuses, self.requests.append)
        self.url = await self._stack.enter_async_context(receiver.serve(0))

    async def send(self, **keys: Any) -> Outcome:
        settings = SETTINGS.validate_python({"type": "http", "url": f"{self.url}/in", **keys})
        count = len(self._deliveries) if keys.get("batch_size", 1) > 1 or settings.type != "http" else 1
        return await build("there", settings, self.session, SystemClock()).send(self._deliveries[:count])


@pytest.fixture
async def bench(
    session: aiohttp.ClientSession, make_event: MakeEvent, deliveries: Callable[..., list[Delivery]]
) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        yield Bench(stack, session, deliveries(make_event(1), make_event(2)))


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"format": "standard"},
        {"batch_size": 10},
        {"batch_size": 10, "format": "standard"},
        {"batch_size": 10, "format": "standard", "batch_form": "message"},
    ],
)
async def test_receiver_verifies_and_reads_every_form_of_request(bench: Bench, keys: dict[str, Any]) -> None:
    await bench.receive(SECRET, public_key(PRIVATE))
    for secret in (SECRET, PRIVATE):
        assert (await bench.send(secret=secret, **keys)).reason is AttemptResult.DELIVERED
    first, second = bench.requests
    assert first.verdict is not None
    assert second.verdict is not None
    assert (first.verdict.reason, second.verdict.reason) == ("signature valid (v1)", "signature valid (v1a)")
    assert {(event.type, event.text) for event in first.events} == {("completion.created", "David Ball, Ladder Safety")}
    assert [event.is_repeated for event in (*first.events, *second.events)] == [False] * len(first.events) + [
        True
    ] * len(second.events)


async def test_receiver_rejects_and_forgets_requests_without_a_valid_signature(bench: Bench) -> None:
    await bench.receive(SECRET)
    outcome = await bench.send()
    assert (outcome.status, outcome.detail) == (401, "the request is not signed")
    other = "whsec_" + base64.b64encode(b"another secret of 24 bytes..").decode()
    assert (await bench.send(secret=other)).status == 401
    assert (await bench.send(secret=SECRET)).reason is AttemptResult.DELIVERED
    assert [request.status for request in bench.requests] == [401, 401, 200]
    assert bench.requests[2].events[0].is_repeated is False


async def test_receiver_answers_with_the_given_statuses_and_repeats_the_last(bench: Bench) -> None:
    await bench.receive(statuses=(503, 410, 204))
    assert [(await bench.send()).status for _ in range(4)] == [503, 410, 204, 204]
    assert [request.events[0].is_repeated for request in bench.requests] == [False, False, False, True]
    assert bench.requests[0].verdict is None


async def test_receiver_accepts_messages_of_slack_and_teams_destinations(bench: Bench) -> None:
    await bench.receive()
    assert (await bench.send(type="slack")).reason is AttemptResult.DELIVERED
    assert (await bench.send(type="teams")).reason is AttemptResult.DELIVERED
    slack, teams = bench.requests
    assert "David Ball" in slack.events[0].text
    assert teams.events[0].text == "an Adaptive Card"


async def test_receiver_allows_the_origin_of_an_options_request(bench: Bench) -> None:
    await bench.receive()
    assert (await bench.send(origin="notifier.example.com")).reason is AttemptResult.DELIVERED
    assert [(request.verb, request.note) for request in bench.requests] == [
        ("OPTIONS", "allowed the origin notifier.example.com"),
        ("POST", ""),
    ]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"7", 400),
        (b"{}", 400),
        (b'{"events": [1]}', 400),
        (b"[" * 100_000, 400),
        (b"[]", 200),
    ],
)
async def test_receiver_answers_400_to_an_invalid_body_and_405_to_get(bench: Bench, body: bytes, status: int) -> None:
    await bench.receive()
    async with bench.session.post(bench.url, data=body) as answer:
        assert answer.status == status
    async with bench.session.get(bench.url) as answer:
        assert answer.status == 405
    assert [request.status for request in bench.requests] == [status, 405]
