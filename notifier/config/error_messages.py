"""Turns pydantic's errors into problems that tell the operator what to write instead."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from pydantic import ValidationError

from notifier.config import introspection
from notifier.config.base_table import BaseTable
from notifier.config.errors import InvalidCombination, InvalidValue, Problem, dotted
from notifier.config.layers import Layer, variable_name
from notifier.config.settings import Settings
from notifier.suggest import hint, nearest

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
_APPRISE_ADVICE: Final = 'it is one of the services of type = "apprise"'
_TYPE_ADVICE: Final[Mapping[str, str]] = {
    **dict.fromkeys(("webhook", "webhooks", "https", "url", "rest", "standard", "cloudevents"), 'write type = "http"'),
    **dict.fromkeys(("email", "mail", "smtp", "mailto"), 'write type = "apprise", with a URL mailto://...'),
    **dict.fromkeys(("discord", "telegram", "ntfy", "pushover", "matrix", "mattermost", "sms"), _APPRISE_ADVICE),
    **dict.fromkeys(("sqs", "sns", "eventbridge", "events", "amazon"), 'write type = "aws"'),
    **dict.fromkeys(("redpanda", "eventhubs", "event-hubs", "confluent"), 'write type = "kafka"'),
    **dict.fromkeys(("rabbitmq", "rabbit", "amqps", "lavinmq"), 'write type = "amqp"'),
    **dict.fromkeys(("mosquitto", "mqtts", "hivemq", "emqx"), 'write type = "mqtt"'),
    **dict.fromkeys(("msteams", "ms-teams", "microsoft-teams"), 'write type = "teams"'),
}
"""The advice for each wrong `type` that people often write for a destination."""

_INCOMPLETE: Final = frozenset({"missing", "union_tag_not_found"})
"""The types of pydantic's errors about a key that a table needs and does not have."""

_QUOTED: Final = re.compile(r"'([^']*)'")
_NO_SOURCE: Final = (
    "at least one source is required: a table [sources.NAME] with a token, or NOTIFIER_SOURCES__NAME__TOKEN"
)


class _Place(Struct, frozen=True):
    """The place of an error in the configuration."""

    path: tuple[str | int, ...]
    """The keys that lead to the wrong value."""
    kind: Any
    """The type that the value must have."""
    table: Any
    """The type of the table that contains the value."""
    siblings: tuple[type[BaseTable], ...]
    """The classes that other values of the key `type` would select; empty if no table on the path has this key."""


def explain(error: ValidationError, layers: Sequence[Layer]) -> Iterator[Problem]:
    """Yield a problem for each error that pydantic found. No problem contains a configured value.

    pydantic has validated the merged values of `layers`. The first layer is the strongest. A problem names the
    variable or credential file that sets the wrong value.
    """
    for details in error.errors(include_url=False):
        place = _locate(details["loc"])
        wrong = details.get("ctx", {}).get("error")
        if isinstance(wrong, InvalidCombination):
            for problem in wrong.problems:
                yield Problem(".".join(filter(None, (dotted(place.path), problem.key))), problem.message)
            continue
        path = (*place.path, introspection.TYPE_KEY) if details["type"].startswith("union_tag") else place.path
        origin = next((layer.origin for layer in layers if layer.sets(path)), None)
        message = _message(details, place)
        if origin:
            message += f" (from {origin})"
        elif details["type"] in _INCOMPLETE and (leftover := _only_mention(place.path[:2], layers)):
            message += f"; only {leftover} mentions {dotted(place.path[:2])}: remove it if it is left over"
        yield Problem(dotted(path), message)


def _only_mention(table: Sequence[str | int], layers: Sequence[Layer]) -> str | None:
    """Return the first variable or credential file that sets a key in `table`.

    Returns None if nothing sets a key in `table`, or if a TOML file sets one.
    """
    owners = [layer.origin for layer in layers if layer.sets(table)]
    return None if None in owners else next(iter(owners), None)


def _locate(loc: tuple[str | int, ...]) -> _Place:
    """Return the place of an error; `loc` is the location that pydantic gives.

    `loc` consists of the keys that lead to the place. In two cases, `loc` has another part:

    - If the key `type` selects a table's class, the value of `type` follows the table's key.
    - If the last key itself is wrong, and not its value, `[key]` follows that key.
    """
    kind: Any = Settings
    table: Any = None
    siblings: tuple[type[BaseTable], ...] = ()
    path: list[str | int] = []
    for part in loc[:-1] if loc[-1:] == ("[key]",) else loc:
        if len(members := introspection.table_classes(kind)) > 1:
            kind = next(member for member in members if part in introspection.tags(member))
            siblings = tuple(member for member in members if member is not kind)
        else:
            path.append(part)
            table, kind = kind, introspection.key_type(kind, str(part))
    return _Place(tuple(path), kind, table, siblings)


def _message(details: "ErrorDetails", place: _Place) -> str:
    context = details.get("ctx", {})
    match details["type"]:
        case "missing" | "too_short" if place.path == ("sources",):
            return _NO_SOURCE
        case "missing":
            return f"is required; set it in the file, or as a variable or credential file {variable_name(place.path)}"
        case "extra_forbidden":
            return _unknown_key(str(place.path[-1]), place)
        case "enum" | "literal_error":
            return _must_be_one_of(context["expected"], details["input"])
        case "union_tag_invalid":
            allowed = _must_be_one_of(context["expected_tags"], context["tag"])
            meant = _TYPE_ADVICE.get(str(context["tag"]).lower())
            return f"{allowed}; {meant}" if meant else allowed
        case "union_tag_not_found":
            return f"is required: {_alternatives(introspection.tags(place.kind))}"
        case "value_error" if isinstance(context["error"], InvalidValue):
            return str(context["error"])
        case "model_type" | "model_attributes_type" if place.path[:-1] == ("sources",) and _is_source_key(place):
            return "is a key of a source: put it into a table [sources.NAME], with a name of your choice"
        case known if known in _SENTENCES:
            return _SENTENCES[known].format(**context)
        case _:
            return "is not a valid value"


def _unknown_key(key: str, place: _Place) -> str:
    known = place.table.model_fields
    owners = [tag for table in place.siblings if key in table.model_fields for tag in introspection.tags(table)]
    if owners:
        return f"unknown key here: it belongs to the type {_alternatives(owners)}"
    if nearest(key, known) is None and (table := _only_table_with(key)):
        return f"unknown key here: it belongs in `[{table}]`"
    return f"unknown key; {hint(key, known)}"


def _is_source_key(place: _Place) -> bool:
    return str(place.path[-1]) in {
        key for table in introspection.table_classes(place.kind) for key in table.model_fields
    }


def _only_table_with(key: str) -> str | None:
    """Return the name of the only table that can have this key; None if no table, or more than one, can have it."""
    tables = []
    for name, field in Settings.model_fields.items():
        type_of_entries = introspection.entry_type(field.annotation)
        kind, table = (field.annotation, name) if type_of_entries is None else (type_of_entries, f"{name}.NAME")
        if any(key in table.model_fields for table in introspection.table_classes(kind)):
            tables.append(table)
    return tables[0] if len(tables) == 1 else None


def _must_be_one_of(quoted: str, given: Any) -> str:
    """Return a message with the allowed words, and with the allowed word that is most similar to `given`.

    `quoted` is pydantic's text, in which the allowed words stand in quotes.
    """
    words = _QUOTED.findall(quoted)
    allowed = f"must be {_alternatives(words)}"
    likely = nearest(given, words) if isinstance(given, str) else None
    return f"{allowed}; did you mean `{likely}`?" if likely else allowed


def _alternatives(words: list[str]) -> str:
    *others, last = (f'"{word}"' for word in words)
    return f"{', '.join(others)} or {last}" if others else last
