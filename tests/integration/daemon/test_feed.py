"""The feed of a real daemon: events of completions and alerts, as soon as they are stored."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest

from notifier.config.settings import AlertSettings
from notifier.daemon.socket_path import socket_path
from notifier.web.feed.broadcast import StreamTiming
from tests.support.daemon import ready, status_when
from tests.support.waiting import DEADLINE

if TYPE_CHECKING:
    from notifier.daemon.daemon import Daemon
from tests.support.daemon import World


@asynccontextmanager
async def reading(world: "World", path: str) -> AsyncIterator[aiohttp.ClientResponse]:
    connector = aiohttp.UnixConnector(str(socket_path(world.folder / "notifier.db")))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"http://localhost{path}") as response,
    ):
        assert response.status == 200
        yield response


async def next_event(response: aiohttp.ClientResponse) -> dict[str, Any]:
    async with asyncio.timeout(DEADLINE):
        while not (line := await response.content.readline()).startswith(b"data: "):
            assert line, "the stream has ended"
    event: dict[str, Any] = orjson.loads(line.removeprefix(b"data: "))
    return event


async def test_feed_streams_completions_and_alerts_as_they_happen(
    world: "World", run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.daemon.daemon.EVALUATE_EVERY_SECONDS", 0.05)
    world.receiver_answers = 410
    settings = world.settings()
    destinations = {**settings.destinations, "safety": settings.destinations["hr"]}
    settings = settings.model_copy(update={"destinations": destinations, "alerts": AlertSettings(destination="safety")})
    daemon = await run(settings)
    # A stream that is not woken by new events would wait for its next check, which is too late for this test.
    daemon.feed.stream._timing = StreamTiming(disconnect_check_seconds=60.0)
    await ready(daemon)
    async with reading(world, "/v1/events/stream?type=completion.created,notifier.alert") as stream:
        key = world.complete()
        assert (await next_event(stream))["subject"] == key
        notice = await next_event(stream)
        assert (notice["type"], notice["data"]["condition"]) == ("notifier.alert", "destination_disabled")
    async with reading(world, "/v1/events?limit=1") as response:
        page = await response.json()
        assert [event["subject"] for event in page["events"]] == [key]


async def test_stop_is_not_delayed_by_readers_of_the_feed(world: "World", run: Any) -> None:
    daemon: Daemon = await run()
    await ready(daemon)
    async with reading(world, "/v1/events/stream") as stream:
        world.complete()
        await next_event(stream)
        await status_when(daemon, "hr", "delivered", 1)
        started = time.monotonic()
        await daemon.stop()
        assert time.monotonic() - started < 10
        # The stream ends normally; the connection is not cut off.
        await stream.read()
