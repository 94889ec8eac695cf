"""The latest events in memory: they are returned in order, none is lost, and none is returned twice."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from notifier.events import Event
from notifier.store.queries.feed import EventFilter
from notifier.web.feed.sse import Tail, format_frame

EVENTS = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from(["acme", "other"]), st.integers(0, 200)), min_size=1, max_size=40
)


def event(sequence: int, source: str = "acme", notes: str = "") -> Event:
    return Event(sequence, f"evt_{sequence}", "completion.created", source, "1", 0, orjson.dumps({"notes": notes}))


def sequences_in(written: bytes) -> list[int]:
    return [int(piece.partition(b"\n")[0][4:]) for piece in written.split(b"\n\n") if piece]


@given(EVENTS, st.integers(1, 5), st.integers(1, 5_000), st.integers(1, 1_000), st.sampled_from(["", "acme"]))
def test_tail_returns_each_event_it_holds_once_and_in_order(
    event_specs: list[tuple[int, str, int]], at_once: int, max_bytes: int, batch_bytes: int, source: str
) -> None:
    tail = Tail(7, max_bytes)
    number = 7
    everything = []
    for gap, name, size in event_specs:
        number += gap
        everything.append(event(number, name, "x" * size))
    for first in range(0, len(everything), at_once):
        some = everything[first : first + at_once]
        tail.extend(some, some[-1].sequence)
    chosen = EventFilter(frozenset({source} - {""}))
    in_memory = [it for it in everything if it.sequence > tail.start]
    assert tail.end == number
    assert sum(len(format_frame(it)) for it in in_memory) <= max_bytes
    after, found = tail.start, list[int]()
    while after < tail.end:
        batch = tail.batch(after, chosen, batch_bytes)
        assert batch.last > after
        after = batch.last
        found += sequences_in(batch.data)
    assert found == [it.sequence for it in in_memory if not source or it.source == source]


def test_format_frame_writes_the_data_on_one_line_despite_line_breaks() -> None:
    written = format_frame(event(42, notes="a\nb\r\n\ndata: c\u2028"))
    assert written.count(b"\n") == 3
    assert b"\r" not in written
    assert written.startswith(b"id: 42\ndata: {")
    assert written.endswith(b"}\n\n")
