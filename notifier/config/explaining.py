"""From pydantic's errors to problems that tell an operator what to write instead."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from notifier.config import shape
from notifier.config.layers import Layer, variable_name
from notifier.config.problems import Conflicts, Problem, Wrong, dotted
from notifier.config.settings import Settings
from notifier.config.suggestions import hint, nearest
from notifier.config.tables import Table

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_NOT_TEXT: Final = "must be text in quotes"
_NOT_WHOLE: Final = "must be a whole number"
_NOT_NUMBER: Final = "must be a number"
_NOT_BOOLEAN: Final = "must be true or false"
_NOT_LIST: Final = 'must be a list, such as ["..."]'
_NOT_TABLE: Final = "must be a table of keys and values"

_SENTENCES: Final[Mapping[str, str]] = {
    "string_type": _NOT_TEXT,
    "string_unicode": _NOT_TEXT,
    "string_too_short": "must not be empty",
    "int_type": _NOT_WHOLE,
    "int_parsing": _NOT_WHOLE,
    "int_parsing_size": _NOT_WHOLE,
    "int_from_float": _NOT_WHOLE,
    "float_type": _NOT_NUMBER,
    "float_parsing": _NOT_NUMBER,
    "finite_number": _NOT_NUMBER,
    "bool_type": _NOT_BOOLEAN,
    "bool_parsing": _NOT_BOOLEAN,
    "tuple_type": _NOT_LIST,
    "dict_type": _NOT_TABLE,
    "model_type": _NOT_TABLE,
    "model_attributes_type": _NOT_TABLE,
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
}
_QUOTED: Final = re.compile(r"'([^']*)'")
_NO_SOURCE: Final = "at least one is needed: a table [sources.NAME] with a token, or NOTIFIER_SOURCES__NAME__TOKEN"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an error is.

    `path` are the keys, `kind` is the type of what stands there, `table` the type of what holds it, and `siblings` are
    the tables of other types that could be in its place.
    """

    path: tuple[str | int, ...]
    kind: Any
    table: Any
    siblings: tuple[type[Table], ...]


def explain(error: ValidationError, layers: Sequence[Layer]) -> Iterator[Problem]:
    """Yield the problems behind pydantic's error, none of which repeats a value.

    `layers` are those whose merged values were validated, the strongest first: a value from a variable or a
    credential file would be looked for in vain in the configuration file.
    """
    for details in error.errors(include_url=False):
        place = _locate(details["loc"])
        wrong = details.get("ctx", {}).get("error")
        if isinstance(wrong, Conflicts):
            for problem in wrong.problems:
                yield Problem(".".join(filter(None, (dotted(place.path), problem.key))), problem.message)
            continue
        path = (*place.path, shape.TYPE_KEY) if details["type"].startswith("union_tag") else place.path
        origin = next((layer.origin for layer in layers if layer.holds(path)), None)
        message = _message(details, place)
        yield Problem(dotted(path), f"{message} (from {origin})" if origin else message)


def _locate(loc: tuple[str | int, ...]) -> _Place:
    """Take pydantic's marks out of a location: the `type` of a member of a union, and `[key]` behind a bad key."""
    kind: Any = Settings
    table: Any = None
    siblings: tuple[type[Table], ...] = ()
    path: list[str | int] = []
    for part in loc[:-1] if loc[-1:] == ("[key]",) else loc:
        if len(members := shape.tables(kind)) > 1:
            kind = next(member for member in members if part in shape.tags(member))
            siblings = tuple(member for member in members if member is not kind)
        else:
            path.append(part)
            table, kind = kind, shape.child(kind, str(part))
    return _Place(tuple(path), kind, table, siblings)


def _message(details: "ErrorDetails", place: _Place) -> str:
    context = details.get("ctx", {})
    match details["type"]:
        case "missing" | "too_short" if place.path == ("sources",):
            return _NO_SOURCE
        case "missing":
            return f"is required; set it in the file or as {variable_name(place.path)}"
        case "extra_forbidden":
            return _unknown_key(str(place.path[-1]), place)
        case "enum" | "literal_error":
            return _one_of(context["expected"], details["input"])
        case "union_tag_invalid":
            return _one_of(context["expected_tags"], context["tag"])
        case "union_tag_not_found":
            return f"is required: {_alternatives(shape.tags(place.kind))}"
        case "value_error" if isinstance(context["error"], Wrong):
            return str(context["error"])
        case known if known in _SENTENCES:
            return _SENTENCES[known].format(**context)
        case _:
            return "is not a value that is possible here"


def _unknown_key(key: str, place: _Place) -> str:
    known = place.table.model_fields
    owners = [tag for table in place.siblings if key in table.model_fields for tag in shape.tags(table)]
    if owners:
        return f"unknown key here: it belongs to the type {_alternatives(owners)}"
    return f"unknown key; {hint(key, known)}"


def _one_of(quoted: str, given: Any) -> str:
    """Say which words are allowed, from pydantic's list of them, and which one was probably meant."""
    words = _QUOTED.findall(quoted)
    allowed = f"must be {_alternatives(words)}"
    likely = nearest(given, words) if isinstance(given, str) else None
    return f"{allowed}; did you mean `{likely}`?" if likely else allowed


def _alternatives(words: list[str]) -> str:
    *others, last = (f'"{word}"' for word in words)
    return f"{', '.join(others)} or {last}" if others else last
