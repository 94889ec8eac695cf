"""Exchanges in both ways: by `send`, and by a `Poster`."""

import aiohttp
import pytest

from notifier.http.exchange import Answer, RequestOptions
from notifier.http.poster import Poster
from tests.support.destinations import certificates, receiver, session, tls_receiver
from tests.support.proxies import forward_proxy

__all__ = ["certificates", "forward_proxy", "receiver", "session", "tls_receiver"]


async def _send(session: aiohttp.ClientSession, method: str, url: str, body: bytes, options: RequestOptions) -> Answer:
    assert method == "POST"
    poster = Poster(
        session, url, options.headers, timeout=options.timeout, limit=options.limit_bytes, proxy=options.proxy
    )
    return await poster.post(
        body, {}, truncate=options.truncate, needs_body=options.needs_body, ssl_context=options.ssl_context
    )


@pytest.fixture(params=["send", "Poster"])
def way_to_post(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the name `send` in the test's module stand for one of the two ways."""
    if request.param == "Poster":
        monkeypatch.setattr(request.module, "send", _send)
