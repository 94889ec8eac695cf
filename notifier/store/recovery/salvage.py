"""Reads the readable parts of a damaged state file, table by table and row by row.

SQLite's own recovery program is not installed everywhere. It also reads pages that belong to no table any more, which
could bring deleted rows back.
"""

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final

import orjson
from msgspec import Struct

from notifier.store.file.connection import FileDatabase
from notifier.store.migrations import migrations, steps
from notifier.store.recovery.compare import Loss
from notifier.store.recovery.detect import UNREADABLE, is_damage
from notifier.store.recovery.exchange import HEADER

Row = tuple[Any, ...]

_BLOCK: Final = 1000
_MAX_FAILURES: Final = 50_000
"""After this many failed reads of a table, only whole blocks are read. That many failures take about a second."""

_ROWS_ON_A_PAGE: Final = 200
"""An upper bound for the number of rows on a page of the state file."""

_MIGRATIONS: Final = "_sqlite_migrations"

_NOT_SALVAGED: Final = frozenset({"sweeps", "sweep_pages", _MIGRATIONS, HEADER})
"""Tables that are not copied: a sweep starts again, and the list of applied migrations is restored separately."""

_TYPES: Final[dict[str, tuple[type, ...]]] = {"INTEGER": (int,), "TEXT": (str,), "BLOB": (bytes,), "REAL": (float, int)}
_JSON_COLUMNS: Final = frozenset({"data", "record", "facts"})


class SalvagedTable(Struct, frozen=True):
    """A table as its file describes it: its CREATE statement, its columns with types, its primary key."""

    name: str
    sql: str
    columns: tuple[tuple[str, str], ...]
    key: tuple[str, ...]

    @property
    def has_rowid(self) -> bool:
        """Whether the table's rows have row numbers."""
        return "WITHOUT ROWID" not in self.sql.upper()

    @property
    def block_column(self) -> str | None:
        """The column by whose numbers the rows are read in blocks; None if there is no such column.

        In a table with row numbers, it is the row number. In another table, it is the first key column, if that column
        holds whole numbers.
        """
        if self.has_rowid:
            return "rowid"
        return self.key[0] if dict(self.columns)[self.key[0]] == "INTEGER" else None

    @property
    def names(self) -> str:
        """The names of the columns, separated by commas for a statement."""
        return ", ".join(name for name, _ in self.columns)


def tables(db: sqlite3.Connection) -> list[SalvagedTable]:
    """Return the tables of a file. Raises sqlite3.Error if their list cannot be read."""
    found = []
    for name, sql in db.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    ):
        info = db.execute(f"PRAGMA table_info('{name}')").fetchall()
        key = [row[1] for row in sorted(info, key=lambda row: row[5]) if row[5]]
        found.append(SalvagedTable(name, sql, tuple((row[1], row[2]) for row in info), tuple(key)))
    return found


class SchemaSource(Enum):
    """Where the table definitions of the new file come from: the damaged file, or this version of the program.

    With NOTHING_READ, they come from this version, and no rows are copied.
    """

    DAMAGED_FILE = auto()
    THIS_VERSION = auto()
    NOTHING_READ = auto()


class SalvageReader:
    """Reads one table of a damaged file; afterwards, `is_whole` says whether everything could be read."""

    def __init__(self, db: sqlite3.Connection, table: SalvagedTable) -> None:
        """Initialise with a read-only connection."""
        self._db = db
        self._table = table
        self._select = f"SELECT {table.names} FROM {table.name}"
        self._failures = 0
        self.is_whole = True

    def rows(self) -> Iterator[list[Row]]:
        """Yield the rows that can be read and have valid values, in blocks."""
        number = self._table.block_column
        blocks = self._blocks_by_key() if number is None else self._blocks_by_number(number)
        for block in blocks:
            sound = [row for row in block if self._has_valid_values(row)]
            if len(sound) < len(block):
                self.is_whole = False
            if sound:
                yield sound

    def _blocks_by_number(self, number: str) -> Iterator[list[Row]]:
        lowest, highest = self._bounds(number)
        at = lowest
        while at <= highest:
            yield from self._blocks_between(number, at, min(at + _BLOCK - 1, highest))
            following = self._next_number(number, at + _BLOCK, highest)
            if following is None:
                return
            at = following

    def _blocks_between(self, number: str, low: int, high: int) -> Iterator[list[Row]]:
        """Yield the rows from `low` to `high`; if reading them fails, read each half, down to single rows."""
        # For a range, SQLite also looks for the next row. That fails if the next page is damaged.
        is_one = low == high
        where = f"{number} = ?" if is_one else f"{number} BETWEEN ? AND ? ORDER BY {number}"
        block = self._fetch(where, (low,) if is_one else (low, high))
        if block is not None:
            yield block
        elif low < high and self._failures < _MAX_FAILURES:
            middle = (low + high) // 2
            yield from self._blocks_between(number, low, middle)
            yield from self._blocks_between(number, middle + 1, high)

    def _next_number(self, number: str, at: int, highest: int) -> int | None:
        """Return the next existing row number from `at` on; None if there is none.

        If the row numbers cannot be read, return `at` itself or, after too many failures, None.
        """
        try:
            row = self._db.execute(
                f"SELECT {number} FROM {self._table.name} WHERE {number} >= ? ORDER BY {number} LIMIT 1", [at]
            ).fetchone()
        except UNREADABLE as error:
            self._count_failure(error)
            return at if self._failures < 2 * _MAX_FAILURES else None
        return None if row is None or row[0] > highest else row[0]

    def _bounds(self, number: str) -> tuple[int, int]:
        """Return the lowest and highest number; if one cannot be read, estimate it from the file's size."""
        lowest = self._lowest_or_highest(f"SELECT min({number}) FROM {self._table.name}")
        highest = self._lowest_or_highest(f"SELECT max({number}) FROM {self._table.name}")
        if lowest is not None and highest is not None:
            return lowest, highest
        given_out = self._lowest_or_highest(f"SELECT max(seq) FROM sqlite_sequence WHERE name = '{self._table.name}'")
        most = self._db.execute("PRAGMA page_count").fetchone()[0] * _ROWS_ON_A_PAGE
        if highest is None:
            highest = given_out or (lowest or 0) + most
        return max(0, highest - most) if lowest is None else lowest, highest

    def _lowest_or_highest(self, question: str) -> int | None:
        try:
            found = self._db.execute(question).fetchone()[0]
        except UNREADABLE as error:
            self._count_failure(error)
            return None
        return found if isinstance(found, int) else 0

    def _blocks_by_key(self) -> Iterator[list[Row]]:
        """Yield the rows in order of the key.

        If reading fails at a damaged part, the table is read again in reverse order, for the rows behind that part.
        """
        seen: set[Row] = set()
        for direction in ("ASC", "DESC"):
            order = ", ".join(f"{column} {direction}" for column in self._table.key)
            block: list[Row] = []
            try:
                for row in self._db.execute(f"{self._select} ORDER BY {order}"):
                    if row not in seen:
                        seen.add(row)
                        block.append(row)
            except UNREADABLE as error:
                self._count_failure(error)
                yield block
            else:
                yield block
                return

    def _fetch(self, where: str, values: Sequence[Any]) -> list[Row] | None:
        try:
            return self._db.execute(f"{self._select} WHERE {where}", values).fetchall()
        except UNREADABLE as error:
            self._count_failure(error)
            return None

    def _count_failure(self, error: Exception) -> None:
        """Record that a part cannot be read. Raises the error if it does not mean damage."""
        if not is_damage(error):
            raise error
        self._failures += 1
        self.is_whole = False

    def _has_valid_values(self, row: Row) -> bool:
        return all(
            value is None or (isinstance(value, _TYPES.get(kind, (object,))) and _is_readable(name, value))
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


def copy_readable_data(fresh: FileDatabase, damaged: Path, schema: SchemaSource) -> Loss:
    """Copy the tables of a damaged file, with the rows that can be read, into `fresh`; return what was lost."""
    if schema is SchemaSource.NOTHING_READ or not damaged.exists() or damaged.stat().st_size == 0:
        return Loss(everything=True)
    with (
        closing(sqlite3.connect(f"{damaged.as_uri()}?mode=ro", uri=True, isolation_level=None)) as old,
        closing(FileDatabase(memory=True)) as present,
    ):
        # Without this, SQLite reads nothing of a file that is shorter than its header says.
        old.execute("PRAGMA writable_schema = ON")
        migrations.apply(present)
        existing = {table.name for table in tables(old)}
        applied = _applied_migrations(old) if schema is SchemaSource.DAMAGED_FILE and _MIGRATIONS in existing else ()
        # If the steps of the file cannot be determined, the tables of this version are used.
        loss = _copy_tables(old if applied else present.conn, old, existing, fresh)
        _copy_rows(fresh, present.conn, next(table for table in tables(present.conn) if table.name == _MIGRATIONS))
        if applied:
            names = ", ".join("?" * len(applied))
            fresh.execute(f"DELETE FROM {_MIGRATIONS} WHERE name NOT IN ({names})", applied)
        return loss


def _applied_migrations(old: sqlite3.Connection) -> list[str]:
    """Return the schema migrations that were applied to the file; empty if they cannot be determined."""
    try:
        applied = {name for (name,) in old.execute(f"SELECT name FROM {_MIGRATIONS}")}
    except UNREADABLE as error:
        if not is_damage(error):
            raise
        return []
    # Steps are applied in order, so any other set than the first ones is the result of damage.
    first = steps()[: len(applied)]
    return first if applied == set(first) else []


def _copy_tables(
    template: sqlite3.Connection, old: sqlite3.Connection, existing: Collection[str], fresh: FileDatabase
) -> Loss:
    """Create the tables of `template`, and copy into them the rows that can be read in `old`; return what was lost."""
    lost = []
    for table in tables(template):
        fresh.execute(table.sql)
        if table.name in _NOT_SALVAGED:
            continue
        whole = table.name in existing and _copy_rows(fresh, old, table)
        if table.name == "deliveries" and not whole:
            _copy_unfinished_deliveries(fresh, old)
        if table.name == "records" and not _delete_records_with_damaged_keys(fresh, old):
            whole = False
        if not whole:
            lost.append(table.name)
    with fresh.atomic():
        # Created after the rows, so that triggers do not count rows again, and each index is built at once.
        for (statement,) in template.execute("SELECT sql FROM sqlite_master WHERE type <> 'table' AND sql IS NOT NULL"):
            fresh.execute(statement)
    return Loss(tuple(lost))


def _copy_rows(fresh: FileDatabase, old: sqlite3.Connection, table: SalvagedTable) -> bool:
    """Copy a table's rows; return whether all of them could be read and inserted."""
    reader = SalvageReader(old, table)
    places = ", ".join("?" * len(table.columns))
    copied, read = 0, 0
    for rows in reader.rows():
        read += len(rows)
        with fresh.atomic():
            # Rows that violate the table's constraints are damaged too, and ignored.
            statement = f"INSERT OR IGNORE INTO {table.name} ({table.names}) VALUES ({places})"
            copied += fresh.conn.executemany(statement, rows).rowcount
    return reader.is_whole and copied == read


def _delete_records_with_damaged_keys(fresh: FileDatabase, old: sqlite3.Connection) -> bool:
    """Delete the records whose keys are not in the index of keys; return whether all keys were in it.

    A sweep would not find a damaged key in the source's list, and would announce a removal. If the index cannot be
    read, nothing is deleted, and the result is True.
    """
    fresh.execute("CREATE TEMP TABLE keys (source TEXT, key TEXT, PRIMARY KEY (source, key)) WITHOUT ROWID")
    try:
        fresh.conn.executemany(
            "INSERT OR IGNORE INTO keys VALUES (?, ?)",
            old.execute("SELECT source, key FROM records INDEXED BY records_by_key"),
        )
        unmatched = "(source, key) NOT IN (SELECT source, key FROM keys)"
        return fresh.execute(f"DELETE FROM records WHERE {unmatched}").rowcount == 0
    except UNREADABLE:
        # The index is damaged too, so it proves nothing.
        return True
    finally:
        fresh.execute("DROP TABLE keys")


def _copy_unfinished_deliveries(fresh: FileDatabase, old: sqlite3.Connection) -> None:
    """Copy the waiting and given-up deliveries from their index, if it can be read."""
    try:
        rows = old.execute(
            "SELECT sequence, destination, state, next_attempt_at FROM deliveries INDEXED BY deliveries_unfinished"
            " WHERE state <> 'delivered'"
        ).fetchall()
    except UNREADABLE:
        return
    with fresh.atomic():
        fresh.conn.executemany(
            "INSERT OR IGNORE INTO deliveries (sequence, destination, state, next_attempt_at) VALUES (?, ?, ?, ?)", rows
        )
