"""Formats events as server-sent events, and keeps the latest ones in memory for all readers.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

import orjson
from msgspec import Struct

from notifier.destinations.webhook.envelope import cloudevent
from notifier.events import Event
from notifier.store.queries.feed import EventFilter, EventPage

KEEP_ALIVE: Final = b": keep-alive\n"
"""A comment line, which keeps proxies from closing an idle connection.

No empty line follows the comment, because some clients would treat an empty line as an event without data.
"""

POSITION_HEADER: Final = "Last-Event-ID"
"""The response header of a stream, with the event number after which the stream begins."""

OPENING_LINE: Final = b"retry: 2000\n"
"""The first line of each stream: a browser that has lost its connection reconnects after 2000 milliseconds."""


class FrameBatch(Struct, frozen=True):
    """A batch of formatted events. `last` is the number of the last event that was either added or filtered out."""

    data: bytes
    last: int


def format_frame(event: Event) -> bytes:
    """Format an event as a frame. A frame has no event name, because a browser's `onmessage` ignores named events."""
    return b"id: %d\ndata: %b\n\n" % (event.sequence, orjson.dumps(cloudevent(event)))


def format_batch(page: EventPage) -> FrameBatch:
    """Format the events of a page as one batch."""
    return FrameBatch(b"".join(map(format_frame, page.events)), page.next)


class _Frame(Struct, frozen=True):
    source: str
    type: str
    data: bytes


class Tail:
    """The latest events, already formatted: all events after number `start` and up to number `end`."""

    def __init__(self, start: int, max_bytes: int) -> None:
        """Initialise for events after number `start`. Beyond `max_bytes`, the oldest events will be dropped."""
        self.start = start
        self.end = start
        self._max_bytes = max_bytes
        self._bytes = 0
        self._numbers: list[int] = []
        self._frames: list[_Frame] = []

    def extend(self, events: Iterable[Event], end: int) -> None:
        """Add `events`, which must be all events after the tail's present end and up to number `end`."""
        for event in events:
            data = format_frame(event)
            self._numbers.append(event.sequence)
            self._frames.append(_Frame(event.source, event.type, data))
            self._bytes += len(data)
        self.end = end
        self._drop_oldest()

    def batch(self, after: int, event_filter: EventFilter, max_bytes: int) -> FrameBatch:
        """Return the events after number `after` that match the reader's filter, up to about `max_bytes`.

        `after` must not be less than `start`.
        """
        pieces: list[bytes] = []
        size = 0
        for index in range(bisect_right(self._numbers, after), len(self._frames)):
            it = self._frames[index]
            if event_filter.admits(it.source, it.type):
                pieces.append(it.data)
                size += len(it.data)
                if size >= max_bytes:
                    return FrameBatch(b"".join(pieces), self._numbers[index])
        return FrameBatch(b"".join(pieces), self.end)

    def _drop_oldest(self) -> None:
        count = 0
        while self._bytes > self._max_bytes:
            self._bytes -= len(self._frames[count].data)
            self.start = self._numbers[count]
            count += 1
        del self._frames[:count]
        del self._numbers[:count]
