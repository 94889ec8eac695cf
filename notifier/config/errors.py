"""Errors of a configuration, described so that an operator can correct them. No description contains a value."""

import json
import re
from collections.abc import Iterable, Iterator

from msgspec import Struct

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Problem(Struct, frozen=True):
    """One problem of a configuration.

    `key` is its location: a dotted key (`sources.acme.token`), a variable, a credential file or the configuration file.
    `message` says what is wrong and what would be right.
    """

    key: str
    message: str

    def __str__(self) -> str:
        """Return the problem as one line; unprintable characters are escaped."""
        line = f"{self.key}: {self.message}"
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def problem_if(key: str, sentence: str | None) -> Iterator[Problem]:
    """Yield a problem at `key` with the message `sentence`; yield nothing if `sentence` is None."""
    if sentence is not None:
        yield Problem(key, sentence)


class ConfigError(Exception):
    """The configuration is wrong or missing. `problems` has all problems found; `str()` returns one line for each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class InvalidValue(ValueError):  # noqa: N818 - reads as a sentence: `raise InvalidValue("must be positive")`
    """A value is wrong. The message says which values are allowed, and never contains the wrong value."""


class InvalidCombination(InvalidValue):
    """Values of one table contradict each other. The keys of `problems` are relative to the table."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))


def dotted(path: Iterable[str | int]) -> str:
    """Return the path of a key in TOML's notation, with list positions from 0: `destinations.hr-system.events[1]`."""
    written = ""
    for part in path:
        match part:
            case int():
                written += f"[{part}]"
            case _:
                key = part if _BARE_KEY.fullmatch(part) else json.dumps(part, ensure_ascii=False)
                written += f".{key}" if written else key
    return written
