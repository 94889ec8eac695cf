"""The columns of a table, for plain and for rich output."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; `right`: right-aligned, for numbers; `least`: the minimum width if more rows may follow."""

    title: str
    right: bool = False
    least: int = 0
