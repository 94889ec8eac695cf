"""What is remembered of each destination: whether it works, since when, and how much waits for it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from sqlite_utils import Database

from notifier.ledger.outbox import DeliveryState

BY_OPERATOR: Final = "operator"
"""The reason of a destination's health when it is a person who has disabled it."""


class HealthState(StrEnum):
    """Whether a destination as a whole gets its requests through."""

    OK = "ok"
    RETRYING = "retrying"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a destination as a whole; times in Unix milliseconds.

    `failures` counts the rounds of trouble in a row; before `retry_at_ms` nothing is sent.
    """

    state: HealthState = HealthState.OK
    reason: str | None = None
    since_ms: int | None = None
    failures: int = 0
    retry_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class LastError:
    """The last failure of a destination; `message` is redacted."""

    reason: str
    message: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class DestinationMemory:
    """A destination as the ledger knows it; the counts are events."""

    health: Health
    delivered: int = 0
    pending: int = 0
    dead: int = 0
    oldest_pending_ms: int | None = None
    last_error: LastError | None = None


@dataclass(frozen=True, slots=True)
class Undelivered:
    """The deliveries to one destination that are in one state after attempts that failed for one reason.

    `reason` is None where none was made yet. Moments in Unix milliseconds: the earliest first attempt and the latest
    last one, None where there was none; time during which the destination was disabled is left out of the first.
    """

    state: DeliveryState
    reason: str | None
    count: int
    first_attempt_ms: int | None = None
    last_attempt_ms: int | None = None


def undelivered(db: Database) -> dict[str, list[Undelivered]]:
    """Return what waits for each destination and what was given up, by the destination's name."""
    found: dict[str, list[Undelivered]] = {}
    for name, state, *rest in db.execute(
        "SELECT destination, state, reason, count(*), min(first_attempt_at), max(last_attempt_at) FROM deliveries"
        " WHERE state <> 'delivered' GROUP BY 1, 2, 3"
    ):
        found.setdefault(name, []).append(Undelivered(DeliveryState(state), *rest))
    return found


def waiting(db: Database, names: Iterable[str]) -> dict[str, int]:
    """Return how many events wait for each of these destinations."""
    counted = "SELECT count(*) FROM deliveries WHERE destination = ? AND state = 'pending'"
    return {name: db.execute(counted, [name]).fetchone()[0] for name in names}


def recall(db: Database, name: str) -> Health:
    """Return a destination's health, making a row for one never heard of."""
    db.execute("INSERT INTO destinations (name) VALUES (?) ON CONFLICT DO NOTHING", [name])
    row = db.execute(
        "SELECT state, reason, since, failures, retry_at FROM destinations WHERE name = ?", [name]
    ).fetchone()
    return Health(HealthState(row[0]), *row[1:])


def remember(db: Database, name: str, health: Health, error: LastError | None = None) -> None:
    """Write down a destination's health and, when there is one, its last error."""
    db.execute(
        "UPDATE destinations SET state = ?, reason = ?, since = ?, failures = ?, retry_at = ? WHERE name = ?",
        [health.state, health.reason, health.since_ms, health.failures, health.retry_at_ms, name],
    )
    if error is not None:
        db.execute(
            "UPDATE destinations SET error_reason = ?, error_message = ?, error_at = ? WHERE name = ?",
            [error.reason, error.message, error.at_ms, name],
        )


def everything(db: Database) -> dict[str, DestinationMemory]:
    """Return what is remembered of every destination and how much waits for it, by name."""
    rows = db.execute(
        "SELECT name, state, reason, since, failures, retry_at, delivered, error_reason, error_message, error_at"
        " FROM destinations ORDER BY name"
    )
    memories = {
        row[0]: DestinationMemory(
            Health(HealthState(row[1]), *row[2:6]),
            delivered=row[6],
            last_error=LastError(*row[7:]) if row[7] else None,
        )
        for row in rows
    }
    for name, state, count, first in db.execute(
        "SELECT destination, state, count(*), min(sequence) FROM deliveries WHERE state <> 'delivered' GROUP BY 1, 2"
    ).fetchall():
        memory = memories.get(name, DestinationMemory(Health()))
        if state == "dead":
            memories[name] = replace(memory, dead=count)
        else:
            oldest = db.execute("SELECT detected_at FROM events WHERE sequence = ?", [first]).fetchone()
            memories[name] = replace(memory, pending=count, oldest_pending_ms=oldest[0])
    return memories
