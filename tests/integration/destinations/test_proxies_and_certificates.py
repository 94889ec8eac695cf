"""Destinations send through proxies, and to receivers whose certificate authority is configured."""

from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from pydantic import TypeAdapter

from notifier.config import Destination
from notifier.destinations.apprise_pool import ApprisePool
from notifier.destinations.outcome import AttemptResult, FailureScope, Outcome
from notifier.destinations.registry import build
from notifier.store.tables.outbox import Delivery
from tests.support.clocks import FakeClock
from tests.support.destinations import CertificateFiles, MakeEvent, Receiver
from tests.support.proxies import AUTHORIZATION, PASSWORD, ForwardProxy, forward_proxy, no_proxy_variables

__all__ = ["forward_proxy", "no_proxy_variables"]

pytestmark = pytest.mark.usefixtures("no_proxy_variables")

Send = Callable[..., Any]
SETTINGS: TypeAdapter[Destination] = TypeAdapter(Destination)


@pytest.fixture
def send(
    session: aiohttp.ClientSession,
    clock: FakeClock,
    make_event: MakeEvent,
    deliveries: Callable[..., list[Delivery]],
) -> Send:
    """Create a destination with these settings, and send an event to it."""

    async def made(**keys: Any) -> Outcome:
        pool = ApprisePool(keep_seconds=0.0)
        destination = build("there", SETTINGS.validate_python(keys), session, clock, pool)
        return await destination.send(deliveries(make_event()))

    return made


@pytest.mark.parametrize("kind", ["slack", "http"])
async def test_ca_file_is_used_with_and_without_a_proxy(
    send: Send, kind: str, tls_receiver: Receiver, certificates: CertificateFiles, forward_proxy: ForwardProxy
) -> None:
    keys = {"type": kind, "url": f"{tls_receiver.url}/in"}
    assert (await send(**keys)).reason is AttemptResult.CERTIFICATE_REJECTED
    keys["ca_file"] = str(certificates.certificate)
    assert (await send(**keys)).reason is AttemptResult.DELIVERED
    assert forward_proxy.heads == []
    assert (await send(**keys, proxy=forward_proxy.url)).reason is AttemptResult.DELIVERED
    assert len(forward_proxy.heads) == 1


async def test_proxy_variable_is_used_unless_the_destination_sets_proxy_none(
    send: Send, receiver: Receiver, forward_proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward_proxy.wants = AUTHORIZATION
    forward_proxy.hosts["receiver.invalid"] = ("127.0.0.1", int(receiver.url.rpartition(":")[2]))
    monkeypatch.setenv("http_proxy", forward_proxy.url_with_credentials)
    keys = {"type": "http", "url": "http://receiver.invalid/in"}
    assert (await send(**keys)).reason is AttemptResult.DELIVERED
    assert (await send(**keys, proxy="none")).reason is AttemptResult.NAME_NOT_RESOLVED
    assert (await send(type="http", url=receiver.url)).reason is AttemptResult.DELIVERED
    assert len(forward_proxy.heads) == 1


async def test_refusing_proxy_is_proxy_refused_and_its_password_is_not_shown(
    send: Send, forward_proxy: ForwardProxy, receiver: Receiver
) -> None:
    forward_proxy.wants = "something else"
    proxy = forward_proxy.url_with_credentials
    outcome = await send(type="slack", url="https://hooks.slack.com/services/T0/B0/x", proxy=proxy)
    assert (outcome.reason, outcome.scope) == (AttemptResult.PROXY_REFUSED, FailureScope.ENDPOINT)
    assert "407 Proxy Authentication Required; check the user name and password in `proxy`" in outcome.detail
    assert PASSWORD not in outcome.detail
    forward_proxy.wants = None
    receiver.answers(400, f"I know {PASSWORD}, {AUTHORIZATION} and s3cret-p%40ssword".encode())
    outcome = await send(type="http", url=receiver.url, proxy=proxy)
    assert outcome.status == 400
    assert not any(word in outcome.detail for word in (PASSWORD, "s3cret-p%40ssword", AUTHORIZATION.split(" ")[1]))


async def test_apprise_obeys_the_proxy_setting_and_bypasses_it_for_this_machine(
    send: Send, receiver: Receiver, forward_proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward_proxy.wants = AUTHORIZATION
    forward_proxy.hosts["receiver.invalid"] = ("127.0.0.1", int(receiver.url.rpartition(":")[2]))
    keys = {"type": "apprise", "url": "json://receiver.invalid/in"}
    assert (await send(**keys, proxy=forward_proxy.url_with_credentials)).reason is AttemptResult.DELIVERED
    assert len(forward_proxy.heads) == 1
    monkeypatch.setenv("HTTP_PROXY", forward_proxy.url_with_credentials)
    assert (await send(**keys, proxy="none")).reason is AttemptResult.SERVICE_FAILED
    local = receiver.url.replace("http://", "json://")
    assert (await send(type="apprise", url=local)).reason is AttemptResult.DELIVERED
    assert len(forward_proxy.heads) == 1
    assert len(receiver.received) == 2
