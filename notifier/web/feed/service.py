"""The feed: pages of stored events, and the stream of new events."""

from collections.abc import Callable, Collection
from typing import Final

from notifier.store.database import Database
from notifier.store.queries import feed
from notifier.store.queries.feed import EventFilter, EventPage
from notifier.store.reader import StoreReader
from notifier.web.daemon_api import UnknownNameError
from notifier.web.feed.broadcast import Stream, StreamTiming
from notifier.web.feed.subscriber import Subscriber
from notifier.web.query_parameters import PageQuery, StreamQuery

MAX_READERS: Final = 256
"""Maximum number of readers of the stream at the same time."""

MAX_READERS_PER_PEER: Final = 64
"""Maximum number of readers of one peer at the same time. A peer is an address or a user of this machine."""

_MAX_PAGE_BYTES: Final = 4_000_000
"""The size in bytes at which a page ends, even if it has few events."""


class Feed:
    """Reads events from the store for the HTTP interface."""

    def __init__(
        self,
        reader: StoreReader,
        sources: Callable[[], Collection[str]],
        timing: StreamTiming | None = None,
        max_readers: int = MAX_READERS,
        max_per_peer: int = MAX_READERS_PER_PEER,
    ) -> None:
        """Initialise with the reader of the store; `sources` returns the names of the currently configured sources."""
        self._reader = reader
        self._sources = sources
        self.stream = Stream(reader, timing or StreamTiming(), max_readers, max_per_peer)

    def wake(self) -> None:
        """Notify the stream that there are new events in the store."""
        self.stream.wake()

    def drop_cached_events(self) -> None:
        """Forget the events kept in memory for the stream, so that events erased from the store are not sent."""
        self.stream.drop_cached_events()

    async def stop(self) -> None:
        """Disconnect all readers of the stream."""
        await self.stream.stop()

    async def page(self, query: PageQuery) -> EventPage:
        """Return a page of events; an empty page if there are no more events. Raises UnknownNameError, StoreError."""
        after = await self._reader.run(start_position, query.after, query.event_filter, tuple(self._sources()))
        while True:
            page = await self._reader.run(feed.page_after, after, query.event_filter, query.limit, _MAX_PAGE_BYTES)
            if page.events or page.ended:
                return page
            after = page.next

    async def make_reader(self, query: StreamQuery) -> Subscriber:
        """Return a reader of the stream that begins at the requested position. Raises UnknownNameError, StoreError."""
        after = await self._reader.run(start_position, query.after, query.event_filter, tuple(self._sources()))
        return Subscriber(after, query.event_filter)


def start_position(db: Database, after: int | None, event_filter: EventFilter, configured: Collection[str]) -> int:
    """Return the event number after which the requested events begin: usually `after`.

    If `after` is None, the result is the newest event's number. An `after` that is higher than any event's number comes
    from another state file. The result is then 0, and the client recognises known events by their ids. Raises
    UnknownNameError if the filter names a source that never existed.
    """
    if unknown := event_filter.sources - {*configured, *feed.known_source_names(db)}:
        raise UnknownNameError("source", min(unknown), tuple(configured))
    if after is None:
        return feed.newest_number(db)
    return after if after <= feed.highest_sequence(db) else 0
