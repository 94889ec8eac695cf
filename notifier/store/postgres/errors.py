"""Converts errors of PostgreSQL, and of the connection to it, to StoreError, which names the reason."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from notifier.redact import redact
from notifier.store.errors import StoreError, StoreReason
from notifier.store.postgres.database import ForeignSessionError
from notifier.store.postgres.location import Location

_TABLES_CHANGED: Final = (
    StoreReason.TABLES_CHANGED,
    "%s: the tables are not as this program made them; undo that change, or restore a backup",
)
_TABLES_LOCKED: Final = (StoreReason.LOCKED, "another program locks its tables: end that program")

_BY_SQLSTATE: Final = {
    "25006": (StoreReason.READ_ONLY, "it takes no writes: it is a replica or set to read-only; connect to the primary"),
    "42501": (StoreReason.NOT_WRITABLE, "this user lacks a right (%s): {grant}"),
    "53100": (StoreReason.DISK_FULL, "the server's disk is full: free some space there; nothing is lost"),
    "53300": (StoreReason.UNREACHABLE, "the server has no connection left (%s): raise its max_connections"),
    "57014": (StoreReason.BUSY, "a statement took too long: try again later"),
    "40P01": _TABLES_LOCKED,
    "55P03": _TABLES_LOCKED,
    "23502": _TABLES_CHANGED,
    "23503": _TABLES_CHANGED,
    "23514": _TABLES_CHANGED,
    "3D000": (StoreReason.REFUSED, "there is no such database: create it, or correct [store] url"),
    "3F000": _TABLES_CHANGED,
    "42703": _TABLES_CHANGED,
    "42804": _TABLES_CHANGED,
    "42883": _TABLES_CHANGED,
    "42P01": _TABLES_CHANGED,
    "42P10": _TABLES_CHANGED,
}
_REFUSED: Final = (StoreReason.REFUSED, "the server refuses this user (%s): correct user and password in [store] url")
_BY_CLASS: Final = {
    "08": (StoreReason.UNREACHABLE, "the connection is lost (%s)"),
    "28": _REFUSED,
    # A replica ends a statement with 40001 if the statement reads rows that the primary has deleted.
    "40": (StoreReason.BUSY, "the server has cancelled the statement (%s): try again"),
    "53": (StoreReason.BUSY, "the server is short of resources (%s)"),
    "57": (StoreReason.UNREACHABLE, "the server is being stopped or started (%s)"),
    "58": (StoreReason.IO_ERROR, "the server's disk reports errors (%s): check it"),
    "XX": (StoreReason.CORRUPT, "the server reports damage or an internal error (%s): check it, or restore a backup"),
}
_SHARED: Final = (
    StoreReason.REFUSED,
    "connections share a session here (a pooler in transaction mode): connect directly, or by a pool in session mode",
)
_LOST: Final = (StoreReason.UNREACHABLE, "it cannot be reached (%s)")
_TLS: Final = (StoreReason.REFUSED, "there is no trusted encrypted connection (%s): check sslmode and sslrootcert")

_BY_MESSAGE: Final = (
    ("password authentication failed", _REFUSED),
    ("no password supplied", _REFUSED),
    ("no pg_hba.conf entry", _REFUSED),
    ("role ", _REFUSED),
    ("certificate verify failed", _TLS),
    ("certificate", _TLS),
    ("does not support SSL", _TLS),
    ("permission denied for database", _BY_SQLSTATE["42501"]),
    ("database ", _BY_SQLSTATE["3D000"]),
)
"""Failed connections have no error code. These words in their messages show the reason; the first match counts."""


def as_store_error(error: psycopg.Error, location: Location) -> StoreError | None:
    """Convert an error to a StoreError; return None for an error that is a bug in the program. Pure."""
    message = redact(str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__)
    state = error.sqlstate
    named: tuple[StoreReason, str] | None
    if isinstance(error, ForeignSessionError):
        named = _SHARED
    elif state is not None:
        named = _BY_SQLSTATE.get(state) or _BY_CLASS.get(state[:2])
        message = f"{message}, SQLSTATE {state}"
    elif isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        named = next(
            (named for words, named in _BY_MESSAGE if f"FATAL:  {words}" in message or f" {words}" in message), _LOST
        )
    else:
        named = None
    if named is None:
        return None
    reason, text = named
    return StoreError(reason, f"{location}: {text.replace('%s', message).replace('{grant}', location.grant)}")


@contextmanager
def converted_errors(location: Location) -> Iterator[None]:
    """In a `with` block, convert PostgreSQL's errors about the schema to StoreError."""
    try:
        yield
    except psycopg.Error as error:
        named = as_store_error(error, location)
        if named is None:
            raise
        raise named from error
