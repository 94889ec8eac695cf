"""The holder of a store in PostgreSQL: the only process that writes to the store, because it has the store's lock.

The lock is an advisory lock of the writing session, so it ends with the session. Each turn of a holder is a row in
`holders`; the highest epoch is the latest. The rows show people which process holds the store. When a holder
reconnects, the rows show whether another process has held the store in the meantime.
"""

import logging
import os
import socket
import zlib
from collections.abc import Collection
from typing import Final

import orjson
import psycopg
from msgspec import Struct

from notifier import __version__
from notifier.store.database import Database
from notifier.store.errors import StoreError, StoreReason
from notifier.store.postgres.database import Connection, ForeignSessionError
from notifier.store.postgres.location import Location

_log = logging.getLogger(__name__)

LOCK_SPACE: Final = 0x4B504146
"""The first of the two numbers that identify an advisory lock. All locks of this program have this first number."""

SKIPPED_EVENT_NUMBERS: Final = 1_000_000
"""How far the next event's number is raised if the previous holder did not stop in an orderly way. With
asynchronous replication, receivers may have events with numbers that the promoted replica does not know.
"""

_HOLDERS_KEPT: Final = 100


class Holder(Struct, frozen=True):
    """One turn of a process as holder of the store; times in Unix milliseconds, by the holder's clock.

    `until_ms` is None during the turn, and after a turn that ended without an orderly stop.
    """

    epoch: int
    name: str
    since_ms: int
    until_ms: int | None
    sources: frozenset[str] = frozenset()
    destinations: frozenset[str] = frozenset()


def own_name() -> str:
    """Return the name of this process for people: the machine, and the process id."""
    return f"{socket.gethostname()}, process {os.getpid()}"


def lock_key(schema: str) -> int:
    """Return the second of the two numbers of a schema's lock, a signed 32-bit integer. Pure."""
    return int.from_bytes(zlib.crc32(schema.encode()).to_bytes(4, "big"), "big", signed=True)


def try_lock(connection: Connection, location: Location) -> bool:
    """Take the lock if it is free; return whether it was taken. Raises psycopg.Error."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", [LOCK_SPACE, lock_key(location.schema)]).fetchone()
    return row is not None and bool(row[0])


def release_lock(connection: Connection, location: Location) -> None:
    """Release the lock. Raises psycopg.Error.

    Closing the connection would release the lock, too, but a moment later. Until then, a process that starts would find
    the lock taken.
    """
    connection.execute("SELECT pg_advisory_unlock(%s, %s)", [LOCK_SPACE, lock_key(location.schema)])


def server_timeline(connection: Connection) -> str | None:
    """Return the server's timeline, which changes when a replica is promoted or a backup is restored.

    None if the server cannot return it. Raises psycopg.Error.
    """
    try:
        row = connection.execute(
            "SELECT left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)", prepare=False
        ).fetchone()
    except (psycopg.ProgrammingError, psycopg.NotSupportedError) as error:
        # Servers whose replicas all share one storage lack these functions, and lose nothing when a replica takes over.
        _log.debug("the server does not tell its timeline", extra={"detail": str(error)})
        return None
    return None if row is None else str(row[0])


def check_session(connection: Connection, other: Connection, location: Location) -> None:
    """Check that `connection` has a session of its own, and that this session has the lock.

    `other` is a second connection of this process. A pooler in transaction mode may give both connections the same
    session. Because the pooler may do so at any time, each later transaction checks again. The lock is checked because
    some databases that imitate PostgreSQL confirm a lock but do not keep it. Raises StoreError, psycopg.Error.
    """
    key = lock_key(location.schema)
    own_row = connection.execute("SELECT pg_backend_pid()", prepare=False).fetchone()
    other_row = other.execute("SELECT pg_backend_pid()", prepare=False).fetchone()
    own_row_again = connection.execute(
        "SELECT pg_backend_pid(), EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND pid = pg_backend_pid() AND classid::bigint = %s AND objid::bigint = %s)",
        [LOCK_SPACE, key % 2**32],
    ).fetchone()
    if (
        own_row is None
        or other_row is None
        or own_row_again is None
        or own_row == other_row
        or own_row[0] != own_row_again[0]
    ):
        raise ForeignSessionError("two connections share a session")
    if not own_row_again[1]:
        raise StoreError(
            StoreReason.REFUSED,
            f"{location}: the server does not keep advisory locks, so two daemons could write at once: use PostgreSQL"
            " itself",
        )


def latest_holder(db: Database) -> Holder | None:
    """Return the latest holder; None if there was none yet."""
    row = db.execute(
        "SELECT epoch, name, since, until, sources, destinations FROM holders ORDER BY epoch DESC LIMIT 1"
    ).fetchone()
    if row is None:
        return None
    epoch, name, since, until, sources, destinations = row
    return Holder(epoch, name, since, until, frozenset(orjson.loads(sources)), frozenset(orjson.loads(destinations)))


def begin_turn(db: Database, now_ms: int) -> int:
    """Store that this process is now the holder; return the epoch of its turn.

    If the previous holder's turn had no orderly end, the next event's number is raised by SKIPPED_EVENT_NUMBERS.
    """
    before = latest_holder(db)
    if before is not None and before.until_ms is None:
        skip_event_numbers(db)
    row = db.execute(
        "INSERT INTO holders (name, version, since) VALUES (?, ?, ?) RETURNING epoch",
        [own_name(), __version__, now_ms],
    ).fetchone()
    db.execute("DELETE FROM holders WHERE epoch <= ?", [int(row[0]) - _HOLDERS_KEPT])
    return int(row[0])


def skip_event_numbers(db: Database) -> None:
    """Raise the number of the next event by SKIPPED_EVENT_NUMBERS."""
    db.execute("SELECT setval('events_sequence_seq', last_value + ?) FROM events_sequence_seq", [SKIPPED_EVENT_NUMBERS])


def store_configured_names(db: Database, epoch: int, sources: Collection[str], destinations: Collection[str]) -> None:
    """Store which sources and destinations the holder has configured."""
    names = [orjson.dumps(sorted(names)).decode() for names in (sources, destinations)]
    db.execute("UPDATE holders SET sources = ?, destinations = ? WHERE epoch = ?", [*names, epoch])


def end_turn(db: Database, epoch: int, now_ms: int) -> None:
    """Store that the holder has ended its turn in an orderly way."""
    db.execute("UPDATE holders SET until = ? WHERE epoch = ?", [now_ms, epoch])
