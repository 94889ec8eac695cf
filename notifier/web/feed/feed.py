"""The feed as the daemon keeps it open: pages of what was detected, and the stream of what is."""

from collections.abc import Callable, Collection
from typing import Final

from sqlite_utils import Database

from notifier.ledger import feed
from notifier.ledger.feed import EventFilter, EventPage
from notifier.ledger.ledger import Ledger
from notifier.web.control import UnknownNameError
from notifier.web.feed.reader import Reader
from notifier.web.feed.stream import Pace, Stream
from notifier.web.feed.wishes import PageWish, StreamWish

MOST_READERS: Final = 256
"""Readers of the stream at once."""

_MOST_ON_A_PAGE: Final = 4_000_000
"""Bytes of events after which a page ends, however few they are."""


class Feed:
    """Reads events from the ledger for whoever asks."""

    def __init__(
        self,
        ledger: Ledger,
        sources: Callable[[], Collection[str]],
        pace: Pace | None = None,
        most_readers: int = MOST_READERS,
    ) -> None:
        """Take the ledger, and who names the sources of the configuration as it stands at that moment."""
        self._ledger = ledger
        self._sources = sources
        self.stream = Stream(ledger, pace or Pace(), most_readers)

    def wake(self) -> None:
        """Hear that there are new events in the ledger."""
        self.stream.wake()

    async def stop(self) -> None:
        """End the stream of each reader."""
        await self.stream.stop()

    async def page(self, wish: PageWish) -> EventPage:
        """Read a page; only an empty one has nothing behind it. Raises UnknownNameError, LedgerError."""
        after = await self._ledger.run(place, wish.after, wish.chosen, tuple(self._sources()))
        while True:
            page = await self._ledger.run(feed.page_after, after, wish.chosen, wish.limit, _MOST_ON_A_PAGE)
            if page.events or page.ended:
                return page
            after = page.next

    async def reader(self, wish: StreamWish) -> Reader:
        """Make a reader for the stream, at the place where it begins. Raises UnknownNameError, LedgerError."""
        after = await self._ledger.run(place, wish.after, wish.chosen, tuple(self._sources()))
        return Reader(after, wish.chosen)


def place(db: Database, after: int | None, chosen: EventFilter, configured: Collection[str]) -> int:
    """Return the number behind which a wish begins; None means behind all that there is.

    A number that was never given comes from another state file, whose numbers say nothing of this one: the feed begins
    anew, and whoever remembers the events' ids gets nothing twice. Raises UnknownNameError for a source that never was.
    """
    if unknown := chosen.sources - {*configured, *feed.sources_heard_of(db)}:
        raise UnknownNameError("source", min(unknown), tuple(configured))
    last = feed.position(db)
    if after is None:
        return last
    return after if after <= last else 0
