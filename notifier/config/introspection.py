"""Inspects the classes of the settings: which keys each table of the configuration can have, and of which types."""

import os
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from notifier.config.base_table import BaseTable

TYPE_KEY = "type"
"""The key whose value selects the class of a table."""


def union_members(kind: Any) -> Iterator[Any]:
    """Yield the members of a union type. For any other type, yield the type itself. `Annotated` is removed."""
    origin = get_origin(kind)
    if origin is Annotated:
        yield from union_members(get_args(kind)[0])
    elif origin in {Union, types.UnionType}:
        for member in get_args(kind):
            yield from union_members(member)
    else:
        yield kind


def table_classes(kind: Any) -> list[type[BaseTable]]:
    """Return the table classes among the members of a type. If there are several, the key `type` selects one."""
    return [option for option in union_members(kind) if isinstance(option, type) and issubclass(option, BaseTable)]


def entry_type(kind: Any) -> Any | None:
    """If `kind` is a table whose keys are names, such as `sources`, return the type of its values; otherwise, None."""
    return next((get_args(option)[1] for option in union_members(kind) if get_origin(option) is dict), None)


def _item_type(kind: Any) -> Any | None:
    """Return the type of a list's items; None if `kind` is not a list."""
    return next((get_args(option)[0] for option in union_members(kind) if get_origin(option) is tuple), None)


def key_type(kind: Any, key: str) -> Any | None:
    """Return the type of `key` in a table of this type, or None if the table cannot have that key."""
    for table in table_classes(kind):
        if key in table.model_fields:
            return table.model_fields[key].annotation
    return entry_type(kind)


def tags(kind: Any) -> list[str]:
    """Return the values that `type` can have in tables of the type `kind`, in the order of the table classes."""
    typed = [table.model_fields[TYPE_KEY] for table in table_classes(kind) if TYPE_KEY in table.model_fields]
    return [tag for field in typed for tag in get_args(field.annotation)]


def takes_json(kind: Any) -> bool:
    """Return whether a value of the type `kind` can be a list or a table. Variables contain such values as JSON."""
    return bool(table_classes(kind)) or any(get_origin(option) in {dict, tuple} for option in union_members(kind))


def resolve_paths(value: Any, kind: Any, folder: Path) -> Any:
    """Return a value of the type `kind` in which relative paths start from `folder` and `~` is expanded.

    Paths inside tables and lists are changed, too. Empty paths, and values that are not paths, stay as they are.
    """
    if isinstance(value, dict) and kind is not None:
        return {key: resolve_paths(below, key_type(kind, key), folder) for key, below in value.items()}
    if isinstance(value, list) and (members := _item_type(kind)) is not None:
        return [resolve_paths(member, members, folder) for member in value]
    if isinstance(value, str) and value and Path in union_members(kind):
        return str(folder / os.path.expanduser(value))  # noqa: PTH111 - Path.expanduser() raises without a home
    return value
