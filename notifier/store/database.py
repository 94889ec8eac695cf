"""What the queries of this package need of a database, whichever engine it is.

The SQL is one text for both engines wherever they agree. Placeholders are `?` and `:name`. Lists are passed as JSON and
read with `json_each(?)` if they are texts, with `NUMBERS` if they are numbers. The schema in PostgreSQL has functions
with the names of SQLite's (`json_extract`, `max` and `min` of two values). A statement that has to differ is spelled
twice, side by side, as a `Spelled`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Any, Final, Protocol

from msgspec import Struct

NUMBERS: Final = "(SELECT CAST(value AS BIGINT) FROM json_each(?))"
"""The numbers in a JSON array that is given as a parameter; a list of texts needs no CAST."""


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
        """A number that grows with every row that is written over this connection."""

    def execute(self, sql: str, parameters: Sequence[Any] | dict[str, Any] | None = None, /) -> Cursor:
        """Execute one statement."""

    def executemany(self, sql: str, rows: Iterable[Sequence[Any] | Mapping[str, Any]], /) -> Cursor:
        """Execute one statement for each row of parameters; the result counts the changed rows of all."""

    def atomic(self) -> AbstractContextManager[Any]:
        """Begin a transaction, or a savepoint in the running one; an error undoes it."""

    def close(self) -> None:
        """Close the connection."""


class ReadingDatabase(Database, Protocol):
    """A connection that cannot write, and whose work can be ended from another thread."""

    @property
    def usable(self) -> bool:
        """Whether the connection is open, as far as is known without asking the server."""

    def interrupt(self) -> None:
        """Make the running statement fail. This never blocks, and may be called at any moment from any thread."""


class Spelled(Struct, frozen=True):
    """A piece of SQL that the two engines spell differently."""

    sqlite: str
    postgres: str

    def on(self, db: Database) -> str:
        """Return the text for the engine of this database."""
        return self.sqlite if db.engine is Engine.SQLITE else self.postgres
