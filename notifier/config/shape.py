"""Which keys the configuration can have where, read off its models."""

import os
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from notifier.config.tables import Table

TYPE_KEY = "type"
"""The key that tells the members of a union of tables apart."""


def options(kind: Any) -> Iterator[Any]:
    """Yield what a value of a type can be: the members of a union, without their annotations."""
    origin = get_origin(kind)
    if origin is Annotated:
        yield from options(get_args(kind)[0])
    elif origin in {Union, types.UnionType}:
        for member in get_args(kind):
            yield from options(member)
    else:
        yield kind


def tables(kind: Any) -> list[type[Table]]:
    """Return which tables with fixed keys a value of a type can be; more than one differ in `type`."""
    return [option for option in options(kind) if isinstance(option, type) and issubclass(option, Table)]


def entries(kind: Any) -> Any | None:
    """Return the type of the values of a table with free keys, None when a value of `kind` is none."""
    return next((get_args(option)[1] for option in options(kind) if get_origin(option) is dict), None)


def child(kind: Any, key: str) -> Any | None:
    """Return the type of what can stand under `key` in a value of a type, None when nothing can."""
    for table in tables(kind):
        if key in table.model_fields:
            return table.model_fields[key].annotation
    return entries(kind)


def tags(kind: Any) -> list[str]:
    """Return the values of `type` that tell the tables of a union apart, in their order."""
    typed = [table.model_fields[TYPE_KEY] for table in tables(kind) if TYPE_KEY in table.model_fields]
    return [tag for field in typed for tag in get_args(field.annotation)]


def takes_json(kind: Any) -> bool:
    """Tell whether a value of a type can be a list or a table, which a variable holds as JSON."""
    return bool(tables(kind)) or any(get_origin(option) in {dict, tuple} for option in options(kind))


def anchored(value: Any, kind: Any, folder: Path) -> Any:
    """Return a value of the configuration with its relative paths counted from `folder`, and `~` the user's home.

    Empty paths and whatever is no path stay as they are.
    """
    if isinstance(value, dict) and kind is not None:
        return {key: anchored(below, child(kind, key), folder) for key, below in value.items()}
    if isinstance(value, str) and value and Path in options(kind):
        return str(folder / os.path.expanduser(value))  # noqa: PTH111 - Path.expanduser() raises without a home
    return value
