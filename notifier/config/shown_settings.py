"""The settings of a source or a destination for display, without secrets. Pure."""

from typing import Any, Final

from msgspec import Struct
from pydantic import SecretStr

from notifier.config.base_table import BaseTable
from notifier.config.secret_values import secret_values

HIDDEN: Final = "(hidden)"


class ShownSetting(Struct, frozen=True):
    """A key and its value as text; `is_default` means that the configuration does not set the key."""

    key: str
    value: str
    is_default: bool


def shown_settings(table: BaseTable, *, address: str | None = None) -> list[ShownSetting]:
    """Return the settings of a table. Those that the configuration sets come first.

    If `address` is given, it replaces the value of `url`.
    """
    plain = table.model_dump(mode="json")
    found = [
        ShownSetting(
            key, _display_value(key, getattr(table, key), plain[key], address), key not in table.model_fields_set
        )
        for key in type(table).model_fields
    ]
    return sorted(found, key=lambda setting: setting.is_default)


def _display_value(key: str, value: Any, plain: Any, address: str | None) -> str:
    if key == "url" and address is not None:
        return address
    if isinstance(value, dict):
        return ", ".join(
            f"{name}: {HIDDEN if any(secret_values(it)) else _plain_text(it)}" for name, it in value.items()
        )
    if any(secret_values(value)):
        number = sum(1 for _ in secret_values(value))
        return HIDDEN if number == 1 else f"{number} values {HIDDEN}"
    return "" if isinstance(value, SecretStr) else _plain_text(plain)


def _plain_text(plain: Any) -> str:
    match plain:
        case None:
            return ""
        case bool():
            return "yes" if plain else "no"
        case float():
            return f"{plain:g}"
        case list() | tuple():
            return ", ".join(map(_plain_text, plain))
        case dict():
            return ", ".join(f"{name}: {_plain_text(it)}" for name, it in plain.items())
        case _:
            return str(plain)
