"""Reads what can still be read of a damaged state file, table by table and row by row.

SQLite's own recovery is a program that not everybody has. What it does beyond this, reading pages that no table leads
to any more, could bring back rows that were deleted, and is not wanted here.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from notifier.ledger.rebuilding.damage import UNREADABLE, is_damage

Row = tuple[Any, ...]

_BLOCK: Final = 1000
_MOST_FAILURES: Final = 50_000
"""Reads of one table that may fail before what is left of it is read in blocks only: this many take a second."""

_ROWS_ON_A_PAGE: Final = 200
"""More than there are of any table of ours."""

_KINDS: Final[dict[str, tuple[type, ...]]] = {"INTEGER": (int,), "TEXT": (str,), "BLOB": (bytes,), "REAL": (float, int)}
_JSON_COLUMNS: Final = frozenset({"data", "record"})


@dataclass(frozen=True, slots=True)
class Table:
    """A table as its file describes it: the statement that makes it, its columns with their types, its primary key."""

    name: str
    sql: str
    columns: tuple[tuple[str, str], ...]
    key: tuple[str, ...]

    @property
    def has_rowid(self) -> bool:
        """Whether its rows have numbers."""
        return "WITHOUT ROWID" not in self.sql.upper()

    @property
    def number(self) -> str | None:
        """What its rows can be counted by: the row's number, or the first part of its key; None when that is text."""
        if self.has_rowid:
            return "rowid"
        return self.key[0] if dict(self.columns)[self.key[0]] == "INTEGER" else None

    @property
    def names(self) -> str:
        """The columns, for a statement."""
        return ", ".join(name for name, _ in self.columns)


def tables(db: sqlite3.Connection) -> list[Table]:
    """Describe the tables of a file. Raises sqlite3.Error when not even that can be read."""
    found = []
    for name, sql in db.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    ):
        info = db.execute(f"PRAGMA table_info('{name}')").fetchall()
        key = [row[1] for row in sorted(info, key=lambda row: row[5]) if row[5]]
        found.append(Table(name, sql, tuple((row[1], row[2]) for row in info), tuple(key)))
    return found


class Reader:
    """Reads one table of a damaged file; `is_whole` tells afterwards whether anything could not be read."""

    def __init__(self, db: sqlite3.Connection, table: Table) -> None:
        """Take a connection that reads only."""
        self._db = db
        self._table = table
        self._failures = 0
        self.is_whole = True

    def rows(self) -> Iterator[list[Row]]:
        """Yield the rows that can be read and make sense, some at a time."""
        number = self._table.number
        blocks = self._by_key() if number is None else self._by_number(number)
        for block in blocks:
            sound = [row for row in block if self._makes_sense(row)]
            if len(sound) < len(block):
                self.is_whole = False
            if sound:
                yield sound

    def _by_number(self, number: str) -> Iterator[list[Row]]:
        lowest, highest = self._bounds(number)
        at = lowest
        while at <= highest:
            yield from self._between(number, at, min(at + _BLOCK - 1, highest))
            following = self._next(number, at + _BLOCK, highest)
            if following is None:
                return
            at = following

    def _between(self, number: str, low: int, high: int) -> Iterator[list[Row]]:
        """Read the rows of these numbers; where a part cannot be read, the halves of it, down to single rows."""
        block = self._fetch(f"{number} BETWEEN ? AND ? ORDER BY {number}", (low, high))
        if block is not None:
            yield block
        elif low < high and self._failures < _MOST_FAILURES:
            middle = (low + high) // 2
            yield from self._between(number, low, middle)
            yield from self._between(number, middle + 1, high)

    def _next(self, number: str, at: int, highest: int) -> int | None:
        """Return the next number that there is, from one on; that one itself where it cannot be told."""
        try:
            row = self._db.execute(
                f"SELECT {number} FROM {self._table.name} WHERE {number} >= ? ORDER BY {number} LIMIT 1", [at]
            ).fetchone()
        except UNREADABLE as error:
            self._note(error)
            return at if self._failures < 2 * _MOST_FAILURES else None
        return None if row is None or row[0] > highest else row[0]

    def _bounds(self, number: str) -> tuple[int, int]:
        """Return the lowest and the highest number; where an end cannot be read, as far as the file's size admits."""
        lowest = self._end(f"SELECT min({number}) FROM {self._table.name}")
        highest = self._end(f"SELECT max({number}) FROM {self._table.name}")
        if lowest is not None and highest is not None:
            return lowest, highest
        given_out = self._end(f"SELECT max(seq) FROM sqlite_sequence WHERE name = '{self._table.name}'")
        most = self._db.execute("PRAGMA page_count").fetchone()[0] * _ROWS_ON_A_PAGE
        if highest is None:
            highest = given_out or (lowest or 0) + most
        return max(0, highest - most) if lowest is None else lowest, highest

    def _end(self, question: str) -> int | None:
        try:
            found = self._db.execute(question).fetchone()[0]
        except UNREADABLE as error:
            self._note(error)
            return None
        return found if isinstance(found, int) else 0

    def _by_key(self) -> Iterator[list[Row]]:
        """Read from the beginning, and where that breaks off, from the end until that does."""
        seen: set[Row] = set()
        for direction in ("ASC", "DESC"):
            order = ", ".join(f"{column} {direction}" for column in self._table.key)
            block: list[Row] = []
            try:
                for row in self._db.execute(f"SELECT {self._table.names} FROM {self._table.name} ORDER BY {order}"):
                    if row not in seen:
                        seen.add(row)
                        block.append(row)
            except UNREADABLE as error:
                self._note(error)
                yield block
            else:
                yield block
                return

    def _fetch(self, where: str, values: Sequence[Any]) -> list[Row] | None:
        try:
            return self._db.execute(
                f"SELECT {self._table.names} FROM {self._table.name} WHERE {where}", values
            ).fetchall()
        except UNREADABLE as error:
            self._note(error)
            return None

    def _note(self, error: Exception) -> None:
        """Take note of a part that cannot be read. Raises what has nothing to do with the file's content."""
        if not is_damage(error):
            raise error
        self._failures += 1
        self.is_whole = False

    def _makes_sense(self, row: Row) -> bool:
        return all(
            value is None or (isinstance(value, _KINDS.get(kind, (object,))) and _is_readable(name, value))
            for (name, kind), value in zip(self._table.columns, row, strict=True)
        )


def _is_readable(column: str, value: object) -> bool:
    if isinstance(value, str) and "\0" in value:
        return False
    if column in _JSON_COLUMNS and isinstance(value, str):
        try:
            orjson.loads(value)
        except orjson.JSONDecodeError:
            return False
    return True
