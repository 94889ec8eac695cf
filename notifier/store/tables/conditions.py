"""The conditions (problems to report), their phases and their changes."""

from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import astuple, replace

from notifier.store.database import Database


class ConditionState(StrEnum):
    """The state of a condition in an alert.

    `WITHDRAWN`: the condition is no longer reported, although nothing shows that the problem was solved.
    """

    FIRING = "firing"
    RESOLVED = "resolved"
    WITHDRAWN = "withdrawn"


class Phase(StrEnum):
    """The phases of a stored condition.

    `BEGUN`: the condition holds, but not yet for long enough to be reported. `FIRING`: it holds and can be reported.
    `OVER`: it has ended; if it returns soon, it is taken for the same condition.
    """

    BEGUN = "begun"
    FIRING = "firing"
    OVER = "over"


class StoredCondition(Struct, frozen=True):
    """A condition as it is stored, in any of its phases; times in Unix milliseconds."""

    name: str
    """The name as plain text, because another version of the program may have other conditions."""
    subject: str
    summary: str
    since_ms: int
    alerted_ms: int | None = None
    """When an alert last reported the condition as firing; None: never."""
    phase: Phase = Phase.FIRING
    category: str = ""
    cause: str = ""
    remedy: str = ""
    seen_ms: int = 0
    """The total time for which the condition was seen, over all processes."""
    unseen_ms: int = 0
    """How long the condition has been absent since it was last seen."""
    ends_after_ms: int = 0
    """The value of `unseen_ms` at which the condition ends."""
    ended_ms: int | None = None
    ending: str = ""
    """Why the condition ended."""
    alerted_to: str = ""
    """The destination of the last alert that reported it as firing."""
    alerts: int = 0
    """The number of alerts about the condition in the day that began at `alerts_from_ms`."""
    alerts_from_ms: int = 0
    returns: int = 0
    """How often the condition came back soon after its end."""
    texts: str = ""
    """The sentences of `summary` and `remedy` that exist in other languages, as JSON; "" without any."""

    @property
    def key(self) -> tuple[str, str]:
        """The identity of the condition."""
        return self.name, self.subject


class ConditionChange(Struct, frozen=True):
    """A change of a condition: its new state, the reason for recording it, and the destination of the alert.

    `destination` is None if no alert is sent. `is_forgotten` means that the stored condition is deleted.
    """

    state: ConditionState
    condition: StoredCondition
    reason: str
    destination: str | None
    is_forgotten: bool = False


_COLUMNS: Final = (
    "name, subject, summary, since, told_at, phase, net, cause, remedy, lived, well, ends_after, ended_at, ending,"
    " told_to, messages, counted_from, returns, texts"
)
_PLACES: Final = ", ".join("?" * len(_COLUMNS.split(", ")))
_REPLACED: Final = ", ".join(f"{column} = excluded.{column}" for column in _COLUMNS.split(", ")[2:])


def read_firing(db: Database) -> tuple[StoredCondition, ...]:
    """Return the firing conditions, the longest lasting first."""
    return tuple(condition for condition in read_all(db) if condition.phase is Phase.FIRING)


def read_all(db: Database) -> tuple[StoredCondition, ...]:
    """Return the stored conditions of all phases, the longest lasting first."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM conditions ORDER BY since, name, subject")
    return tuple(replace(StoredCondition(*row), phase=Phase(row[5])) for row in rows.fetchall())


def store_change(db: Database, change: ConditionChange) -> None:
    """Store the condition that a change contains, or delete its row if the change says that it is forgotten."""
    it = change.condition
    if change.is_forgotten:
        db.execute("DELETE FROM conditions WHERE name = ? AND subject = ?", [it.name, it.subject])
        return
    db.execute(
        f"INSERT INTO conditions ({_COLUMNS}) VALUES ({_PLACES}) ON CONFLICT (name, subject) DO UPDATE SET {_REPLACED}",
        [*astuple(it)],
    )


def write_nothing(db: Database) -> None:
    """Write a row and delete it, to find out whether the store can be written."""
    # SQLite does not write to the disk if a row is only replaced by an equal one.
    db.execute("INSERT INTO conditions (name, subject, summary, since) VALUES ('', '', '', 0)")
    db.execute("DELETE FROM conditions WHERE name = '' AND subject = ''")
