"""Reads a secret from an option: the value itself, or `@FILE`, because other users can see command lines."""

import sys
from pathlib import Path
from typing import Final

from notifier.cli.errors import CommandError

FROM_FILE: Final = "@"
LONGEST_SECRET: Final = 65_536


def read_secret(value: str | None) -> str | None:
    """Return `value` itself or, if it is `@FILE`, the content of that file; `@-` is the first line of standard input.

    Raises CommandError if the file cannot be read.
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
