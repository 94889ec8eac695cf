"""Events as a stream of server-sent events carries them, and the latest of them in memory, for all readers together.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import orjson

from notifier.completions import Event
from notifier.deliver.envelope import cloudevent
from notifier.ledger.feed import EventFilter, EventPage

KEEP_ALIVE: Final = b": keep-alive\n\n"
"""A comment: no event, but a sign of life that keeps proxies from closing the connection."""

OPENING: Final = b"retry: 2000\n\n"
"""The beginning of each stream: after how many milliseconds a browser whose connection broke off comes back."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Events written one after the other, and the number of the last event that was looked at for them."""

    written: bytes
    last: int


def frame(event: Event) -> bytes:
    """Write one event. It has no name, so that a browser's `onmessage` gets it."""
    return b"id: %d\ndata: %b\n\n" % (event.sequence, orjson.dumps(cloudevent(event)))


def batch(page: EventPage) -> Batch:
    """Write the events of a page."""
    return Batch(b"".join(map(frame, page.events)), page.next)


@dataclass(frozen=True, slots=True)
class _Frame:
    source: str
    type: str
    written: bytes


class Tail:
    """The latest events without a gap, each written once: those behind number `start`, up to number `end`."""

    def __init__(self, start: int, most_bytes: int) -> None:
        """Begin behind a number, with nothing; what makes it more than `most_bytes` pushes the oldest out."""
        self.start = start
        self.end = start
        self._most_bytes = most_bytes
        self._bytes = 0
        self._numbers: list[int] = []
        self._frames: list[_Frame] = []

    def extend(self, events: Iterable[Event], end: int) -> None:
        """Add all that there is from the end up to number `end`."""
        for event in events:
            written = frame(event)
            self._numbers.append(event.sequence)
            self._frames.append(_Frame(event.source, event.type, written))
            self._bytes += len(written)
        self.end = end
        self._push_out()

    def batch(self, after: int, chosen: EventFilter, most_bytes: int) -> Batch:
        """Return the chosen ones behind number `after`, which is not before the start: about `most_bytes` of them."""
        pieces: list[bytes] = []
        size = 0
        for place in range(bisect_right(self._numbers, after), len(self._frames)):
            it = self._frames[place]
            if chosen.admits(it.source, it.type):
                pieces.append(it.written)
                size += len(it.written)
                if size >= most_bytes:
                    return Batch(b"".join(pieces), self._numbers[place])
        return Batch(b"".join(pieces), self.end)

    def _push_out(self) -> None:
        count = 0
        while self._bytes > self._most_bytes:
            self._bytes -= len(self._frames[count].written)
            self.start = self._numbers[count]
            count += 1
        del self._frames[:count]
        del self._numbers[:count]
