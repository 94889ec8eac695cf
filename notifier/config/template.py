"""Makes the commented configuration of a new installation from the example file, which lists every key."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from pydantic import ValidationError

from notifier.config.error_messages import explain
from notifier.config.errors import Problem
from notifier.config.layers import variable_name
from notifier.config.loader import validation_context
from notifier.config.settings import Settings

_TABLE: Final = re.compile(r"(?:# )?\[(?P<name>[a-z0-9_.-]+)\]")
_KEY: Final = re.compile(r'(?:# )?(?P<key>[a-z_0-9]+) = (?:[^#"]|"[^"]*")*(?P<comment>#.*)?')
_COMMENT_COLUMN: Final = 32
_FIRST_LINE: Final = "# Completion Notifier: every key; the keys in comments have their defaults."
_ALWAYS_ACTIVE_TABLES: Final = ("store", "log", "http", "alerts")


class StoredElsewhere(Struct, frozen=True):
    """Marks a secret that is stored in a credential file or a variable, not in the configuration file."""


Values = Mapping[str, Mapping[str, str | StoredElsewhere]]
"""The values to set, by table in the example (such as `sources.acme`) and by key."""


def read_example() -> str:
    """Return the text of config.example.toml, which has every key with its default."""
    return Path(__file__).with_name("example.toml").read_text(encoding="utf-8")


def fill_in_example(text: str, names: Mapping[str, str], values: Values) -> str:
    """Return a configuration made from the example's `text`.

    Keys without a value in `values` are commented out. `names` maps the names of the example's sources and destinations
    to the names to use instead.
    """
    _, _, rest = text.partition("\n")
    return "\n".join([_FIRST_LINE, *_lines(rest, names, values)]) + "\n"


def validate_values(values: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Return the problems of a configuration with these values. The messages never contain a value."""
    try:
        Settings.model_validate(values, context=validation_context(values, {}))
    except ValidationError as error:
        return tuple(explain(error, ()))
    return ()


def _replace_names(text: str, names: Mapping[str, str]) -> str:
    if not names:
        return text
    old = "|".join(map(re.escape, names))
    text = re.sub(rf"(?<![\w.-])(?:{old})(?![\w-])|(?<=[a-z]\.)(?:{old})(?=\])", lambda it: names[it[0]], text)
    variables = {_variable_segment(name): _variable_segment(new) for name, new in names.items()}
    return re.sub("|".join(map(re.escape, variables)), lambda it: variables[it[0]], text)


def _variable_segment(name: str) -> str:
    return f"__{name.upper().replace('-', '_')}__"


def _lines(text: str, names: Mapping[str, str], values: Values) -> Iterator[str]:
    table = ""
    for line in text.splitlines():
        if header := _TABLE.fullmatch(line):
            table = header["name"]
            named = _replace_names(f"[{table}]", names)
            yield named if table in (*_ALWAYS_ACTIVE_TABLES, *values) else f"# {named}"
        elif key := _KEY.fullmatch(line):
            value = values.get(table, {}).get(key["key"])
            if value is None:
                yield line if line.startswith("# ") else f"# {line}"
            elif isinstance(value, StoredElsewhere):
                place = (*_replace_names(f"[{table}]", names)[1:-1].split("."), key["key"])
                yield f"# {key['key']}: in the credential file or variable {variable_name(place)}"
            else:
                written = f"{key['key']} = {json.dumps(value, ensure_ascii=False)}"
                yield f"{written:<{_COMMENT_COLUMN - 2}}  {key['comment'] or ''}".rstrip()
        else:
            yield _replace_names(line, names)
