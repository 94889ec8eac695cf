"""What a rebuilt state file remembers of its making."""

from dataclasses import dataclass

from sqlite_utils import Database


@dataclass(frozen=True, slots=True)
class Rebuild:
    """When (Unix ms) a damaged file was replaced by this one, why, where it lies now, and what of it was lost."""

    at_ms: int
    problem: str
    set_aside: str | None
    lost: str


def latest(db: Database) -> Rebuild | None:
    """Return the latest time that this file was rebuilt; None when it never was."""
    row = db.execute("SELECT at, problem, set_aside, lost FROM rebuilds ORDER BY at DESC LIMIT 1").fetchone()
    return Rebuild(*row) if row else None
