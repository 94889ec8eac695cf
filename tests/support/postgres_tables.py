"""Empty tables of a store in PostgreSQL, for hundreds of short tests."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from notifier.store.postgres import schema
from notifier.store.postgres.connection import connect
from notifier.store.postgres.database import PostgresDatabase
from tests.support.postgres_server import PostgresServer

_NUMBERED = re.compile(r"CREATE TABLE (\w+) \(\s+(\w+) BIGINT GENERATED")


class EmptyTables:
    """Lends schemas with empty tables. A rollback empties a schema's tables afterwards, which takes a millisecond."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._made = 0
        self._free: list[PostgresDatabase] = []
        text = "".join(file.read_text() for file in schema._STEPS.glob("*.sql"))
        self._begin = "BEGIN; " + "; ".join(
            f"ALTER TABLE {table} ALTER COLUMN {column} RESTART WITH 1" for table, column in _NUMBERED.findall(text)
        )

    def _new(self) -> PostgresDatabase:
        self._made += 1
        location = self._server.location(f"test-{self._made}")
        connection = connect(location)
        schema.create_or_update(connection, location)
        return PostgresDatabase(connection)

    @contextmanager
    def lend(self) -> Iterator[PostgresDatabase]:
        db = self._free.pop() if self._free else self._new()
        db.connection.execute(self._begin, prepare=False)
        db._depth = 1
        try:
            yield db
        finally:
            db._depth = 0
            db.connection.execute("ROLLBACK")
            self._free.append(db)

    def close(self) -> None:
        for db in self._free:
            db.close()
