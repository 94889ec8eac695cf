"""What somebody probably meant who wrote something that does not exist."""

import difflib
from collections.abc import Iterable

_LIKELY = 0.5


def nearest(given: str, known: Iterable[str]) -> str | None:
    """Return the known word that is most like `given`, None when none is like it."""
    matches = difflib.get_close_matches(given.lower(), list(known), n=1, cutoff=_LIKELY)
    return matches[0] if matches else None


def hint(given: object, known: Iterable[str]) -> str:
    """Say which known word was probably meant, else which there are; `given` itself is not repeated."""
    words = list(known)
    likely = nearest(given, words) if isinstance(given, str) else None
    if likely is not None:
        return f"did you mean `{likely}`?"
    return f"known: {', '.join(words)}" if words else "there are none"
