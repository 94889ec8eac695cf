"""Reads a secret from an option's value, or from a file that the value `@FILE` names."""

import sys
from pathlib import Path
from typing import Final

from notifier.cli.errors import CommandError

FROM_FILE: Final = "@"
LONGEST_SECRET: Final = 65_536


def read_secret(value: str | None) -> str | None:
    """Return the secret that `value` contains or names.

    For `@FILE`, this is the content of the file. For `@-`, this is the first line of standard input. Any other `value`
    is the secret itself. Raises CommandError if the file cannot be read.
    """
    if not (value or "").startswith(FROM_FILE) or value is None:
        return value
    file = value.removeprefix(FROM_FILE)
    try:
        if file == "-":
            return sys.stdin.readline(LONGEST_SECRET).strip()
        return Path(file).read_text(encoding="utf-8")[:LONGEST_SECRET].strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise CommandError(f"{file} cannot be read: {why}") from error
