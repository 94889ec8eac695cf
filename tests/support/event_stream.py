"""Creates events for tests of the feed, and reads its stream according to the standard of server-sent events."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from notifier.store.tables import records, sources
from notifier.store.tables.records import Findings
from tests.benchmarks.common import news

if TYPE_CHECKING:
    from tests.support.local_interface import Interface


async def detect(interface: "Interface", numbers: Sequence[int], source: str = "acme") -> list[int]:
    """Write an event for each of these records, as a poll does; return the sequences of the events."""
    await interface.store.run(sources.read_or_create, source)
    findings = Findings(source, source, changes=news(range(numbers[0], numbers[-1] + 1)))
    events = await interface.store.run(records.write, findings, (), 1_795_280_400_123)
    interface.feed.wake()
    return [event.sequence for event in events]


@dataclass
class Sent:
    """One server-sent event."""

    id: str
    data: Any
    fields: set[str]


@dataclass
class Listener:
    """Reads a stream of events. Comments and `retry` lines are not events; only an event ends with an empty line."""

    response: aiohttp.ClientResponse
    comments: int = 0
    retry: str = ""
    received: list[Sent] = field(default_factory=list)

    async def __aiter__(self) -> AsyncIterator[Sent]:
        fields: dict[str, str] = {}
        async for line in self.response.content:
            text = line.decode().removesuffix("\n")
            name, _, value = text.partition(": ")
            if text.startswith(":"):
                self.comments += 1
            elif name == "retry":
                self.retry = value
            elif text:
                assert name not in fields, "one line of data for each event"
                fields[name] = value
            else:
                # Some clients take an empty line without data before it for an event without data.
                assert "data" in fields
                sent = Sent(fields["id"], orjson.loads(fields["data"]), set(fields))
                self.received.append(sent)
                fields = {}
                yield sent

    async def next(self, count: int) -> list[Sent]:
        """Return the next `count` events; fail if they do not come in time."""
        found: list[Sent] = []
        async with asyncio.timeout(20):
            async for sent in self:
                found.append(sent)
                if len(found) == count:
                    break
        return found

    async def to_the_end(self) -> list[Sent]:
        """Return all events until the end of the stream."""
        async with asyncio.timeout(20):
            return [sent async for sent in self]


@asynccontextmanager
async def listening(interface: "Interface", query: str = "", last: str | None = None) -> AsyncIterator[Listener]:
    """Open the stream of events; `last` is the id of the last event that the client knows."""
    headers = {} if last is None else {"Last-Event-ID": last}
    url = f"{interface.url}/v1/events/stream{query}"
    limits = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with interface.over_tcp.get(url, headers=headers, timeout=limits) as response:
        assert response.status == 200, await response.text()
        yield Listener(response)


def numbers(sent: Sequence[Sent]) -> list[int]:
    return [int(event.id) for event in sent]
