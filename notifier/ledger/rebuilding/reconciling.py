"""Makes of what was salvaged, and of the essentials, a state file that keeps the promise (`rebuild.py` tells how)."""

from dataclasses import dataclass
from typing import Final

from sqlite_utils import Database

from notifier.ledger.rebuilding.essentials import EVENT_COLUMNS, MARGIN_MS, Essentials, highest_sequence, read_until_ms

SEQUENCE_LEAP: Final = 1_000_000
"""So far beyond the highest number known the next event's is: what was numbered last may not be known any more."""


_ORPHANS: Final = (
    "deliveries WHERE sequence NOT IN (SELECT sequence FROM events)",
    (
        "attempt_runs WHERE NOT EXISTS (SELECT 1 FROM deliveries"
        " WHERE sequence BETWEEN first_sequence AND last_sequence AND destination = attempt_runs.destination)"
    ),
    "replay_parts WHERE replay NOT IN (SELECT id FROM replays)",
)
"""What makes no sense without rows that were lost."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What could not be read of a damaged file: the names of its tables, or everything."""

    tables: tuple[str, ...] = ()
    everything: bool = False

    def of(self, table: str) -> bool:
        """Tell whether rows of a table were lost."""
        return self.everything or table in self.tables

    def __str__(self) -> str:
        """Say it."""
        return "everything" if self.everything else ", ".join(self.tables) or "nothing"


def reconcile(db: Database, known: Essentials, loss: Loss, problem: str, now_ms: int) -> None:
    """Bring what was salvaged and what the essentials know together, in one transaction of the caller's."""
    _bring_back(db, known)
    for orphans in _ORPHANS:
        db.execute(f"DELETE FROM {orphans}")
    db.conn.executemany(
        "INSERT INTO told_before (id, at) SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM events WHERE id = ?1)",
        [(id_, now_ms) for id_ in known.told],
    )
    for name, source in known.sources.items():
        db.execute("INSERT OR IGNORE INTO sources (name) VALUES (?)", [name])
        db.execute(
            "UPDATE sources SET met_at = coalesce(met_at, ?), last_success = coalesce(last_success, ?) WHERE name = ?",
            [source.met_at_ms, source.last_success_ms, name],
        )
    for name, (reason, since) in known.disabled.items():
        db.execute(
            "INSERT OR IGNORE INTO destinations (name, state, reason, since) VALUES (?, 'disabled', ?, ?)",
            [name, reason, since],
        )
    _draw_the_line(db, known, loss)
    if loss.of("events"):
        _meet_again(db, known)
    db.execute(
        "UPDATE sources SET records = (SELECT count(*) FROM records WHERE source = sources.name AND removed_at IS NULL)"
    )
    (highest,) = db.execute("SELECT coalesce(max(sequence), 0) FROM events").fetchone()
    leap(db, max(highest, known.sequence, highest_sequence(db)))
    db.execute("INSERT INTO rebuilds (at, problem, lost) VALUES (?, ?, ?)", [now_ms, problem, str(loss)])


def _bring_back(db: Database, known: Essentials) -> None:
    """Add the undelivered events that were lost, under their old numbers, and the deliveries that were."""
    places = ", ".join("?" * len(EVENT_COLUMNS.split(", ")))
    for lost in known.undelivered:
        db.execute(f"INSERT OR IGNORE INTO events ({EVENT_COLUMNS}) VALUES ({places})", lost.event)
        row = db.execute("SELECT sequence FROM events WHERE id = ?", [lost.id]).fetchone()
        if row is not None:
            db.conn.executemany(
                "INSERT OR IGNORE INTO deliveries (sequence, destination, state) VALUES (?, ?, ?)",
                [(row[0], destination, state) for destination, state in lost.deliveries],
            )


def _draw_the_line(db: Database, known: Essentials, loss: Loss) -> None:
    """Fix for each source before which moment of entry an unknown record is no news."""
    for name, met_ms, swept_ms, success_ms in db.execute(
        "SELECT name, met_at, swept_at, last_success FROM sources WHERE met_at IS NOT NULL"
    ).fetchall():
        if not (loss.of("records") or loss.of("sources")):
            continue
        if name in known.sources:
            line_ms = max(known.sources[name].read_ms, known.told_since_ms)
        elif loss.of("events"):
            # Nobody knows what was told: rather a gap, which is said, than a day's events told twice.
            line_ms = max(met_ms, (success_ms or met_ms) - MARGIN_MS)
        else:
            line_ms = read_until_ms(met_ms, swept_ms, None, success_ms)
        db.execute(
            "UPDATE sources SET told_until = ?, swept_at = NULL, left_over = NULL, uncounted = 0 WHERE name = ?",
            [line_ms, name],
        )


def _meet_again(db: Database, known: Essentials) -> None:
    """Forget the records whose event may be lost untold: they are found again, and told if they were not."""
    for name, source in known.sources.items():
        db.execute(
            "DELETE FROM records WHERE source = ? AND revision = 1 AND removed_at IS NULL AND recorded_at >= ?"
            " AND NOT EXISTS (SELECT 1 FROM events WHERE events.source = records.source AND subject = key)",
            [name, max(source.read_ms, source.met_at_ms)],
        )


def leap(db: Database, highest: int) -> None:
    """Let the next event's number be far beyond the highest one."""
    if not highest:
        return
    if db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'events'", [highest + SEQUENCE_LEAP]).rowcount == 0:
        db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('events', ?)", [highest + SEQUENCE_LEAP])
