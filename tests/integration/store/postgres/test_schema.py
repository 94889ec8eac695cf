"""The schema in PostgreSQL has what the state file has: the same tables, columns, keys, indexes and views."""

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from notifier.store.errors import StoreError, StoreReason
from notifier.store.file.connection import FileDatabase
from notifier.store.postgres import schema
from notifier.store.postgres.connection import connect
from notifier.store.postgres.database import Connection
from notifier.store.postgres.location import Location
from tests.support.postgres_server import PostgresServer
from tests.support.tables_in_memory import tables_in_memory

TYPES = {"bigint": "INTEGER", "text": "TEXT", "double precision": "REAL", "bytea": "BLOB"}
DIFFERING_INDEXES = {"records_by_date": ["source", "completed_on", "id"]}
"""Indexes whose columns differ, by name; the migration in PostgreSQL says why."""
ONLY_IN_POSTGRES = {"holders", "schema_steps"}
"""Tables that have no counterpart in the state file."""


@pytest.fixture
def location(postgres_server: PostgresServer, request: pytest.FixtureRequest) -> Iterator[Location]:
    name = f"schema-{abs(hash(request.node.name)) % 10**9}"
    yield postgres_server.location(name)
    postgres_server.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')


@pytest.fixture
def connection(location: Location) -> Iterator[Connection]:
    with closing(connect(location)) as opened:
        yield opened


def describe_sqlite_tables(db: FileDatabase) -> dict[str, dict[str, tuple[Any, ...]]]:
    """Describe each table: its columns with type, whether NULL is refused, default, and place in the key."""
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()]
    return {
        name: {
            # SQLite accepts NULL in the primary key of an old table; PostgreSQL does not.
            column: (type_, bool(filled or key), default, key)
            for _, column, type_, filled, default, key in db.execute(f"PRAGMA table_info('{name}')").fetchall()
        }
        for name in names
        if not name.startswith(("sqlite_", "_"))
    }


def describe_postgres_tables(connection: Connection) -> dict[str, dict[str, tuple[Any, ...]]]:
    keys = {
        (table, column): place
        for table, column, place in connection.execute(
            "SELECT c.table_name, k.column_name, k.ordinal_position FROM information_schema.table_constraints c"
            " JOIN information_schema.key_column_usage k USING (constraint_schema, constraint_name)"
            " WHERE c.constraint_schema = current_schema() AND c.constraint_type = 'PRIMARY KEY'"
        ).fetchall()
    }
    found: dict[str, dict[str, tuple[Any, ...]]] = {}
    for table, column, type_, nullable, default in connection.execute(
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
        " JOIN information_schema.tables USING (table_schema, table_name)"
        " WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' ORDER BY ordinal_position"
    ).fetchall():
        if table not in ONLY_IN_POSTGRES:
            plain = None if default is None else re.sub(r"::\w+", "", default).strip("()")
            found.setdefault(table, {})[column] = (
                TYPES[type_],
                nullable == "NO",
                plain,
                keys.get((table, column), 0),
            )
    return found


def test_schema_has_the_tables_views_and_indexes_of_the_state_file(connection: Connection, location: Location) -> None:
    """A new migration in `store/migrations` needs its counterpart in `store/postgres/migrations`."""
    schema.create_or_update(connection, location)
    with closing(tables_in_memory()) as db:
        assert describe_postgres_tables(connection) == describe_sqlite_tables(db)
        views = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'view'").fetchall()}
        shown = {
            name: [column[1] for column in db.execute(f"PRAGMA table_info('{name}')").fetchall()] for name in views
        }
        indexes = {
            name: [column for *_, column in db.execute(f"PRAGMA index_info('{name}')").fetchall()]
            for (name,) in db.execute(
                "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
            ).fetchall()
            if not name.startswith("idx_")
        }
    indexes |= DIFFERING_INDEXES
    there = connection.execute(
        "SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.views"
        " USING (table_schema, table_name) WHERE table_schema = current_schema() ORDER BY ordinal_position"
    ).fetchall()
    assert {view: [column for name, column in there if name == view] for view, _ in there} == shown
    found = connection.execute(
        "SELECT i.relname, a.attname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid"
        " JOIN pg_attribute a ON a.attrelid = i.oid WHERE i.relnamespace = current_schema()::regnamespace"
        " ORDER BY i.relname, a.attnum"
    ).fetchall()
    assert {name: [column for index, column in found if index == name] for name in indexes} == indexes


def test_schema_text_columns_have_the_c_collation(connection: Connection, location: Location) -> None:
    schema.create_or_update(connection, location)
    others = connection.execute(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
        " AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C' AND table_name <> 'schema_steps'"
        " AND table_name NOT IN (SELECT table_name FROM information_schema.views)"
    ).fetchall()
    assert others == []


def test_create_or_update_schema_twice_applies_each_step_once(connection: Connection, location: Location) -> None:
    schema.create_or_update(connection, location)
    schema.create_or_update(connection, location)
    assert schema.applied_steps(connection) == schema.steps()


def test_create_or_update_schema_accepts_an_existing_empty_schema(connection: Connection, location: Location) -> None:
    connection.execute(f'CREATE SCHEMA "{location.schema}"'.encode())
    schema.create_or_update(connection, location)
    assert schema.exists(connection, location)


def test_schema_of_another_program_is_refused_and_left_unchanged(connection: Connection, location: Location) -> None:
    connection.execute(f'CREATE SCHEMA "{location.schema}"'.encode())
    connection.execute("CREATE TABLE orders (id BIGINT)")
    with pytest.raises(StoreError, match="another program: set another") as caught:
        schema.create_or_update(connection, location)
    assert caught.value.reason is StoreReason.NOT_A_STATE_FILE
    assert not connection.execute(
        "SELECT 1 FROM pg_class WHERE relname = 'holders' AND relnamespace::regnamespace::text = %s", [location.schema]
    ).fetchone()


def test_schema_of_a_newer_version_is_refused(connection: Connection, location: Location) -> None:
    schema.create_or_update(connection, location)
    connection.execute("INSERT INTO schema_steps (name) VALUES ('9999_tomorrow')")
    with pytest.raises(StoreError, match="9999_tomorrow") as caught:
        schema.create_or_update(connection, location)
    assert caught.value.reason is StoreReason.NEWER_VERSION


def test_failing_schema_step_is_rolled_back(
    connection: Connection, location: Location, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "0001_half.sql").write_text("CREATE TABLE half (id BIGINT);\nCREATE TABLE half (id BIGINT);\n")
    monkeypatch.setattr(schema, "_STEPS", tmp_path)
    with pytest.raises(psycopg.errors.DuplicateTable):
        schema.create_or_update(connection, location)
    assert not schema.exists(connection, location)


@pytest.mark.parametrize(
    ("data", "path", "found"),
    [
        ('{"completion": {"user_id": "7"}}', "$.completion.user_id", "7"),
        ('{"completion": {"user_id": null}}', "$.completion.user_id", None),
        ("{}", "$.completion.user_id", None),
        ('{"a": "x\\u0000y", "b": "\\\\u0000"}', "$.a", "x\ufffdy"),
        ('{"a": "x\\u0000y", "b": "\\\\u0000"}', "$.b", "\\u0000"),
        ('{"a": "\\ud800", "b": "z"}', "$.b", "z"),
    ],
)
def test_json_extract_returns_values_despite_null_characters_and_surrogates(
    connection: Connection, location: Location, data: str, path: str, found: str | None
) -> None:
    schema.create_or_update(connection, location)
    assert connection.execute("SELECT json_extract(%s, %s)", [data, path]).fetchone() == (found,)
