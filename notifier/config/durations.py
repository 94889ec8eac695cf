"""Lengths of time as they are written in the configuration: `500ms`, `30s`, `5m`, `6h`, `3d`."""

import re
from typing import Annotated, Final

from pydantic import Field, PlainSerializer, PlainValidator

from notifier.config.errors import InvalidValue

_MILLISECONDS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
PATTERN: Final = r"^([0-9]{1,15})(ms|s|m|h|d)$"
_EXAMPLES: Final = '"500ms", "30s", "5m", "6h" or "3d"'
_LONGEST_DAYS: Final = 36_500


def parse_duration(written: object) -> float:
    """Return a duration such as `"30s"` in seconds.

    Raises InvalidValue for any other value, for zero, and for more than a hundred years (`"36500d"`).
    """
    if isinstance(written, int | float) and not isinstance(written, bool):
        raise InvalidValue(f"must be a duration in quotes, with its unit, such as {_EXAMPLES}; a plain number has none")
    match = re.fullmatch(PATTERN, written) if isinstance(written, str) else None
    if match is None:
        raise InvalidValue(f"must be a duration, one whole number and one unit, such as {_EXAMPLES}")
    milliseconds = int(match[1]) * _MILLISECONDS[match[2]]
    if milliseconds == 0:
        raise InvalidValue(f"must be longer than zero, such as {_EXAMPLES}")
    if milliseconds > _LONGEST_DAYS * _MILLISECONDS["d"]:
        raise InvalidValue(f'must be at most "{_LONGEST_DAYS}d" (a hundred years)')
    return milliseconds / 1000


def format_duration(seconds: float) -> str:
    """Return a duration as it is written in the configuration, in the largest unit that gives a whole number.

    The value is rounded to whole milliseconds, and is at least one millisecond.
    """
    milliseconds = max(1, round(seconds * 1000))
    unit = max((u for u in _MILLISECONDS if milliseconds % _MILLISECONDS[u] == 0), key=_MILLISECONDS.__getitem__)
    return f"{milliseconds // _MILLISECONDS[unit]}{unit}"


DurationText = Annotated[str, Field(pattern=PATTERN)]
"""A duration as it is written in the configuration, such as `30s`."""

Duration = Annotated[
    float,
    PlainValidator(parse_duration, json_schema_input_type=DurationText),
    PlainSerializer(format_duration, return_type=str),
]
"""A duration in seconds: `"30s"` in the configuration is 30.0 in the settings."""
