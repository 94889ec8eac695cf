"""Text that people have typed is made safe for messages."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.messages.rich_text import parse_spans, sanitize, sanitize_line
from notifier.messages.variables import format_day


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("", ""),
        (" \t\u2028\u3000 ", ""),
        ("\u200b\u200d", ""),
        ("a\x00b\x1b[31m", "a b [31m"),
        ("a\ud800b", "a\ufffdb"),
        ("a\n\n\tb", "a b"),
        ("שלם", "\u2068שלם\u2069"),
        ("\u202egnp.exe", "gnp.exe"),
        ("\u2069\u2069escaped", "escaped"),
        ("123456789", "1234567…"),
        ("😀😀😀😀😀😀😀😀😀", "😀😀😀😀😀😀😀…"),
        (1046, "1046"),
    ],
)
def test_sanitize_shortens_text_and_removes_control_characters(value: Any, text: str) -> None:
    assert sanitize(value, 8) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2020-02-27", "27 Feb 2020"),
        ("9999-12-31", "31 Dec 9999"),
        (None, ""),
        ("soon", "soon"),
        (20200227, "20200227"),
    ],
)
def test_format_day_formats_days_and_keeps_other_text(value: Any, text: str) -> None:
    assert format_day(value, 20) == text


@given(st.text(st.characters() | st.sampled_from("\x01\x02\x03\u2068\u2069\u202e\n- ")))
def test_sanitize_line_with_arbitrary_text_returns_one_valid_line(text: str) -> None:
    line = "".join(span.text for span in parse_spans(sanitize_line(text)))
    line.encode()
    assert not any(char < " " or "\u202a" <= char <= "\u202e" for char in line)
    assert sanitize_line(sanitize_line(text)) == sanitize_line(text)
