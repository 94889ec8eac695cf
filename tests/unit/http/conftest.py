"""Exchanges in both ways: by `post`, and by a `Poster`."""

import ssl
from collections.abc import Mapping

import aiohttp
import pytest

from notifier.http.exchange import Answer
from notifier.http.poster import Poster
from notifier.http.proxy import Proxy
from tests.support.destinations import certificates, receiver, session, tls_receiver
from tests.support.proxies import forward_proxy

__all__ = ["certificates", "forward_proxy", "receiver", "session", "tls_receiver"]


async def _post(
    session: aiohttp.ClientSession,
    url: str,
    body: bytes,
    *,
    headers: Mapping[str, str],
    timeout: float,
    limit: int,
    truncate: bool = False,
    body_counts: bool = True,
    ssl_context: ssl.SSLContext | bool = True,
    proxy: Proxy | None = None,
) -> Answer:
    poster = Poster(session, url, headers, timeout=timeout, limit=limit, proxy=proxy)
    return await poster.post(body, {}, truncate=truncate, body_counts=body_counts, ssl_context=ssl_context)


@pytest.fixture(params=["post", "Poster"])
def way_to_post(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the name `post` in the test's module stand for one of the two ways."""
    if request.param == "Poster":
        monkeypatch.setattr(request.module, "post", _post)
