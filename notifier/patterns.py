"""Lists of patterns in filters, such as `["Crane*", "!Crane Refresher"]`. Pure.

`*` matches any text, `?` matches one character, and every other character matches itself. Case is ignored. A pattern
that begins with `!` excludes the texts that it matches. The order does not matter. A list that has only exclusions
admits everything else.
"""

import fnmatch
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final, Self

from msgspec import Struct

EXCLUDES: Final = "!"
"""The first character of a pattern that excludes the texts it matches."""

_PERSON_ID: Final = re.compile(r"[0-9a-fA-F]{24}")
_MATCHES_NOTHING: Final = re.compile(r"(?!)")
_ANY_CHARACTER: Final = "\N{REPLACEMENT CHARACTER}"
_LONG_TEXT: Final = 1000


class Patterns(Struct, frozen=True):
    """A list of patterns. An empty list admits everything. `written` holds the patterns as the operator wrote them."""

    written: tuple[str, ...] = ()
    _included: re.Pattern[str] = _MATCHES_NOTHING
    _excluded: re.Pattern[str] = _MATCHES_NOTHING
    _includes_all: bool = True

    @classmethod
    def of(cls, written: Iterable[str]) -> Self:
        """Compile a list of patterns."""
        patterns = tuple(written)
        wanted = [pattern for pattern in patterns if not pattern.startswith(EXCLUDES)]
        excluded = [pattern.removeprefix(EXCLUDES) for pattern in patterns if pattern.startswith(EXCLUDES)]
        return cls(patterns, _compiled(wanted), _compiled(excluded), not wanted)

    def __bool__(self) -> bool:
        """Return whether the list contains any pattern."""
        return bool(self.written)

    def rejects(self, texts: Collection[str], *, is_complete: bool = True) -> bool:
        """Return whether the list rejects an object with these texts, such as a training with its title and id.

        If `is_complete` is false, the object may have further texts, which are unknown. Then only an exclusion rejects
        the object.
        """
        folded = [text.casefold() for text in texts]
        if any(self._excluded.match(text) for text in folded):
            return True
        if self._includes_all or any(self._included.match(text) for text in folded):
            return False
        return is_complete

    def could_change(self, texts: Collection[str]) -> bool:
        """Return whether the result of `rejects` for these texts could change if further texts became known."""
        if not self.written or self.rejects(texts, is_complete=False):
            return False
        has_exclusions = any(pattern.startswith(EXCLUDES) for pattern in self.written)
        return has_exclusions or not any(self._included.match(text.casefold()) for text in texts)


def matches_any(pattern: str, texts: Iterable[str]) -> bool:
    """Return whether a pattern matches any of these texts; a `!` at its beginning is ignored."""
    compiled = _compiled([pattern.removeprefix(EXCLUDES)])
    return any(compiled.match(text.casefold()) for text in texts)


def admits_nothing(written: Collection[str]) -> bool:
    """Return whether the exclusions of a list reject all that its other patterns admit, as in `["Crane*", "!*"]`."""
    wanted = [pattern for pattern in written if not pattern.startswith(EXCLUDES)] or (["*"] if written else [])
    excluded = [pattern.removeprefix(EXCLUDES) for pattern in written if pattern.startswith(EXCLUDES)]
    return bool(wanted) and all(any(_covers(wide, narrow) for wide in excluded) for narrow in wanted)


def _covers(wide: str, narrow: str) -> bool:
    """Return whether the pattern `wide` matches everything that the pattern `narrow` matches."""
    # Each `*` of `narrow` is replaced by an empty text and by a long text, which only a `*` of `wide` can match.
    examples = [narrow.replace("?", _ANY_CHARACTER).replace("*", text) for text in ("", _ANY_CHARACTER * _LONG_TEXT)]
    return all(matches_any(wide, [example]) for example in examples)


def is_person_id(pattern: str) -> bool:
    """Return whether a pattern is a person's id (24 hex digits); a `!` at its beginning is ignored.

    The id of a completion's person is always known. Other patterns match employee numbers, which may be unknown.
    """
    return _PERSON_ID.fullmatch(pattern.removeprefix(EXCLUDES)) is not None


def _compiled(patterns: Sequence[str]) -> re.Pattern[str]:
    if not patterns:
        return _MATCHES_NOTHING
    # fnmatch would read `[...]` as a set of characters, but titles contain brackets. No pattern makes matching slow,
    # because the expressions of fnmatch do not backtrack over more than one `*`.
    return re.compile("|".join(fnmatch.translate(pattern.casefold().replace("[", "[[]")) for pattern in patterns))
