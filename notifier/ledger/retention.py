"""Forgets what was delivered long ago, a little at a time; what is known of records stays."""

from sqlite_utils import Database

from notifier.ledger.outbox import LONGEST_RUN

CHUNK = 500
"""Events forgotten in one transaction, so that nobody waits long for the ledger."""


def forget(db: Database, before_ms: int) -> int:
    """Delete up to CHUNK events detected before a moment, with their deliveries and attempts; return how many.

    An event stays while any of its deliveries is pending or dead, and while a replay has yet to come to it.
    """
    rows = db.execute(
        "SELECT sequence FROM events WHERE detected_at < ? AND NOT EXISTS (SELECT 1 FROM deliveries"
        " WHERE deliveries.sequence = events.sequence AND state <> 'delivered')"
        " AND NOT EXISTS (SELECT 1 FROM replays r JOIN replay_parts p ON p.replay = r.id WHERE p.state = 'running'"
        " AND events.sequence > p.reached AND events.sequence <= r.last"
        " AND events.detected_at >= r.since AND events.detected_at < r.until)"
        " ORDER BY sequence LIMIT ?",
        [before_ms, CHUNK],
    ).fetchall()
    for table in ("deliveries", "events"):
        db.conn.executemany(f"DELETE FROM {table} WHERE sequence = ?", rows)
    if rows:
        db.execute(
            "DELETE FROM attempt_runs WHERE first_sequence BETWEEN ? AND ? AND NOT EXISTS (SELECT 1 FROM deliveries"
            " WHERE sequence BETWEEN first_sequence AND last_sequence AND destination = attempt_runs.destination)",
            [rows[0][0] - LONGEST_RUN + 1, rows[-1][0]],
        )
    if len(rows) < CHUNK:
        db.execute("PRAGMA incremental_vacuum(1000)").fetchall()
    return len(rows)
