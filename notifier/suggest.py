"""Suggests a known name for a name that does not exist."""

from collections.abc import Iterable
from typing import Final

TYPOGRAPHIC_QUOTES: Final = "\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb"
"""The quotation marks with which word processors and chat programs replace straight quotes."""

_LEAST_SIMILARITY = 0.5


def nearest(given: str, known: Iterable[str]) -> str | None:
    """Return the known word that is most similar to `given`; None if no word is similar."""
    # Imported here, because only an error message needs it.
    import difflib  # noqa: PLC0415

    matches = difflib.get_close_matches(given.lower(), list(known), n=1, cutoff=_LEAST_SIMILARITY)
    return matches[0] if matches else None


def hint(given: object, known: Iterable[str]) -> str:
    """Return a text that suggests the known word most similar to `given`; if no word is similar, it lists all words.

    The text does not contain `given`.
    """
    words = list(known)
    likely = nearest(given, words) if isinstance(given, str) else None
    if likely is not None:
        return f"did you mean `{likely}`?"
    return f"known: {', '.join(words)}" if words else "there are none"
