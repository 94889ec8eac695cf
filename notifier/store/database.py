"""The interface of a database connection, through which all queries use SQLite and PostgreSQL alike.

Most statements are the same for both engines; where they differ, an `EngineSql` contains both texts. Placeholders are
`?` and `:name`. A list of texts is passed as JSON and read with `json_each(?)`, a list of numbers with `NUMBERS`. The
schema in PostgreSQL defines the functions of SQLite that PostgreSQL lacks (such as `json_extract`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Any, Final, Protocol

import orjson
from msgspec import Struct

NUMBERS: Final = "(SELECT CAST(value AS BIGINT) FROM json_each(?))"
"""A subquery that returns the numbers in a JSON array. The array is the subquery's parameter."""


def json_list(values: Iterable[Any]) -> str:
    """Return a list as JSON, as the parameter of `json_each(?)` and of `NUMBERS`."""
    return orjson.dumps(values if type(values) is list else [*values]).decode()


class Engine(StrEnum):
    """The kind of database."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"


class Cursor(Protocol):
    """The result of a statement."""

    @property
    def rowcount(self) -> int:
        """The number of rows that the statement has changed."""

    def fetchone(self) -> Any:
        """Return the next row, None after the last one."""

    def fetchall(self) -> list[Any]:
        """Return all remaining rows."""

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the remaining rows."""


class Database(Protocol):
    """A connection to the tables of one store."""

    @property
    def engine(self) -> Engine:
        """The kind of database."""

    @property
    def changes(self) -> int:
        """A count that grows with every row written over this connection."""

    def execute(self, sql: str, parameters: Sequence[Any] | dict[str, Any] | None = None, /) -> Cursor:
        """Execute one statement."""

    def executemany(self, sql: str, rows: Iterable[Sequence[Any] | Mapping[str, Any]], /) -> Cursor:
        """Execute one statement once for each row of parameters; `rowcount` of the result counts all changed rows."""

    def atomic(self) -> AbstractContextManager[Any]:
        """Run a `with` block as a transaction, or as a savepoint inside a running transaction; an error undoes it."""

    def close(self) -> None:
        """Close the connection."""


class ReadingDatabase(Database, Protocol):
    """A read-only connection; another thread can interrupt its running statement."""

    @property
    def is_usable(self) -> bool:
        """Whether the connection is open, as far as is known without asking the server."""

    def interrupt(self) -> None:
        """Make the running statement fail. This never blocks, and may be called at any moment from any thread."""


class EngineSql(Struct, frozen=True):
    """A piece of SQL that the two engines spell differently."""

    sqlite: str
    postgres: str

    def on(self, db: Database) -> str:
        """Return the text for the engine of this database."""
        return self.sqlite if db.engine is Engine.SQLITE else self.postgres
