"""The starts of the daemon, and whether each run was stopped in an orderly way."""

from notifier.store.database import Database

_KEPT_MS = 7 * 86_400_000


def record_start(db: Database, now_ms: int) -> None:
    """Store a start, and delete old ones."""
    db.execute("DELETE FROM starts WHERE at < ? OR at > ?", [now_ms - _KEPT_MS, now_ms])
    db.execute(
        "INSERT INTO starts (at, stopped_at) VALUES (?, NULL) ON CONFLICT (at) DO UPDATE SET stopped_at = NULL",
        [now_ms],
    )


def record_orderly_stop(db: Database, started_ms: int, now_ms: int) -> None:
    """Store that the daemon which started at `started_ms` was stopped in an orderly way."""
    db.execute("UPDATE starts SET stopped_at = ? WHERE at = ?", [now_ms, started_ms])


def count_unclean(db: Database, since_ms: int, current_ms: int) -> int:
    """Return how many runs that began at `since_ms` or later were killed or crashed.

    The present run, which began at `current_ms`, is left out.
    """
    row = db.execute(
        "SELECT count(*) FROM starts WHERE at >= ? AND at <> ? AND stopped_at IS NULL", [since_ms, current_ms]
    ).fetchone()
    return int(row[0])
