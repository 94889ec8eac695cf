"""The pages of the feed: every event that matches the filter is on exactly one of them."""

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.events import Event
from notifier.store.queries import feed
from notifier.store.queries.feed import EventFilter
from notifier.store.tables import sources
from notifier.store.tables.records import Findings, write

if TYPE_CHECKING:
    from tests.integration.store.conftest import MakeChange, NewDatabase

ANY = EventFilter()


@given(
    st.lists(st.tuples(st.sampled_from(["acme", "other"]), st.booleans()), max_size=30),
    st.integers(1, 10),
    st.integers(1, 3_000),
    st.integers(1, 7),
    st.sampled_from([ANY, EventFilter(frozenset({"other"})), EventFilter(types=frozenset({"completion.removed"}))]),
)
def test_feed_pages_return_every_matching_event_once(
    new_database: "NewDatabase",
    change: "MakeChange",
    made: list[tuple[str, bool]],
    limit: int,
    max_bytes: int,
    look: int,
    chosen: EventFilter,
) -> None:
    with new_database() as db, pytest.MonkeyPatch.context() as patch:
        patch.setattr(feed, "EXAMINED_AT_ONCE", look)
        sources.read_or_create(db, "other")
        kept = []
        for number, (source, forgotten) in enumerate(made):
            (event,) = write(db, Findings(source, source, changes=[change(str(number))]), (), 0)
            if forgotten:
                db.execute("DELETE FROM events WHERE sequence = ?", [event.sequence])
            elif chosen.admits(event.source, event.type):
                kept.append(event)
        assert feed.highest_sequence(db) == len(made)
        found, after, ended = list[Event](), 0, False
        while not ended:
            page = feed.page_after(db, after, chosen, limit, max_bytes)
            assert len(page.events) <= limit
            assert page.next > after or page.ended
            found += page.events
            after, ended = page.next, page.ended
        assert found == kept
