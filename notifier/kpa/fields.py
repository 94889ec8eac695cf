"""Readers of a record's single fields: exact about what they accept, and loud about the rest.

The API gives numbers as numbers and, here and there, as strings of digits; a field may be missing, null or empty, which
all mean the same. Everything else in a field is unreadable, and never guessed at: a guess could become a false event.
"""

from datetime import date
from functools import lru_cache
from typing import Any

_LATEST_MS = 253_402_300_799_999
"""The end of the year 9999, the last moment that can be written as a date, in Unix milliseconds."""
_EARLIEST_DAY = 1_01_01
_LATEST_DAY = 9999_12_31
_MOST_DIGITS = 18


class UnreadableError(Exception):
    """A field holds what cannot be read; the sentence names the field and never repeats text out of the record."""


def identifier(record: dict[str, Any], name: str) -> str:
    """Read an id that has to be there, a whole number or a string, as a string."""
    value = record.get(name)
    if type(value) is int:
        return str(value)
    # SQLite's JSON functions end a string at U+0000: two ids could become one.
    if type(value) is str and value and "\0" not in value:
        return value
    raise _unreadable(name, value, "an id")


def optional_identifier(record: dict[str, Any], name: str) -> str | None:
    """Read an id that may be missing."""
    value = record.get(name)
    if value is None or value == "":
        return None
    if type(value) is int:
        return str(value)
    if type(value) is str:
        return value
    raise _unreadable(name, value, "an id")


def moment(record: dict[str, Any], name: str) -> int | None:
    """Read Unix milliseconds; None when there are none, and for 0."""
    value = record.get(name)
    number = value if type(value) is int else whole_number(value)
    if number == 0:
        return None
    if number is None or not 0 < number <= _LATEST_MS:
        raise _unreadable(name, value, "a moment in Unix milliseconds")
    return number


def day(record: dict[str, Any], name: str) -> str | None:
    """Read a `yyyymmdd` number as `YYYY-MM-DD`; None when there is none, and for 0."""
    value = record.get(name)
    if value is None:
        return None
    number = value if type(value) is int else whole_number(value)
    if number == 0:
        return None
    iso_day = None if number is None else _iso_day(number)
    if iso_day is None:
        raise _unreadable(name, value, "a day (yyyymmdd)")
    return iso_day


def text(record: dict[str, Any], name: str) -> str:
    """Read a string; empty when there is none."""
    value = record.get(name)
    if value is None:
        return ""
    if type(value) is str:
        return value
    raise _unreadable(name, value, "text")


def list_is_filled(record: dict[str, Any], name: str) -> bool:
    """Tell whether a list that may be missing holds anything."""
    value = record.get(name)
    if value is None or type(value) is list:
        return bool(value)
    raise _unreadable(name, value, "a list")


def whole_number(value: object) -> int | None:
    """Return a whole number given as a number or as a string of digits, 0 for what is empty, None for all else."""
    if type(value) is int:
        return value
    if value is None or value == "":
        return 0
    if type(value) is str and len(value) <= _MOST_DIGITS and value.isascii() and value.isdigit():
        return int(value)
    return None


@lru_cache(maxsize=4096)
def _iso_day(number: int) -> str | None:
    if not _EARLIEST_DAY <= number <= _LATEST_DAY:
        return None
    try:
        return date(number // 10000, number // 100 % 100, number % 100).isoformat()
    except ValueError:
        return None


def _unreadable(name: str, value: object, expected: str) -> UnreadableError:
    return UnreadableError(f"`{name}` should be {expected}, but is {_described(value)}")


def _described(value: object) -> str:
    """Show a number, and of everything else, which may be personal, only the kind."""
    match value:
        case None:
            return "missing"
        case bool():
            return "true or false"
        case int() | float():
            return str(value)
        case "":
            return "empty"
        case str():
            return "other text"
        case list():
            return "a list"
        case _:
            return "an object"
