"""Formats values as short text that is safe to print on a terminal, and describes the columns of tables."""

import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_INVISIBLE: Final = re.compile(r"[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that JSON allows without an escape, although they control a terminal or the direction of writing."""

_LENGTH: Final = len("2026-11-21 17:00:00")
_ZONE_SUFFIXES: Final = {None: "", UTC: " UTC"}

NOTHING: Final = "-"


def terminal_safe(text: str) -> str:
    """Return `text` on one line, with `?` for each character that could control a terminal."""
    return "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))


def terminal_safe_json(line: str) -> str:
    """Return a line of JSON in which each character that could control a terminal is escaped."""
    return _INVISIBLE.sub(lambda match: f"\\u{ord(match[0]):04x}", line)


def local_time(ms: int | None) -> str:
    """Format Unix milliseconds as local time, such as `2026-11-21 17:00:00`; return `-` for None.

    A time that cannot be converted to local time is formatted in UTC or, as a last resort, as a number.
    """
    if ms is None:
        return NOTHING
    for zone in (None, UTC):
        with suppress(ValueError, OverflowError, OSError):
            # strftime() is not used, because it omits leading zeros of years before 1000.
            return datetime.fromtimestamp(ms / 1000, zone).isoformat(" ", "seconds")[:_LENGTH] + _ZONE_SUFFIXES[zone]
    return f"{ms} ms"


def parse_time_ms(iso: str | None) -> int | None:
    """Parse a time such as `2026-11-21T17:00:00.123Z` into Unix milliseconds; return None for None."""
    return None if iso is None else round(datetime.fromisoformat(iso).timestamp() * 1000)


def relative_time(ms: int | None, now_ms: int) -> str:
    """Format a time relative to `now_ms`, such as `12s ago`, `now` or `in 3h`; return `-` for None."""
    if ms is None:
        return NOTHING
    seconds = round(abs(now_ms - ms) / 1000)
    if seconds == 0:
        return "now"
    unit, size = next((unit, size) for unit, size in _UNITS if seconds >= size)
    length = f"{seconds // size}{unit}"
    return f"{length} ago" if ms <= now_ms else f"in {length}"


def format_count(number: int, singular: str, plural: str | None = None) -> str:
    """Format a number with its noun, such as `1 new event` or `3,012 new events`."""
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"


class Column(Struct, frozen=True):
    """A column of a table. `min_width` applies only to tables that may grow (see TableWriter)."""

    title: str
    align_right: bool = False
    min_width: int = 0
