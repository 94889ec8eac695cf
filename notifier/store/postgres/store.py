"""The store in PostgreSQL: the connection that has the store's lock, and how the process reconnects after a loss."""

import contextlib
import logging
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import Final

import psycopg

from notifier.store.database import Database
from notifier.store.errors import StoreError, StoreReason
from notifier.store.postgres import holders, schema
from notifier.store.postgres.connection import connect, connect_read_only, refuse_replica
from notifier.store.postgres.database import (
    Connection,
    ForeignSessionError,
    PostgresDatabase,
    PostgresReadingDatabase,
    mark_turn,
)
from notifier.store.postgres.errors import converted_errors
from notifier.store.postgres.holders import Holder
from notifier.store.postgres.location import Location
from notifier.store.postgres.server_clock import AGREES_MS, difference_sentence, server_clock_ahead_ms
from notifier.store.store import Store

_log = logging.getLogger(__name__)

RECONNECT_WITHIN_SECONDS: Final = 60.0
"""Within this many seconds after the connection is lost, the holder may reconnect and go on. Later, it stands by."""

RETRY_SECONDS: Final = 1.0
"""Minimum number of seconds between two attempts to reconnect. In between, every use of the store fails at once."""


class PostgresStore(Store):
    """Owns the lock of a schema, the session that has the lock, and the thread that uses this session.

    All writing is done in this session.
    """

    def __init__(self, location: Location, now_ms: Callable[[], int]) -> None:
        """Initialise with the schema's location; nothing is opened yet."""
        super().__init__()
        self.location = location
        self._now_ms = now_ms
        self._candidate: Connection | None = None
        self._db: PostgresDatabase | None = None
        self._epoch: int | None = None
        self._timeline: str | None = None
        self._previous_holder: Holder | None = None
        self._lost_at: float | None = None
        self._next_try_at = 0.0
        self._reconnect_error: StoreError | None = None
        self._clock_differs = False

    async def try_open(self) -> Holder | None:
        """Open the store and return None; if another process holds the store, return that holder instead.

        A standby calls this repeatedly. Raises StoreError if the server cannot be used now.
        """
        return await self._run_on_thread(self._try_open)

    async def store_configured_names(self, sources: Collection[str], destinations: Collection[str]) -> None:
        """Store which sources and destinations this process has configured. Raises StoreError.

        If the previous holder had sources or destinations that this process lacks, a warning names them.
        """
        before = self._previous_holder
        if before is not None and (missing := sorted(before.sources - {*sources})):
            _log.warning(
                "the last holder watched sources that this configuration lacks: their changes are no longer detected",
                extra={"holder": before.name, "source": ", ".join(missing)},
            )
        if before is not None and (missing := sorted(before.destinations - {*destinations})):
            _log.warning(
                "the last holder had destinations that this configuration lacks: what waits for them is not sent",
                extra={"holder": before.name, "destination": ", ".join(missing)},
            )
        if self._epoch is not None:
            await self.run(holders.store_configured_names, self._epoch, sources, destinations)

    async def check_access(self) -> None:
        """Check the connection, and try to reconnect if it is lost; also compare the clocks. Raises StoreError."""
        await self._run_on_thread(self._check_access)

    def open_reader(self) -> PostgresReadingDatabase:
        """Open a new read-only connection."""
        return connect_read_only(self.location)

    def converted_errors(self) -> AbstractContextManager[None]:
        """In a `with` block, convert PostgreSQL's errors about the schema to StoreError."""
        return converted_errors(self.location)

    def _open(self) -> None:
        holder = self._try_open()
        if holder is not None:
            raise held_elsewhere(self.location, holder)

    def _try_open(self) -> Holder | None:
        if self._db is not None:
            return None
        with converted_errors(self.location):
            try:
                if self._candidate is None:
                    self._candidate = connect(self.location)
                    self._compare_clocks(PostgresDatabase(self._candidate))
                return self._take_or_return_holder(self._candidate)
            except (psycopg.Error, StoreError):
                self._close_candidate()
                raise

    def _take_or_return_holder(self, connection: Connection) -> Holder | None:
        if not holders.try_lock(connection, self.location):
            return self._current_holder(connection)
        refuse_replica(connection, self.location)
        with contextlib.closing(connect(self.location)) as other:
            holders.check_session(connection, other, self.location)
        schema.create_or_update(connection, self.location)
        db = PostgresDatabase(connection)
        self._timeline = holders.server_timeline(connection)
        with db.atomic():
            self._previous_holder = holders.latest_holder(db)
            self._epoch = holders.begin_turn(db, self._now_ms())
        self._candidate, self._db = None, self._database_in_turn(connection)
        return None

    def _current_holder(self, connection: Connection) -> Holder:
        unknown = Holder(0, "another process", self._now_ms(), None)
        if not schema.exists(connection, self.location):
            # The other process has the lock, and is creating the tables.
            return unknown
        schema.refuse_newer(schema.applied_steps(connection), self.location)
        return holders.latest_holder(PostgresDatabase(connection)) or unknown

    def _close_candidate(self) -> None:
        candidate, self._candidate = self._candidate, None
        if candidate is not None:
            candidate.close()

    def _usable_connection(self) -> PostgresDatabase:
        if self._db is None:
            raise RuntimeError("the store is not open")
        if not self._db.is_usable:
            self._reconnect()
        return self._db

    def _check_access(self) -> None:
        self._use_connection(self._compare_clocks)

    def _compare_clocks(self, db: Database) -> None:
        """Log when this machine's clock and the server's begin to differ, and when they agree again."""
        ahead_ms = server_clock_ahead_ms(db, self._now_ms)
        sentence = difference_sentence(ahead_ms)
        if sentence is not None and not self._clock_differs:
            _log.warning(
                "the clock of this machine differs from that of the database's server",
                extra={"database": str(self.location), "detail": sentence},
            )
            self._clock_differs = True
        elif self._clock_differs and abs(ahead_ms) < AGREES_MS:
            _log.info("the clock of this machine agrees with that of the database's server again")
            self._clock_differs = False

    def _reconnect(self) -> None:
        """Reconnect after the connection was lost, if no other process has held the store since.

        Raises StoreError. The reason HELD_ELSEWHERE means that this process must stop being the holder: there is a new
        holder, the server may lack the last writes, or the connection was lost more than RECONNECT_WITHIN_SECONDS ago.
        After any other reason, a later call may succeed.
        """
        now = time.monotonic()
        if self._lost_at is None:
            self._lost_at = now
            _log.warning("the connection to the database is lost", extra={"database": str(self.location)})
        if now < self._next_try_at and self._reconnect_error is not None:
            raise self._reconnect_error
        try:
            with converted_errors(self.location):
                self._resume_turn()
        except StoreError as error:
            self._next_try_at = time.monotonic() + RETRY_SECONDS
            self._reconnect_error = error
            if error.reason is StoreReason.HELD_ELSEWHERE or now - self._lost_at < RECONNECT_WITHIN_SECONDS:
                raise
            raise StoreError(
                StoreReason.HELD_ELSEWHERE,
                f"{error.message}; this has lasted for {RECONNECT_WITHIN_SECONDS:.0f} s, so this process stands by",
            ) from error
        _log.warning(
            "the database is reached again, and no other process has used it meanwhile",
            extra={"database": str(self.location), "seconds": round(now - self._lost_at, 1)},
        )
        self._lost_at = self._reconnect_error = None

    def _resume_turn(self) -> None:
        with contextlib.ExitStack() as on_failure:
            connection = connect(self.location)
            on_failure.callback(connection.close)
            refuse_replica(connection, self.location)
            is_free = holders.try_lock(connection, self.location)
            db = PostgresDatabase(connection)
            latest = holders.latest_holder(db)
            if latest is None or latest.epoch != self._epoch:
                raise held_elsewhere(self.location, latest)
            if not is_free:
                raise StoreError(
                    StoreReason.UNREACHABLE,
                    f"{self.location}: the server has not noticed yet that the earlier connection of this process is"
                    " lost; it will in some seconds",
                )
            if holders.server_timeline(connection) != self._timeline:
                # This server may lack the last writes, so this process starts again from what is there, and raises the
                # event numbers.
                raise StoreError(
                    StoreReason.HELD_ELSEWHERE,
                    f"{self.location}: a replica was promoted, or a backup restored, so the last moments may be"
                    " missing: this process begins again with what is there",
                )
            fresh = self._database_in_turn(connection)
            on_failure.pop_all()
        if self._db is not None:
            self._db.close()
        self._db = fresh

    def _database_in_turn(self, connection: Connection) -> PostgresDatabase:
        turn = str(self._epoch)
        mark_turn(connection, turn)
        return PostgresDatabase(connection, turn)

    def _note_if_fatal(self, error: StoreError) -> None:
        is_over = error.reason is StoreReason.HELD_ELSEWHERE or isinstance(error.__cause__, ForeignSessionError)
        if is_over and self.fatal_error is None:
            self.fatal_error = error

    def _close(self) -> None:
        self._thread.close()
        self._close_connection()

    def _close_connection(self) -> None:
        self._close_candidate()
        db, self._db = self._db, None
        if db is None:
            return
        if self.fatal_error is None and db.is_usable and self._epoch is not None:
            try:
                with db.atomic():
                    holders.end_turn(db, self._epoch, self._now_ms())
                holders.release_lock(db.connection, self.location)
            except psycopg.Error as error:
                _log.debug("the end of the turn could not be stored", extra={"detail": str(error)})
        db.close()


def held_elsewhere(location: Location, holder: Holder | None) -> StoreError:
    """Return the error for a store that another process holds."""
    who = "another process" if holder is None else holder.name
    return StoreError(StoreReason.HELD_ELSEWHERE, f"{location}: {who} holds it: stop that process, or run this there")
