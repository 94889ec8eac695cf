"""Opens connections to PostgreSQL, checks the server, and sets up the session."""

import os
import socket
from contextlib import ExitStack
from typing import Any, Final

import psycopg

from notifier.store.errors import StoreError, StoreReason
from notifier.store.postgres.database import Connection, PostgresReadingDatabase
from notifier.store.postgres.location import Location

OLDEST_VERSION: Final = 130_000
"""The oldest usable version of PostgreSQL, as the number that the server reports."""

_VERSION_14: Final = 140_000

CONNECT_SECONDS: Final = 5
"""Seconds within which each server must accept a connection."""

_KEEPALIVE: Final = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""Settings of libpq; with these, the connection counts as lost after 11 seconds without an answer from the server."""

_SESSION: Final = (
    # With the same limits, the server ends the session of a machine that is gone. That releases the lock.
    "SET tcp_keepalives_idle = 5",
    "SET tcp_keepalives_interval = 2",
    "SET tcp_keepalives_count = 3",
    "SET tcp_user_timeout = 10000",
    "SET idle_in_transaction_session_timeout = 0",
    "SET lock_timeout = '10s'",
    "SET statement_timeout = 0",
    "SET client_min_messages = warning",
    "SET TIME ZONE 'UTC'",
    "SET jit = off",
    # Every statement looks up a few rows, but PostgreSQL cannot know that and expects many. It would read whole tables
    # for them: for example, all deliveries for each batch of outcomes.
    "SET enable_hashjoin = off",
    "SET enable_mergejoin = off",
    "SET random_page_cost = 1.1",
    "SET default_transaction_isolation = 'read committed'",
    "SET default_transaction_deferrable = off",
)
_SINCE_14: Final = ("SET idle_session_timeout = 0",)
_READING: Final = (
    "SET default_transaction_isolation = 'repeatable read'",
    "SET default_transaction_read_only = on",
    "SET statement_timeout = '5s'",
)


def connect(location: Location) -> Connection:
    """Connect to the server, and check that this program can use it. Blocks. Raises psycopg.Error, StoreError."""
    more: dict[str, Any] = dict(_KEEPALIVE)
    given = location.parameters()
    if location.has_several_hosts:
        more["target_session_attrs"] = "read-write"
    more = {name: value for name, value in more.items() if name not in given}
    more["application_name"] = f"notifier/{socket.gethostname()}/{os.getpid()}"
    if "connect_timeout" not in given:
        more["connect_timeout"] = CONNECT_SECONDS
    connection = psycopg.connect(location.url.get_secret_value(), autocommit=True, **more)
    with ExitStack() as on_failure:
        on_failure.callback(connection.close)
        _check_server(connection, location)
        version = connection.info.server_version
        connection.execute("; ".join((*_SESSION, *(_SINCE_14 if version >= _VERSION_14 else ()))), prepare=False)
        connection.execute(f'SET search_path = "{location.schema}"', prepare=False)
        on_failure.pop_all()
        return connection


def connect_read_only(location: Location) -> PostgresReadingDatabase:
    """Open a read-only connection. Blocks. Raises psycopg.Error, StoreError.

    Each transaction on it sees the data of one moment. The server may be a replica.
    """
    connection = connect(location)
    connection.execute("; ".join(_READING), prepare=False)
    return PostgresReadingDatabase(connection)


def _check_server(connection: Connection, location: Location) -> None:
    """Raise StoreError for a server that this program cannot use."""
    version = connection.info.server_version
    if version < OLDEST_VERSION:
        raise StoreError(
            StoreReason.REFUSED,
            f"{location}: the server is PostgreSQL {version // 10_000}; {OLDEST_VERSION // 10_000} or newer is needed",
        )
    row = connection.execute(
        "SELECT current_setting('server_encoding'), current_setting('synchronous_commit')", prepare=False
    ).fetchone()
    encoding, durable = row or ("", "")
    if encoding != "UTF8":
        raise StoreError(
            StoreReason.REFUSED,
            f"{location}: the database's encoding is {encoding}: create one with ENCODING 'UTF8'",
        )
    if durable in ("off", "local"):
        connection.execute("SET synchronous_commit = on", prepare=False)


def refuse_replica(connection: Connection, location: Location) -> None:
    """Raise StoreError if the server accepts no writes now, because it is a replica or set to read-only."""
    row = connection.execute(
        "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on'", prepare=False
    ).fetchone()
    if row is None or row[0]:
        raise StoreError(
            StoreReason.READ_ONLY,
            f"{location}: this server takes no writes, because it is a replica or set to read-only: connect to the"
            " primary, or name all servers in [store] url, separated by commas",
        )
