"""Template filters that format times, numbers and long texts. Pure."""

from datetime import UTC, date, datetime
from typing import Any, Final

from markupsafe import Markup, escape

from notifier.clock import iso_utc

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_SECOND_MS: Final = 1000
_EXACT_BELOW_MS: Final = 10_000
_MINUTE_MS: Final = 60_000
_LONGEST: Final = 120

_EVENT_WORDS: Final = {"completion.created": "new", "completion.updated": "changed"}

_TIME: Final = Markup('<time datetime="{iso}" title="{utc}" data-shown="{shown}">{text}</time>')
"""The HTML of a time.

If `shown` is "moment", the page's script replaces the text with the local time. Otherwise, the script adds the local
time to the title.
"""


def ago(moment: int | str, now_ms: int) -> Markup:
    """Return a time relative to now, such as `12 s ago`, `now` or `in 3 h`, as HTML."""
    return _time(moment, "distance", relative_time(_milliseconds(moment), now_ms))


def at(moment: int | str) -> Markup:
    """Return a time in UTC as HTML. The page's script replaces it with the viewer's local time."""
    return _time(moment, "moment", _utc(_milliseconds(moment)))


def relative_time(ms: int, now_ms: int) -> str:
    """Return a time relative to now, in the largest unit only, such as `3 h ago`."""
    seconds = round(abs(now_ms - ms) / _SECOND_MS)
    if seconds == 0:
        return "now"
    unit, size = next((unit, size) for unit, size in _UNITS if seconds >= size)
    length = f"{seconds // size} {unit}"
    return f"{length} ago" if ms <= now_ms else f"in {length}"


def number(value: int) -> str:
    """Return a number with thousands separators, such as `1,048,576`."""
    return f"{value:,}"


def counted(value: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun, such as `1 source` or `3,012 sources`."""
    return f"{value:,} {one if value == 1 else many or f'{one}s'}"


def duration(ms: int) -> str:
    """Return a duration as text, such as `34 ms`, `2.7 s`, `45 s`, `12 min` or `3 h`."""
    if ms < _SECOND_MS:
        return f"{ms} ms"
    if ms < _EXACT_BELOW_MS:
        return f"{ms / _SECOND_MS:.1f} s"
    if ms < _MINUTE_MS:
        return f"{ms // _SECOND_MS} s"
    return relative_time(0, ms).removesuffix(" ago")


def day(value: date) -> str:
    """Return a date as day and month, such as `25 Nov`."""
    return f"{value.day} {value:%b}"


def shorten(text: Any) -> str:
    """Return a text, such as a name. A text that is too long for a list is cut."""
    written = str(text)
    return written if len(written) <= _LONGEST else f"{written[: _LONGEST - 1]}…"


def shorten_message(text: str) -> str:
    """Return a message. A message that is too long for a list is cut, at a semicolon if possible."""
    if len(text) <= _LONGEST:
        return text
    whole = text[: _LONGEST + 1].rpartition(";")[0]
    return whole or shorten(text)


def sentence(text: str) -> str:
    """Return a text with a capital letter at the beginning and a full stop at the end."""
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."


def with_code(text: str) -> Markup:
    """Return a text as HTML, in which the parts between backticks are marked up as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup().join(
        Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in enumerate(parts)
    )


def event_word(type_: str) -> str:
    """Return the word for a type of event, such as `new` for `completion.created`."""
    return _EVENT_WORDS.get(type_) or type_.rpartition(".")[2]


def utc_offset(seconds: float) -> str:
    """Return the UTC offset of this machine's time zone at `seconds` (Unix time), such as `UTC+01:00`."""
    offset = f"{datetime.fromtimestamp(seconds).astimezone():%z}"
    return "UTC" if offset == "+0000" else f"UTC{offset[:3]}:{offset[3:]}"


def in_words(code: str) -> str:
    """Return a reason or state in words: `rate_limited` becomes `rate limited`."""
    return code.replace("_", " ")


def _time(moment: int | str, shown: str, text: str) -> Markup:
    ms = _milliseconds(moment)
    return _TIME.format(iso=iso_utc(ms), utc=_utc(ms), shown=shown, text=text)


def _milliseconds(moment: int | str) -> int:
    """Return `moment` as Unix milliseconds. A text must be in RFC 3339 format."""
    return moment if isinstance(moment, int) else round(datetime.fromisoformat(moment).timestamp() * 1000)


def _utc(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
