"""Copies a store from a state file into a PostgreSQL schema, and from a schema into a state file.

The copy keeps all numbers, ids, revisions, positions, waiting deliveries and ids of announced events. Its next event
number is a million above the original's last one, because the original may still create events.
"""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
from msgspec import Struct
from msgspec.structs import replace as copy_with

from notifier.clock import iso_utc
from notifier.store.errors import StoreError, StoreReason
from notifier.store.file.backup import (
    BackupError,
    Copy,
    Progress,
    as_backup_error,
    check_copy,
    copy_and_check,
    finish_backup,
    refuse_target,
    resolve_path,
    temporary_backup,
)
from notifier.store.file.connection import FileDatabase, open_database
from notifier.store.postgres import holders, schema
from notifier.store.postgres.connection import connect, refuse_replica
from notifier.store.postgres.database import Connection, PostgresDatabase, PostgresReadingDatabase, to_postgres_value
from notifier.store.postgres.errors import converted_errors
from notifier.store.postgres.location import Location
from notifier.store.postgres.reading import open_schema_read_only
from notifier.store.queries.feed import highest_sequence
from notifier.store.recovery import snapshot
from notifier.store.recovery.compare import add_missing_data, is_newer, skip_event_numbers

_ROWS_AT_ONCE: Final = 1000
_COPIED_FIRST: Final = ("events", "replays")
"""The tables that are copied first, because rows of other tables refer to them."""

_MAX_NAME_CHARACTERS: Final = 38
"""The length to which a replaced schema's name is cut before the date is appended."""

_NOT_COPIED: Final = frozenset({"essentials_stamps"})
"""Tables that are not copied, because they are about files beside the state file."""


class FilledSchema(Struct, frozen=True):
    """The result of copying a state file into a schema."""

    copy: Copy
    replaced: str | None = None
    """The name under which the previous schema is kept; None if there was none."""
    read_error: StoreError | None = None
    """Why the previous schema could not be read. In that case, none of its data was added to the new one."""


def restore_into_schema(
    location: Location, source: Path, progress: Progress, now_ms: int, *, replace: bool = False
) -> FilledSchema:
    """Copy a state file into a schema, in one transaction (this blocks); the file is left unchanged.

    Without `replace`, a schema with sources or events is refused. With `replace`, the old schema is kept under a dated
    name, and essential data that only the old schema has is added to the new one. Raises StoreError if a process holds
    the schema or the server cannot be used. Raises BackupError for an unusable file.
    """
    with (
        _temporary_copy(resolve_path(source), progress) as (db, copy),
        converted_errors(location),
        closing(connect(location)) as connection,
    ):
        if not holders.try_lock(connection, location):
            raise StoreError(
                StoreReason.HELD_ELSEWHERE, f"{location}: a daemon holds it: stop every daemon that uses it first"
            )
        refuse_replica(connection, location)
        filled = FilledSchema(copy)
        if _is_used(connection, location):
            if not replace:
                raise StoreError(
                    StoreReason.IN_USE,
                    f"{location}: it has a state already: set another [store] name, or replace that state (--force),"
                    " which is then kept under a dated name",
                )
            unread = _add_replaced_data(db, connection, location, now_ms)
            waiting = db.execute("SELECT count(*) FROM deliveries WHERE state = 'pending'").fetchone()[0]
            filled = FilledSchema(copy_with(copy, pending=waiting), _dated_name(location.schema, now_ms), unread)
        target = PostgresDatabase(connection)
        with target.atomic():
            if filled.replaced is not None:
                connection.execute(f'ALTER SCHEMA "{location.schema}" RENAME TO "{filled.replaced}"'.encode())
            schema.create_or_update(connection, location)
            _copy_all_in(db, target, progress)
        holders.release_lock(connection, location)
        return filled


def back_up_schema(location: Location, target: Path, progress: Progress, *, overwrite: bool = False) -> Copy:
    """Copy a schema into a state file that only its owner can read, and check that file. Blocks.

    Raises BackupError if the file cannot be written, and StoreError if the server cannot be used.
    """
    target = resolve_path(target)
    refuse_target(target, overwrite=overwrite)
    with (
        converted_errors(location),
        closing(open_schema_read_only(location)) as source,
        temporary_backup(target, target) as fresh,
    ):
        source.connection.execute("SET statement_timeout = 0")
        try:
            with closing(open_database(fresh)) as db:
                _copy_all_out(source, db, progress)
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                db.execute("PRAGMA journal_mode = DELETE").fetchone()
                found = check_copy(db.conn, target)
        except sqlite3.Error as error:
            raise as_backup_error(error, target, target.parent) from error
        finish_backup(fresh, target, overwrite=overwrite)
    return Copy(target.stat().st_size, *found)


@contextmanager
def _temporary_copy(source: Path, progress: Progress) -> Iterator[tuple[FileDatabase, Copy]]:
    """Provide a checked copy of a state file, with its tables migrated to this version."""
    with _temporary_file() as fresh:
        copy = copy_and_check(source, fresh, lambda _, total: progress(0, max(1, total)), refuse_newer=True)
        with closing(open_database(fresh)) as db:
            yield db, copy


@contextmanager
def _temporary_file() -> Iterator[Path]:
    """Provide an empty file that only its owner can read."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="notifier-restore-")
    except OSError as error:
        raise BackupError(
            f"no temporary file can be created ({error.strerror}): free some space, or set TMPDIR"
        ) from error
    with folder as name:
        fresh = Path(name) / "copy.db"
        os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            yield fresh
        except sqlite3.Error as error:
            raise as_backup_error(error, fresh, fresh.parent) from error


def _is_used(connection: Connection, location: Location) -> bool:
    """Return whether the schema has sources or events; True if its tables cannot be read. Raises StoreError."""
    if not schema.exists(connection, location):
        return False
    schema.refuse_newer(schema.applied_steps(connection), location)
    try:
        row = connection.execute("SELECT EXISTS (SELECT 1 FROM sources) OR EXISTS (SELECT 1 FROM events)").fetchone()
    except psycopg.ProgrammingError:
        return True
    return row is None or bool(row[0])


def _add_replaced_data(db: FileDatabase, connection: Connection, location: Location, now_ms: int) -> StoreError | None:
    """Add to a state file the essential data that only the schema has.

    If the schema cannot be read, nothing is added, and the error is returned. Otherwise the result is None.
    """
    try:
        with converted_errors(location):
            schema.create_or_update(connection, location)
            with (
                _temporary_file() as fresh,
                closing(open_schema_read_only(location)) as source,
                closing(open_database(fresh)) as replaced,
            ):
                source.connection.execute("SET statement_timeout = 0")
                _copy_all_out(source, replaced, lambda _done, _total: None)
                with replaced.atomic():
                    known = snapshot.take_snapshot(replaced, now_ms)
    except StoreError as error:
        if error.reason not in {StoreReason.TABLES_CHANGED, StoreReason.CORRUPT}:
            raise
        return error
    if is_newer(db, known):
        skip_event_numbers(db, max(highest_sequence(db), known.sequence))
    else:
        add_missing_data(db, known, now_ms)
    return None


def _dated_name(name: str, now_ms: int) -> str:
    """Return the name under which a replaced schema is kept, within PostgreSQL's limit of 63 characters. Pure."""
    when = iso_utc(now_ms)[:19].replace("-", "").replace(":", "").lower()
    return f"{name[:_MAX_NAME_CHARACTERS]}_replaced_{when}"


def _copy_all_in(db: FileDatabase, target: PostgresDatabase, progress: Progress) -> None:
    """Copy all tables of a state file into the schema, in the caller's transaction."""
    connection, tables = target.connection, _tables(db)
    for number, table in enumerate(tables):
        progress(number, len(tables))
        _copy_in(db, connection, table)
    for table, column in _identity_columns(connection):
        target.execute(
            f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), max({column})) FROM {table}"
            f" HAVING max({column}) IS NOT NULL"
        )
    target.execute(
        "SELECT setval('events_sequence_seq', ?)", [max(1, highest_sequence(db) + holders.SKIPPED_EVENT_NUMBERS)]
    )
    progress(len(tables), len(tables))


def _copy_all_out(source: PostgresReadingDatabase, db: FileDatabase, progress: Progress) -> None:
    """Copy all tables of a schema into an empty state file, as they are at one moment."""
    tables = _tables(db)
    with source.atomic(), db.atomic():
        for number, table in enumerate(tables):
            progress(number, len(tables))
            _copy_out(source, db, table)
        skip_event_numbers(db, highest_sequence(source))
    progress(len(tables), len(tables))


def _tables(db: FileDatabase) -> list[str]:
    """Return the names of the tables to copy, in the order of copying: a table before the tables that refer to it."""
    rows = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'").fetchall()
    names = [name for (name,) in rows if not name.startswith("_") and name not in _NOT_COPIED]
    return sorted(names, key=lambda name: (name not in _COPIED_FIRST, name))


def _columns(db: FileDatabase, table: str) -> list[str]:
    return [row[1] for row in db.execute(f"PRAGMA table_info('{table}')").fetchall()]


def _copy_in(db: FileDatabase, connection: Connection, table: str) -> None:
    columns = ", ".join(_columns(db, table))
    rows = db.execute(f"SELECT {columns} FROM {table}")
    statement = f"COPY {table} ({columns}) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        while batch := rows.fetchmany(_ROWS_AT_ONCE):
            for row in batch:
                copy.write_row([to_postgres_value(value) for value in row])


def _copy_out(source: PostgresDatabase, db: FileDatabase, table: str) -> None:
    columns = _columns(db, table)
    places = ", ".join("?" * len(columns))
    # A named cursor stays on the server, so that a large table need not fit into memory.
    with source.connection.cursor(name="copying") as rows:
        rows.execute(f"SELECT {', '.join(columns)} FROM {table}".encode())
        while batch := rows.fetchmany(_ROWS_AT_ONCE):
            db.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", batch)


def _identity_columns(connection: Connection) -> list[tuple[Any, ...]]:
    """Return (table, column) for each column that the server fills with consecutive numbers."""
    return connection.execute(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
        " AND is_identity = 'YES' AND table_name <> 'holders'"
    ).fetchall()
