"""The heartbeat uses the proxy of the environment variables, and drops a URL that is no longer configured."""

import asyncio

import aiohttp
import pytest
from aiohttp import web
from pydantic import SecretStr

from notifier.clock import SystemClock
from notifier.daemon.heartbeat import Heartbeat
from tests.support.destinations import Receiver, receiver, session
from tests.support.proxies import AUTHORIZATION, PASSWORD, ForwardProxy, forward_proxy, no_proxy_variables
from tests.support.waiting import until

__all__ = ["forward_proxy", "no_proxy_variables", "receiver", "session"]


async def fetch_once(heartbeat: Heartbeat) -> str | None:
    """Fetch once, and return the problem."""
    heartbeat.beat()
    await until(lambda: heartbeat._fetching is not None and heartbeat._fetching.done())
    return heartbeat.problem


@pytest.mark.usefixtures("no_proxy_variables")
async def test_heartbeat_uses_the_proxy_and_reports_its_refusal_without_the_password(
    session: aiohttp.ClientSession,
    receiver: Receiver,
    forward_proxy: ForwardProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forward_proxy.wants = AUTHORIZATION
    forward_proxy.hosts["beat.invalid"] = ("127.0.0.1", int(receiver.url.rpartition(":")[2]))
    monkeypatch.setenv("HTTP_PROXY", forward_proxy.url_with_credentials)
    heartbeat = Heartbeat(SecretStr("http://beat.invalid/alive"), session, SystemClock())
    assert await fetch_once(heartbeat) is None
    assert [request.path for request in receiver.received] == ["/alive"]
    forward_proxy.wants = "something else"
    problem = await fetch_once(heartbeat)
    assert problem is not None
    assert problem.startswith(f"the proxy {forward_proxy.address} refused: 407")
    assert PASSWORD not in problem


async def test_hanging_heartbeat_request_is_no_problem_of_the_next_url(
    session: aiohttp.ClientSession, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3600)
        raise AssertionError

    monkeypatch.setattr("notifier.daemon.heartbeat.TIMEOUT_SECONDS", 0.2)
    receiver.script = hang
    heartbeat = Heartbeat(SecretStr(f"{receiver.url}/old"), session, SystemClock())
    heartbeat.beat()
    await until(lambda: len(receiver.received) == 1)
    # The request fails, so the operator removes the URL from the configuration.
    heartbeat.set_url(SecretStr(""))
    await until(lambda: heartbeat._fetching is not None and heartbeat._fetching.done())
    await asyncio.sleep(0.3)
    assert heartbeat.problem is None
    receiver.script = None
    heartbeat.set_url(SecretStr(f"{receiver.url}/new"))
    assert await fetch_once(heartbeat) is None
    assert [request.path for request in receiver.received] == ["/old", "/new"]
