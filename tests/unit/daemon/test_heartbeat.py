"""The heartbeat goes the way that the variables name."""

import aiohttp
import pytest
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
async def test_it_goes_through_the_proxy_and_says_that_it_is_refused_there(
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
