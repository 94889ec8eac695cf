"""Parses faults and edits, written as `NAME[:VALUE][,key=value,...]`, such as `late:4s,page=1` or `hang,times=1`."""

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct

_NAME = re.compile(r"[^:,]*")
_DURATION = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class NotationError(ValueError):
    """A fault or an edit is written wrongly; the message says what is wrong."""


class ParsedNotation(Struct, frozen=True):
    """The parts of a fault or an edit; `value` is empty if the text has none."""

    name: str
    value: str
    parameters: Mapping[str, str]

    def allow_only(self, known: Iterable[str]) -> None:
        """Raise NotationError if a parameter is not in `known`."""
        allowed = [*known]
        for key in self.parameters:
            if key not in allowed:
                raise NotationError(f"`{self.name}` has no `{key}`; its parameters are {', '.join(allowed)}")


def parse_notation(text: str) -> ParsedNotation:
    """Split a fault or an edit into its parts. Raises NotationError."""
    text = text.strip()
    name = "" if (begin := _NAME.match(text)) is None else begin[0]
    has_value, rest = text[len(name) :][:1] == ":", text[len(name) + 1 :]
    value = ""
    parameters: dict[str, str] = {}
    for part in filter(None, rest.split(",")):
        key, equals, said = part.partition("=")
        if not equals and not value and has_value:
            value = key
        elif not equals or not said or key in parameters:
            raise NotationError(f"`{part}` must be written once, as key=value")
        else:
            parameters[key] = said
    return ParsedNotation(name, value, parameters)


def parse_seconds(text: str) -> float:
    """Parse a duration, which may be negative, such as `500ms`, `4s`, `5m`, `6h` or `-1d`. Raises NotationError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise NotationError(f"`{text}` is not a duration such as 500ms, 4s, 5m, 6h or 1d")
    return float(match[1]) * _SECONDS[match[2]]


def parse_number(text: str, *, least: int = 1) -> int:
    """Parse a whole number that is at least `least`. Raises NotationError."""
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise NotationError(f"`{text}` must be a whole number from {least}")
    return number


def parse_offset(text: str) -> int:
    """Parse a whole number with or without a sign, such as `+1` or `-1`. Raises NotationError."""
    try:
        return int(text)
    except ValueError as error:
        raise NotationError(f"`{text}` must be a whole number, such as +1 or -1") from error
