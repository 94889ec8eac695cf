"""Parsers for single fields of a record: strict, with an error for every value that they do not accept.

The API sends numbers as numbers and sometimes as strings. A missing field, null and an empty value mean the same. The
meaning of any other form is not guessed, because a wrong guess could cause a false event.
"""

import math
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final

EARLIEST_MS = 1_104_537_600_000
"""The start of 2005 in Unix milliseconds. No record is older; a lower number may be a time in seconds."""
LATEST_MS = 253_402_300_799_999
"""The end of the last valid day, 9999-12-31, in Unix milliseconds; a higher number may be a time in microseconds."""
_EARLIEST_DAY = 1_01_01
_LATEST_DAY = 9999_12_31
_MAX_DIGITS = 18
_LONGEST_NUMBER = 32
_EXACT_BELOW: Final = float(2**53)
"""Whole numbers in JSON up to this value are exact, even if they are written as floats."""


class UnreadableError(Exception):
    """A field has a value that cannot be read; the message names the field and never quotes the record.

    `field` is the API's name of the field, None if the problem does not concern a single field.
    """

    def __init__(self, problem: str, field: str | None = None) -> None:
        """Initialise with the message and the field that it is about."""
        super().__init__(problem)
        self.field = field


def identifier(record: dict[str, Any], name: str) -> str:
    """Return a required id as a string; the API sends a whole number or a string."""
    found = _id(record.get(name))
    # SQLite's JSON functions end a string at U+0000, so that two ids could become the same.
    if not found or "\0" in found:
        raise _unreadable(name, record.get(name), "an id")
    return found


def optional_identifier(record: dict[str, Any], name: str) -> str | None:
    """Return an id as a string; None if it is missing."""
    value = record.get(name)
    if value is None or value == "":
        return None
    found = _id(value)
    if found is None:
        raise _unreadable(name, value, "an id")
    return found


def moment(record: dict[str, Any], name: str) -> int | None:
    """Return a time in Unix milliseconds without a check of its range; None if it is missing or 0."""
    value = record.get(name)
    number = value if type(value) is int else whole_number(value)
    if number == 0:
        return None
    if number is None:
        raise _unreadable(name, value, _A_MOMENT)
    return number


def plausible_moment(record: dict[str, Any], name: str) -> int | None:
    """Return a plausible time of entry in Unix milliseconds; None if it is missing or 0.

    A value in seconds or microseconds is rejected. If it were read as milliseconds, history would be reported as news,
    or news would be taken for history.
    """
    number = moment(record, name)
    if number is not None and not EARLIEST_MS <= number <= LATEST_MS:
        raise _unreadable(name, number, _A_MOMENT)
    return number


_A_MOMENT: Final = "a time since 2005 in Unix milliseconds"


def day(record: dict[str, Any], name: str) -> str | None:
    """Return a `yyyymmdd` number as `YYYY-MM-DD`; None if it is missing or 0."""
    return as_day(record.get(name), name)


def as_day(value: object, name: str) -> str | None:
    """Convert a `yyyymmdd` number to an ISO date, as `day` does; `name` is the field's name, for the error message."""
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
    """Return a string; empty if it is missing."""
    value = record.get(name)
    if value is None:
        return ""
    if type(value) is str:
        return value
    raise _unreadable(name, value, "text")


def list_is_filled(record: dict[str, Any], name: str) -> bool:
    """Return whether a field that is a list has any entries; False if it is missing."""
    value = record.get(name)
    if value is None or type(value) is list:
        return bool(value)
    raise _unreadable(name, value, "a list")


def whole_number(value: object) -> int | None:
    """Return a whole number given as a number or as text; 0 for null or "", None for any other value.

    The number may be written with an exponent (`3e2`), or with zeros after the point (`3.00`).
    """
    if type(value) is int:
        return value
    if value is None or value == "":
        return 0
    if type(value) is float:
        return int(value) if value.is_integer() and abs(value) <= _EXACT_BELOW else None
    if type(value) is not str or not value.isascii():
        return None
    if value.isdigit():
        return int(value) if len(value) <= _MAX_DIGITS else None
    return _parse_json_number(value)


def _parse_json_number(text: str) -> int | None:
    if len(text) > _LONGEST_NUMBER or not text[:1].isdigit() or "_" in text:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if not math.isfinite(number) or number.adjusted() >= _MAX_DIGITS or number != number.to_integral_value():
        return None
    return int(number)


def _id(value: object) -> str | None:
    """Return an id as text; None if the value is not an id."""
    if type(value) is int:
        return str(value)
    if type(value) is str:
        return value
    number = whole_number(value) if type(value) is float else None
    return None if number is None else str(number)


@lru_cache(maxsize=4096)
def _iso_day(number: int) -> str | None:
    if not _EARLIEST_DAY <= number <= _LATEST_DAY:
        return None
    try:
        return date(number // 10000, number // 100 % 100, number % 100).isoformat()
    except ValueError:
        return None


def _unreadable(name: str, value: object, expected: str) -> UnreadableError:
    return UnreadableError(f"`{name}` should be {expected}, but is {_describe(value)}", name)


def _describe(value: object) -> str:
    """Return a description of a value for an error message.

    A number is shown as it is. Any other value may be personal data, so only its type is named.
    """
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
