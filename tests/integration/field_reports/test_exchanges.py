"""Answers of peers and configured addresses, byte for byte: the status decides, no address is rewritten."""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from notifier.clock import SystemClock
from notifier.config import Settings, SourceSettings
from notifier.destinations import registry
from notifier.destinations.outcome import Outcome
from notifier.destinations.sample import sample_event
from notifier.http.exchange import new_session
from notifier.kpa.client import Client
from notifier.kpa.errors import ApiError
from notifier.kpa.exchange import HttpExchange
from notifier.kpa.rate_limiter import Priority, RateLimiter
from notifier.store.tables.outbox import Delivery

pytestmark = pytest.mark.usefixtures("way_to_post")
EXCHANGES = json.loads((Path(__file__).parent / "exchanges.json").read_text(encoding="utf-8"))
TOO_LARGE_HEADERS = [answer for answer in EXCHANGES["answers"] if answer["case"] == "02"]
NOTHING_LISTED = '{"ok": true, "completedtrainings": [], "paging": {"last_page": 1}}'


def name_of(case: dict[str, Any]) -> str:
    return f"{case['case']}: {case['name']}"


@dataclass
class Peer:
    """A server that answers every request with the same bytes, and records requests and the number of connections."""

    answer: bytes
    is_closed_then: bool = False
    url: str = ""
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head)
                length = re.search(rb"(?i)content-length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                writer.write(self.answer)
                await writer.drain()
                if self.is_closed_then:
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def answering(peer: Peer) -> AsyncIterator[Peer]:
    server = await asyncio.start_server(peer.converse, "127.0.0.1", 0)
    async with server:
        peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield peer


def written(answer: dict[str, Any], body: str = "") -> bytes:
    """Return the bytes of an answer."""
    lines = [line for line in answer["head"] if not body or not line.startswith("Content-Length")]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    if padded := answer.get("field"):
        lines += [f"{padded['name']}: {'x' * padded['bytes']}"] * padded.get("times", 1)
    return "\r\n".join([*lines, "", body or answer.get("body", "")]).encode()


async def sent(type_: str, url: str, events: int = 1) -> list[Outcome]:
    """Send events to this address, one after the other, by the destination that the daemon would make."""
    configured = Settings.model_validate(
        {"sources": {"acme": {"token": "t"}}, "destinations": {"hr": {"type": type_, "url": url, "timeout": "5s"}}}
    )
    async with new_session() as session:
        destination = registry.build("hr", configured.destinations["hr"], session, SystemClock())
        return [await destination.send([Delivery(sample_event("acme", n + 1), "hr")]) for n in range(events)]


@pytest.mark.parametrize("type_", ["http", "teams"])
@pytest.mark.parametrize("case", EXCHANGES["answers"], ids=name_of)
async def test_outcome_depends_on_the_status_whatever_else_an_answer_holds(case: dict[str, Any], type_: str) -> None:
    async with answering(Peer(written(case), is_closed_then=case.get("then") == "closes")) as peer:
        outcomes = await sent(type_, peer.url, events=2)
    assert [outcome.reason for outcome in outcomes] == [case["outcome"]] * 2
    assert len(peer.heads) == 2
    if "detail" in case:
        assert {outcome.detail for outcome in outcomes} == {case["detail"]}
    # After a body without a clear end, the next answer needs a new connection.
    assert peer.connections == case.get("connections", peer.connections)


@pytest.mark.parametrize("case", TOO_LARGE_HEADERS, ids=name_of)
async def test_source_accepts_headers_of_the_same_size_as_a_destination(case: dict[str, Any]) -> None:
    async with answering(Peer(written(case, NOTHING_LISTED))) as peer, new_session() as session:
        settings = SourceSettings.model_validate({"base_url": f"{peer.url}/v1", "token": "t", "timeout": "5s"})
        client = Client(HttpExchange(session, settings), settings, RateLimiter(10_000, SystemClock()))
        if case["outcome"] == "delivered":
            assert (await client.page(1, limit=100, priority=Priority.HEAD)).size == 0
            return
        with pytest.raises(ApiError) as raised:
            await client.page(1, limit=100, priority=Priority.HEAD)
    assert case["detail"] in str(raised.value)


@pytest.mark.parametrize("case", EXCHANGES["addresses"], ids=name_of)
async def test_request_target_is_the_configured_address_unchanged(case: dict[str, Any]) -> None:
    async with answering(Peer(b"HTTP/1.1 204 No Content\r\n\r\n")) as peer:
        user = f"{case['user']}@" if "user" in case else ""
        (outcome,) = await sent("http", peer.url.replace("://", f"://{user}") + case["configured"])
    assert outcome.reason == "delivered"
    (head,) = peer.heads
    assert head.split(b" ")[1].decode() == case["target"]
    named = re.search(rb"Authorization: Basic (\S+)", head)
    assert (base64.b64decode(named[1]).decode() if named else None) == case.get("authorization")


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
async def test_receiver_on_this_machine_is_reached_without_the_proxy_variable(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    yes = b"HTTP/1.1 204 No Content\r\n\r\n"
    async with answering(Peer(yes)) as proxy, answering(Peer(yes)) as peer:
        monkeypatch.setenv(name, proxy.url)
        (outcome,) = await sent("http", f"{peer.url}/hook")
    assert outcome.reason == "delivered"
    assert (len(peer.heads), proxy.connections) == (1, 0)
