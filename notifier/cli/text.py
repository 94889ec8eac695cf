"""Words for people: safe to print, and short."""

import re
from datetime import datetime
from typing import Final

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_INVISIBLE: Final = re.compile(r"[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What steers a terminal or the direction of writing, and what JSON may hold all the same."""

NOTHING: Final = "-"


def harmless(text: str) -> str:
    """Return `text` on one line and without characters that a terminal would obey: names come from strangers."""
    return "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))


def harmless_json(line: str) -> str:
    """Return the same JSON with whatever a terminal would obey written as an escape."""
    return _INVISIBLE.sub(lambda match: f"\\u{ord(match[0]):04x}", line)


def moment(ms: int | None) -> str:
    """Write Unix milliseconds as local time, `2026-11-21 17:00:00`."""
    return NOTHING if ms is None else f"{datetime.fromtimestamp(ms / 1000).astimezone():%Y-%m-%d %H:%M:%S}"


def milliseconds(iso: str | None) -> int | None:
    """Read a moment such as `2026-11-21T17:00:00.123Z`, as `/v1/status` has them."""
    return None if iso is None else round(datetime.fromisoformat(iso).timestamp() * 1000)


def distance(ms: int | None, now_ms: int) -> str:
    """Write how far a moment is from now: `12s ago`, `now`, `in 3h`; the largest unit is enough."""
    if ms is None:
        return NOTHING
    seconds = round(abs(now_ms - ms) / 1000)
    if seconds == 0:
        return "now"
    unit, size = next((unit, size) for unit, size in _UNITS if seconds >= size)
    length = f"{seconds // size}{unit}"
    return f"{length} ago" if ms <= now_ms else f"in {length}"


def counted(number: int, one: str, many: str | None = None) -> str:
    """Write a number and its noun: `1 new event`, `3,012 new events`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
