"""What a statement reads does not grow with the tables on PostgreSQL either: an index leads to what is wanted.

The same functions as in `test_query_plans`, on the same content. Whole tables are read only where there is no other
way, because small ones would be read whole even where an index leads to the rows.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from notifier.store.postgres.connection import connect
from notifier.store.postgres.copying import restore_into_schema
from notifier.store.postgres.database import PostgresDatabase
from tests.support.postgres_server import PostgresServer
from tests.unit.store.test_query_plans import BOUNDED, LARGE, SMALL, filled

ROWS_READ = (
    "SELECT coalesce(sum(pg_stat_get_xact_tuples_returned(oid)), 0) FROM pg_class"
    " WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'i')"
)

Databases = dict[int, PostgresDatabase]


@pytest.fixture(scope="module")
def databases(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    folder = tmp_path_factory.mktemp("rows")
    made: Databases = {}
    for size in (SMALL, LARGE):
        location = postgres_server.location(f"rows-{size}")
        restore_into_schema(location, filled(folder / f"{size}.db", size), lambda *_: None)
        connection = connect(location)
        connection.execute("ANALYZE")
        connection.execute("SET enable_seqscan = off")
        made[size] = PostgresDatabase(connection)
    yield made
    for db in made.values():
        db.close()


def rows_read(db: PostgresDatabase, work: Any, size: int) -> int:
    """Return how many rows and entries of indexes were read; what was written is undone."""
    db.connection.execute("BEGIN")
    db._depth = 1
    (before,) = db.execute(ROWS_READ).fetchone() or (0,)
    answer = work(db, size)
    if isinstance(answer, Iterator):
        list(answer)
    (after,) = db.execute(ROWS_READ).fetchone() or (0,)
    db._depth = 0
    db.connection.execute("ROLLBACK")
    return int(after - before)


@pytest.mark.parametrize("name", BOUNDED)
def test_it_reads_the_same_whatever_the_tables_hold(databases: Databases, name: str) -> None:
    small, large = (rows_read(databases[size], BOUNDED[name], size) for size in (SMALL, LARGE))
    assert large <= 1.5 * small + 200, f"{small:,} rows read of {SMALL:,} records, {large:,} of {LARGE:,}"


def test_rows_that_are_read_are_counted(databases: Databases) -> None:
    assert rows_read(databases[LARGE], lambda db, _: db.execute("SELECT count(data) FROM events"), LARGE) >= LARGE
