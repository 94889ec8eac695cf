"""Words for people: safe to print, and short."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.cli.text import counted, distance, harmless, harmless_json, milliseconds, moment

NOW = 1_795_280_400_123


@settings(deadline=None)
@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    assert harmless(text).isprintable()


@settings(deadline=None)
@given(st.text(alphabet=st.characters(categories=["L", "N", "P"])))
def test_words_stay_as_they_are(text: str) -> None:
    assert harmless(text) == text


def test_an_escape_sequence_becomes_visible() -> None:
    assert harmless("\x1b[31mDavid\r\nBall\u202e\x9b") == "?[31mDavid Ball??"


@settings(deadline=None)
@given(st.text())
def test_harmless_json_is_the_same_json(text: str) -> None:
    line = harmless_json(json.dumps({"name": text}, ensure_ascii=False))
    assert json.loads(line) == {"name": text}
    assert not any(character in line for character in "\x7f\x9b\u202e\u2028")


def test_distance_tells_the_largest_unit() -> None:
    distances = [distance(NOW + 1000 * seconds, NOW) for seconds in (-90_000, -7_300, -61, -1, 0, 59, 3_600)]
    assert distances == ["1d ago", "2h ago", "1m ago", "1s ago", "now", "in 59s", "in 1h"]
    assert distance(NOW - 400, NOW) == "now"
    assert distance(None, NOW) == "-"


def test_moments_are_read_and_written() -> None:
    assert milliseconds("2026-11-21T17:00:00.123Z") == NOW
    assert milliseconds(None) is None
    assert moment(None) == "-"
    assert len(moment(NOW)) == len("2026-11-21 17:00:00")


def test_counts_agree_with_their_nouns() -> None:
    counts = counted(0, "event"), counted(1, "event"), counted(3012, "event"), counted(2, "person", "people")
    assert counts == ("0 events", "1 event", "3,012 events", "2 people")
