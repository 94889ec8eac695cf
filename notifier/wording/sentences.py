"""Sentences about the notifier itself.

Sentences are created in English, and can be shown in another language. A sentence is a text of the catalogue, with
values for its placeholders. The catalogues `en.toml` and `es.toml` have the same texts and placeholders. Values, such
as text from a peer or a person, are not translated.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any, Final, Self

ENGLISH: Final = "en"

_MAX_LEVELS: Final = 10


_TEXTS: Final[Mapping[str, str]] = {
    file.stem: file.read_text(encoding="utf-8") for file in sorted(Path(__file__).parent.glob("*.toml"))
}
"""The catalogues as TOML, by language. They are read at import, because an upgrade may replace the files later."""

LANGUAGES: Final = frozenset(_TEXTS)
"""The languages that have a catalogue."""


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """Return the texts of a language, by `table.name`. The first call parses the catalogue."""
    tables = tomllib.loads(_TEXTS[language])
    return {f"{table}.{name}": text for table, texts in tables.items() for name, text in texts.items()}


class Sentence(str):
    """An English sentence that keeps the name of its text and the values, so that it can be translated.

    It is a `str`, so any code can show and store it. `name` is the `table.name` of the text in the catalogue. A value
    is a number, a text, a sentence, or a list of these.
    """

    __slots__ = ("name", "values")

    name: str
    values: Mapping[str, Any]

    def __new__(cls, name: str, /, **values: Any) -> Self:
        """Make a sentence from the text `name` and these values."""
        made = super().__new__(cls, _fill(catalogue(ENGLISH)[name], values))
        made.name, made.values = name, values
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the function and the arguments that copy the sentence, for `pickle` and `copy`."""
        return _rebuild, (self.name, dict(self.values))

    def document(self) -> dict[str, Any]:
        """Return the sentence as a JSON object, from which `render_document` makes text in any language."""
        return {"text": self.name, "values": {name: to_document(value) for name, value in self.values.items()}}


def to_document(value: Any) -> Any:
    """Return a sentence's value in a form that can be written as JSON."""
    if isinstance(value, Sentence):
        return value.document()
    if isinstance(value, list):
        return [to_document(one) for one in value]
    return value if isinstance(value, int) else str(value)


def render_document(document: Any, language: str) -> str | None:
    """Return the sentence of `document` in a language; None if `document` does not fit that language's catalogue."""
    try:
        return _render(document, catalogue(language), _MAX_LEVELS)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError):
        # The object may be from another version, which has other texts or placeholders.
        return None


def has_text(name: str) -> bool:
    """Return whether the catalogue has a text of this name."""
    return name in catalogue(ENGLISH)


def catalogue_text(name: str, language: str) -> str | None:
    """Return a text of the catalogue with its placeholders unfilled; None if there is no text of this name."""
    return catalogue(language).get(name)


def _rebuild(name: str, values: dict[str, Any]) -> Sentence:
    return Sentence(name, **values)


def _render(document: Mapping[str, Any], texts: Mapping[str, str], levels: int) -> str:
    if not levels:
        raise ValueError("nested too deeply")
    values = {name: _render_value(value, texts, levels - 1) for name, value in document["values"].items()}
    return _fill(texts[document["text"]], values)


def _render_value(value: Any, texts: Mapping[str, str], levels: int) -> Any:
    if isinstance(value, dict):
        return _render(value, texts, levels)
    return [_render_value(one, texts, levels) for one in value] if isinstance(value, list) else value


class _PlaceholderFormatter(Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, list):
            return "; ".join(map(str, value))
        number = f"{value:,}" if isinstance(value, int) else str(value)
        if not format_spec:
            return number
        one, many = format_spec.split("|")
        return f"{number} {one if value == 1 else many}"


def _fill(text: str, values: Mapping[str, Any]) -> str:
    return _PlaceholderFormatter().vformat(text, (), values)
