"""How the pages write moments, numbers and long texts. Pure."""

from datetime import UTC, date, datetime
from typing import Any, Final

from markupsafe import Markup, escape

from notifier.clock import iso_utc

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_SECOND_MS: Final = 1000
_EXACT_BELOW_MS: Final = 10_000
_MINUTE_MS: Final = 60_000
_LONGEST: Final = 120

_TIME: Final = Markup('<time datetime="{iso}" title="{utc}" data-shown="{shown}">{text}</time>')
"""The script writes the viewer's own time where the text is a moment, and into the title where it is a distance."""


def ago(moment: int | str, now_ms: int) -> Markup:
    """Write how far a moment is from now: `12 s ago`, `now`, `in 3 h`."""
    return _time(moment, "distance", distance(_milliseconds(moment), now_ms))


def at(moment: int | str) -> Markup:
    """Write a moment as UTC time, which the script turns into the viewer's own."""
    return _time(moment, "moment", _utc(_milliseconds(moment)))


def distance(ms: int, now_ms: int) -> str:
    """Write how far a moment is from now; the largest unit is enough."""
    seconds = round(abs(now_ms - ms) / _SECOND_MS)
    if seconds == 0:
        return "now"
    unit, size = next((unit, size) for unit, size in _UNITS if seconds >= size)
    length = f"{seconds // size} {unit}"
    return f"{length} ago" if ms <= now_ms else f"in {length}"


def number(value: int) -> str:
    """Write `1,048,576`."""
    return f"{value:,}"


def counted(value: int, one: str, many: str | None = None) -> str:
    """Write a number and its noun: `1 source`, `3,012 sources`."""
    return f"{value:,} {one if value == 1 else many or f'{one}s'}"


def duration(ms: int) -> str:
    """Write how long something took: `34 ms`, `2.7 s`, `45 s`, `12 min`, `3 h`."""
    if ms < _SECOND_MS:
        return f"{ms} ms"
    if ms < _EXACT_BELOW_MS:
        return f"{ms / _SECOND_MS:.1f} s"
    if ms < _MINUTE_MS:
        return f"{ms // _SECOND_MS} s"
    return distance(0, ms).removesuffix(" ago")


def day(value: date) -> str:
    """Write a date as `25 Nov`."""
    return f"{value.day} {value:%b}"


def short(text: Any) -> str:
    """Cut off what nobody reads in a list: names come from strangers, and can be as long as these like."""
    written = str(text)
    return written if len(written) <= _LONGEST else f"{written[: _LONGEST - 1]}…"


def sentence(text: str) -> str:
    """Begin with a capital letter, and end with a full stop."""
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."


def with_code(text: str) -> Markup:
    """Set as code what a text has between backticks: commands and keys."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup().join(
        Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in enumerate(parts)
    )


def worded(code: str) -> str:
    """Write a reason or state, such as `rate_limited`, as words."""
    return code.replace("_", " ")


def _time(moment: int | str, shown: str, text: str) -> Markup:
    ms = _milliseconds(moment)
    return _TIME.format(iso=iso_utc(ms), utc=_utc(ms), shown=shown, text=text)


def _milliseconds(moment: int | str) -> int:
    """Read a moment as the figures (Unix ms) or `/v1/status` (RFC 3339) have it."""
    return moment if isinstance(moment, int) else round(datetime.fromisoformat(moment).timestamp() * 1000)


def _utc(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
