"""What is wrong with a configuration, told so that one can put it right; a value is never part of what is told."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    `key` is where: a dotted key (`sources.acme.token`), a variable, a credential file or the configuration file.
    `message` is what, and what would be right.
    """

    key: str
    message: str

    def __str__(self) -> str:
        """Write the problem as one line, whatever characters a key has."""
        line = f"{self.key}: {self.message}"
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


class ConfigError(Exception):
    """The configuration is wrong or missing: `problems` is everything that was found, `str()` a line for each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Remember the problems."""
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class Wrong(ValueError):  # noqa: N818 - reads as what it says: `raise Wrong("must be positive")`
    """A value is wrong; the sentence says what would be right and never repeats the value."""


class Conflicts(Wrong):
    """Values of one table do not go together, though each is right by itself; the problems' keys start at the table."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Remember the problems."""
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))


def dotted(path: Iterable[str | int]) -> str:
    """Write a path as TOML does, list positions in brackets from 0: `destinations.hr-system.events[1]`."""
    written = ""
    for part in path:
        match part:
            case int():
                written += f"[{part}]"
            case _:
                key = part if _BARE_KEY.fullmatch(part) else json.dumps(part, ensure_ascii=False)
                written += f".{key}" if written else key
    return written
