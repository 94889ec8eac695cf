"""The parser of the event stream, with input in pieces of any size."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.cli import feed_client
from notifier.cli.feed_client import BrokenFeedError, EventStreamParser, FeedEvent
from notifier.web.feed.sse import KEEP_ALIVE, OPENING_LINE, format_frame
from tests.support.destinations import MakeEvent, make_event

__all__ = ["make_event"]


@given(data=st.data())
def test_event_stream_parser_reads_frames_split_anywhere(data: st.DataObject, make_event: MakeEvent) -> None:
    events = [make_event(number, notes="\u2028 \u00fc \n") for number in (3, 7, 8)]
    written = OPENING_LINE + b"".join(format_frame(event) + KEEP_ALIVE for event in events)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=12)))
    pieces = [written[start:end] for start, end in zip([0, *cuts], [*cuts, len(written)], strict=True)]
    parser = EventStreamParser()
    found = [event for piece in pieces for event in parser.feed(piece)]
    assert [event.number for event in found] == [3, 7, 8]
    assert [event.cloudevent["id"] for event in found] == [event.id for event in events]


@pytest.mark.parametrize(
    "written", [b"id: x\ndata: {}\n\n", b"id: 1\ndata: {\n\n", b"id: 1\ndata: 7\n\n", b"data: {}\n\n"]
)
def test_event_stream_parser_rejects_an_invalid_event(written: bytes) -> None:
    with pytest.raises(BrokenFeedError):
        list(EventStreamParser().feed(written))


def test_event_stream_parser_rejects_too_long_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_client, "LONGEST_LINE_BYTES", 10)
    with pytest.raises(BrokenFeedError):
        list(EventStreamParser().feed(b"data: 12345678"))
    assert list(EventStreamParser().feed(b"id: 1\ndata: {}\n\n")) == [FeedEvent(1, orjson.loads(b"{}"))]
