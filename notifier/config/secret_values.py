"""Finds the secrets in a configuration, to keep them out of all output and to check which file holds them."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, SecretStr


def secret_values(value: Any) -> Iterator[str]:
    """Yield every non-empty secret within a value of the configuration, at any depth of nesting."""
    match value:
        case SecretStr():
            if secret := value.get_secret_value():
                yield secret
        case BaseModel():
            for name in type(value).model_fields:
                yield from secret_values(getattr(value, name))
        case dict():
            for inner in value.values():
                yield from secret_values(inner)
        case tuple() | list():
            for inner in value:
                yield from secret_values(inner)
        case _:
            pass


def all_strings(values: Any) -> Iterator[str]:
    """Yield every string in the parsed content of a file, at any depth of nesting."""
    match values:
        case str():
            yield values
        case dict():
            for inner in values.values():
                yield from all_strings(inner)
        case list():
            for inner in values:
                yield from all_strings(inner)
        case _:
            pass
