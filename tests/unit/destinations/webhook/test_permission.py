"""CloudEvents' validation of webhooks, with receivers that give permission, limit the rate, or refuse."""

from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from notifier.config.webhooks import HttpSettings
from notifier.destinations.outcome import AttemptResult, FailureScope
from notifier.destinations.webhook.destination import HttpDestination
from notifier.destinations.webhook.permission import VALID_SECONDS, Permission, parse_permission
from notifier.store.tables.outbox import Delivery
from tests.support.clocks import FakeClock
from tests.support.destinations import MakeEvent, Receiver

ORIGIN = "notifier.example.com"


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (200, {"WebHook-Allowed-Origin": ORIGIN, "WebHook-Allowed-Rate": "120"}, Permission(120)),
        (204, {"WebHook-Allowed-Origin": "*", "WebHook-Allowed-Rate": "*"}, Permission(None)),
        (200, {"WebHook-Allowed-Origin": f"other.example, {ORIGIN.upper()}"}, Permission(None)),
        (200, {"WebHook-Allowed-Origin": ORIGIN, "WebHook-Allowed-Rate": "some"}, Permission(None)),
        (200, {"WebHook-Allowed-Origin": ORIGIN, "WebHook-Allowed-Rate": "0"}, None),
        (200, {"WebHook-Allowed-Origin": "other.example"}, None),
        (200, {}, None),
        (405, {"WebHook-Allowed-Origin": ORIGIN}, None),
        (302, {"WebHook-Allowed-Origin": ORIGIN}, None),
    ],
)
def test_parse_permission_needs_clear_answer(status: int, headers: dict[str, str], expected: Permission | None) -> None:
    assert parse_permission(status, headers, ORIGIN) == expected


Send = Callable[[], Any]


@pytest.fixture
def send(
    session: aiohttp.ClientSession,
    clock: FakeClock,
    receiver: Receiver,
    make_event: MakeEvent,
    deliveries: Callable[..., list[Delivery]],
) -> Send:
    keys = {"type": "http", "url": f"{receiver.url}/in", "origin": ORIGIN, "rate": 1.5}
    destination = HttpDestination("there", HttpSettings.model_validate(keys), session, clock)
    return lambda: destination.send(deliveries(make_event()))


def answer_options(receiver: Receiver, **allowed: str) -> list[web.Request]:
    """Let the receiver answer OPTIONS with these headers; return a list to which its requests will be added."""
    requests: list[web.Request] = []

    async def script(request: web.Request) -> web.StreamResponse:
        requests.append(request)
        headers = {name.replace("_", "-"): value for name, value in allowed.items()}
        return web.Response(headers=headers if request.method == "OPTIONS" else {})

    receiver.script = script
    return requests


async def test_permission_is_requested_once_a_day_before_the_first_event(
    send: Send, receiver: Receiver, clock: FakeClock
) -> None:
    requests = answer_options(receiver, WebHook_Allowed_Origin=ORIGIN, WebHook_Allowed_Rate="*")
    for _ in range(3):
        assert (await send()).reason is AttemptResult.DELIVERED
    assert [request.method for request in requests] == ["OPTIONS", "POST", "POST", "POST"]
    assert requests[0].headers["WebHook-Request-Origin"] == ORIGIN
    assert requests[0].headers["WebHook-Request-Rate"] == "90"
    assert requests[0].path == "/in"
    assert {request.headers["Origin"] for request in requests[1:]} == {ORIGIN}
    clock.advance(VALID_SECONDS)
    assert (await send()).reason is AttemptResult.DELIVERED
    assert [request.method for request in requests[4:]] == ["OPTIONS", "POST"]


async def test_send_without_permission_posts_no_event_until_it_is_given(send: Send, receiver: Receiver) -> None:
    requests = answer_options(receiver, WebHook_Allowed_Origin="other.example")
    outcome = await send()
    assert (outcome.reason, outcome.scope) == (AttemptResult.ORIGIN_REFUSED, FailureScope.ENDPOINT)
    assert f"does not allow the origin {ORIGIN}" in outcome.detail
    assert [request.method for request in requests] == ["OPTIONS"]
    requests = answer_options(receiver, WebHook_Allowed_Origin="*")
    assert (await send()).reason is AttemptResult.DELIVERED
    receiver.answers(503)


async def test_permission_request_answered_with_503_is_no_refusal(send: Send, receiver: Receiver) -> None:
    receiver.answers(503, Retry_After="7")
    outcome = await send()
    assert (outcome.reason, outcome.scope) == (AttemptResult.SERVER_ERROR, FailureScope.PACE)
    assert outcome.retry_after == 7


async def test_send_keeps_the_allowed_rate(send: Send, receiver: Receiver, clock: FakeClock) -> None:
    requests = answer_options(receiver, WebHook_Allowed_Origin=ORIGIN, WebHook_Allowed_Rate="6")
    assert (await send()).reason is AttemptResult.DELIVERED
    outcome = await send()
    assert (outcome.reason, outcome.retry_after) == (AttemptResult.THROTTLED, 10.0)
    assert outcome.detail == "the receiver allows 6 requests a minute"
    clock.advance(10)
    assert (await send()).reason is AttemptResult.DELIVERED
    assert len(requests) == 3
