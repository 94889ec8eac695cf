"""Where the store is, and which process holds it."""

from typing import TYPE_CHECKING

from notifier.clock import Clock, iso_utc
from notifier.store.database import Database, Engine

if TYPE_CHECKING:
    from notifier.web.response_models.status import StoreDocument


def file_status() -> "StoreDocument":
    """Return the JSON object for a state file, which only processes of this machine can hold."""
    return {"kind": "file", "holder": None, "since": None, "clock_ahead_seconds": None}


def store_status(db: Database, clock: Clock) -> "StoreDocument":
    """Return the JSON object of `store`."""
    if db.engine is Engine.SQLITE:
        return file_status()
    # Imported here, because whoever uses a file needs no library of PostgreSQL.
    from notifier.store.postgres import holders, server_clock  # noqa: PLC0415

    holder = holders.latest(db)
    ahead_seconds = server_clock.server_clock_ahead_ms(db, clock.now_ms) / 1000
    if holder is None or holder.until_ms is not None:
        return {"kind": "postgres", "holder": None, "since": None, "clock_ahead_seconds": ahead_seconds}
    since = iso_utc(holder.since_ms)
    return {"kind": "postgres", "holder": holder.name, "since": since, "clock_ahead_seconds": ahead_seconds}
