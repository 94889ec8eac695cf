"""The stored state of each destination: whether it works, since when, and how many events wait for it."""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct, field
from msgspec.structs import replace

from notifier.store.database import Database
from notifier.store.tables import outbox, slots
from notifier.store.tables.outbox import DeliveryState

BY_OPERATOR: Final = "operator"
"""The value of `Health.reason` for a destination that an operator has disabled."""


class HealthState(StrEnum):
    """Whether requests to a destination succeed."""

    OK = "ok"
    RETRYING = "retrying"
    DISABLED = "disabled"


class Health(Struct, frozen=True):
    """The health of a destination; times in Unix milliseconds."""

    state: HealthState = HealthState.OK
    reason: str | None = None
    since_ms: int | None = None
    failures: int = 0
    """The number of consecutive failures of the destination as a whole."""
    retry_at_ms: int | None = None
    """The end of the retry wait. Before then, at most one new event is sent, as a probe."""
    asked: bool = False
    """Whether the receiver asked for the wait. If so, nothing is sent during it."""


class LearnedLimits(Struct, frozen=True):
    """The limits of a receiver, as learned from its answers; None means that only the configured limit applies.

    `rate` is in requests a second, `batch_limit` in events a request.
    """

    rate: float | None = None
    batch_limit: int | None = None


class StartingState(Struct, frozen=True):
    """The stored state that a destination starts with.

    `trying_ms` is the total time for which deliveries to it were tried. `was_reset` means that health and limits were
    reset, because the address or credentials have changed.
    """

    health: Health
    learned: LearnedLimits
    trying_ms: int
    was_reset: bool = False


class LastError(Struct, frozen=True):
    """The last failure of a destination; secrets are removed from `message`."""

    reason: str
    message: str
    at_ms: int


class DestinationMemory(Struct, frozen=True):
    """The stored state of a destination; `delivered`, `pending` and `dead` are numbers of events."""

    health: Health
    delivered: int = 0
    pending: int = 0
    dead: int = 0
    oldest_pending_ms: int | None = None
    last_error: LastError | None = None
    learned: LearnedLimits = field(default_factory=LearnedLimits)
    next_attempt_ms: int | None = None
    """When the next waiting event is due (0: now); None if no event waits."""
    scheduled: int = 0
    """The number of pending events that wait for a slot or for the end of a quiet time."""
    scheduled_for_ms: int | None = None
    """When the first of the `scheduled` events stops waiting: its slot, or the end of the quiet time."""
    oldest_due_ms: int | None = None
    """Since when the oldest pending event has waited; the `scheduled` events are left out."""

    @property
    def was_tried(self) -> bool:
        """Whether anything was ever sent to the destination."""
        return self.delivered > 0 or self.dead > 0 or self.last_error is not None or self.health != Health()


class UndeliveredGroup(Struct, frozen=True):
    """The waiting or given-up deliveries to one destination whose last attempts failed for the same `reason`.

    Without an attempt, `reason`, `tried_from_ms` and `last_attempt_ms` are None.
    """

    state: DeliveryState
    reason: str | None
    count: int
    tried_from_ms: int | None = None
    """The least `tried_from_ms` of the deliveries (see `outbox.Delivery`)."""
    last_attempt_ms: int | None = None
    """The time of the latest attempt of any of the deliveries (Unix ms)."""
    put_back: int = 0
    """The number of deliveries that had failed before an operator requested them again."""


def undelivered(db: Database) -> dict[str, list[UndeliveredGroup]]:
    """Return the waiting and the given-up deliveries, by the destination's name, ordered by state and reason."""
    found: dict[str, list[UndeliveredGroup]] = {}
    for name, state, *rest in db.execute(
        "SELECT destination, state, reason, count(*), min(tried_from), max(last_attempt_at),"
        " count(CASE WHEN again = 1 AND coalesce(reason, 'delivered') <> 'delivered' THEN 1 END) FROM deliveries"
        " WHERE state <> 'delivered' GROUP BY 1, 2, 3 ORDER BY 1, 2, coalesce(reason, '')"
    ):
        found.setdefault(name, []).append(UndeliveredGroup(DeliveryState(state), *rest))
    return found


class DueEvents(Struct, frozen=True):
    """Figures about the events that are due for a destination: those that wait neither for a retry nor for a slot."""

    since_ms: int
    """Since when the oldest event has waited (Unix ms).

    This is the latest of three times: when the event was detected, when it was requested again, and its slot.
    """
    delivered_last_hour: int = 0
    """The number of events that were delivered to this destination in the last hour."""
    detected_last_hour: int = 0
    """The number of events for this destination that were detected in the last hour."""
    blocked: int = 0
    """How many of the first _EXAMINED_EVENTS due events wait for an earlier event of the same record."""
    blocked_by: str | None = None
    """The id of the first of those earlier events."""


_EXAMINED_EVENTS = 1000
_HOUR_MS = 3_600_000
_QUARTER_MS = 900_000


def due_events(db: Database, name: str, *, now_ms: int, horizon_ms: int, late_ms: int) -> DueEvents | None:
    """Return figures about the events that are due for a destination; None if no event is due.

    If the oldest event has waited for less than `late_ms`, only `since_ms` of the result is set.
    """
    now = {"name": name, "now": now_ms, "horizon": horizon_ms}
    (since_ms,) = db.execute(
        f"SELECT min(since) FROM (SELECT {_SINCE} AS since {_FROM} WHERE {_DUE}"
        f" ORDER BY d.sequence LIMIT {_EXAMINED_EVENTS}) AS looked_at",
        now,
    ).fetchone()
    if since_ms is None or now_ms - since_ms < late_ms:
        return None if since_ms is None else DueEvents(since_ms)
    hour = {"name": name, "begin": now_ms - _HOUR_MS}
    (delivered_last_hour,) = db.execute(
        "SELECT coalesce(sum(deliveries), 0) FROM delivered_counts WHERE destination = :name AND quarter > :quarter",
        {"name": name, "quarter": (now_ms - _HOUR_MS) // _QUARTER_MS},
    ).fetchone()
    (detected_last_hour,) = db.execute(
        "SELECT count(*) FROM events e JOIN deliveries d ON d.sequence = e.sequence AND d.destination = :name"
        " WHERE e.detected_at > :begin",
        hour,
    ).fetchone()
    blocked, first = db.execute(
        "SELECT count(blocker), min(blocker) FROM (SELECT (SELECT b.sequence FROM events b"
        " JOIN deliveries w ON w.sequence = b.sequence AND w.destination = :name AND w.state = 'pending'"
        " AND w.next_attempt_at BETWEEN :now + 1 AND :horizon WHERE b.subject = e.subject AND b.source = e.source"
        " AND b.sequence < e.sequence ORDER BY b.sequence LIMIT 1) AS blocker"
        f" {_FROM} WHERE {_DUE} ORDER BY d.sequence LIMIT {_EXAMINED_EVENTS}) AS looked_at",
        now,
    ).fetchone()
    by = db.execute("SELECT id FROM events WHERE sequence = ?", [first]).fetchone() if blocked else None
    return DueEvents(since_ms, delivered_last_hour, detected_last_hour, blocked, by[0] if by else None)


def names_with_requests(db: Database) -> set[str]:
    """Return the names of all destinations to which anything was ever sent."""
    rows = db.execute(
        "SELECT name FROM destinations WHERE delivered > 0 OR error_reason IS NOT NULL OR state <> 'ok' UNION"
        " SELECT DISTINCT destination FROM deliveries WHERE state = 'dead' AND state <> 'delivered'"
    ).fetchall()
    return {name for (name,) in rows}


_SINCE = "max(coalesce(d.queued_at, e.detected_at), coalesce(d.slot_at, 0))"
_FROM = "FROM deliveries d JOIN events e USING (sequence) JOIN destinations t ON t.name = d.destination"
_DUE = (
    "d.destination = :name AND d.state = 'pending' AND d.state <> 'delivered'"
    f" AND d.next_attempt_at NOT BETWEEN :now + 1 AND :horizon AND NOT {slots.IS_WAITING}"
)


def count_waiting(db: Database, names: Iterable[str]) -> dict[str, int]:
    """Return how many events wait to be sent to each of these destinations."""
    counted = "SELECT count(*) FROM deliveries WHERE destination = ? AND state = 'pending'"
    return {name: db.execute(counted, [name]).fetchone()[0] for name in names}


def read_or_create(db: Database, name: str) -> Health:
    """Return a destination's health; add the destination if it is unknown."""
    db.execute("INSERT INTO destinations (name) VALUES (?) ON CONFLICT DO NOTHING", [name])
    return read_health(db, name)


def read_health(db: Database, name: str) -> Health:
    """Return a destination's health; an unknown destination has the default health."""
    row = db.execute(f"SELECT {_HEALTH} FROM destinations WHERE name = ?", [name]).fetchone()
    return _health(row) if row else Health()


def read_at_start(db: Database, name: str, fingerprint: Callable[[str | None], str]) -> StartingState:
    """Return the state with which a destination starts, or continues after a change of its settings.

    The function `fingerprint` gets the stored fingerprint of the address and the credentials, and returns the present
    one. If the two differ, these are reset: the health, the learned limits, and the waits and trying times of the
    waiting events. If no fingerprint is stored, the function gets None, and nothing is reset. A destination that an
    operator has disabled stays disabled.
    """
    health = read_or_create(db, name)
    stored, rate, limit, trying_ms = db.execute(
        "SELECT fingerprint, rate, batch_limit, trying FROM destinations WHERE name = ?", [name]
    ).fetchone()
    current = fingerprint(stored)
    if current == stored:
        return StartingState(health, LearnedLimits(rate, limit), trying_ms)
    db.execute("UPDATE destinations SET fingerprint = ? WHERE name = ?", [current, name])
    if stored is None:
        return StartingState(health, LearnedLimits(rate, limit), trying_ms)
    kept = health if health.state is HealthState.DISABLED and health.reason == BY_OPERATOR else Health()
    store_health(db, name, kept, learned=LearnedLimits())
    outbox.reset_retries(db, name)
    return StartingState(kept, LearnedLimits(), trying_ms, was_reset=True)


def store_health(
    db: Database,
    name: str,
    health: Health,
    error: LastError | None = None,
    learned: LearnedLimits | None = None,
) -> None:
    """Store a destination's health and, if given, its last error and its learned limits."""
    db.execute(
        "UPDATE destinations SET state = ?, reason = ?, since = ?, failures = ?, retry_at = ?, retry_asked = ?"
        " WHERE name = ?",
        [health.state, health.reason, health.since_ms, health.failures, health.retry_at_ms, health.asked, name],
    )
    if learned is not None:
        values = [learned.rate, learned.batch_limit, name]
        db.execute("UPDATE destinations SET rate = ?, batch_limit = ? WHERE name = ?", values)
    if error is not None:
        db.execute(
            "UPDATE destinations SET error_reason = ?, error_message = ?, error_at = ? WHERE name = ?",
            [error.reason, error.message, error.at_ms, name],
        )


def store_trying_ms(db: Database, name: str, trying_ms: int) -> None:
    """Store the value of a destination's trying clock in milliseconds (see `outbox.Delivery`)."""
    db.execute("UPDATE destinations SET trying = ? WHERE name = ?", [trying_ms, name])


_HEALTH = "state, reason, since, failures, retry_at, retry_asked"


def _health(row: Sequence[Any]) -> Health:
    state, reason, since_ms, failures, retry_at_ms, asked = row
    return Health(HealthState(state), reason, since_ms, failures, retry_at_ms, bool(asked))


def read_all(db: Database) -> dict[str, DestinationMemory]:
    """Return, by name, the stored state of every destination, with the number of events that wait for it."""
    rows = db.execute(
        f"SELECT name, {_HEALTH}, delivered, error_reason, error_message, error_at, rate, batch_limit"
        " FROM destinations ORDER BY name"
    )
    memories = {
        row[0]: DestinationMemory(
            _health(row[1:7]),
            delivered=row[7],
            last_error=LastError(*row[8:11]) if row[8] else None,
            learned=LearnedLimits(*row[11:]),
        )
        for row in rows
    }
    waiting = slots.count_waiting(db)
    for name, state, count, first in db.execute(
        "SELECT destination, state, count(*), min(sequence) FROM deliveries WHERE state <> 'delivered' GROUP BY 1, 2"
    ).fetchall():
        memory = memories.get(name, DestinationMemory(Health()))
        if state == "dead":
            memories[name] = replace(memory, dead=count)
        else:
            oldest = db.execute(
                f"SELECT coalesce(d.queued_at, e.detected_at), {_SINCE} FROM events e"
                " JOIN deliveries d USING (sequence) WHERE e.sequence = ? AND d.destination = ?",
                [first, name],
            ).fetchone()
            waits = waiting.get(name)
            memories[name] = replace(
                memory,
                pending=count,
                oldest_pending_ms=oldest[0],
                next_attempt_ms=_next_attempt(db, name, count),
                oldest_due_ms=oldest[1],
            )
            if waits is not None:
                memories[name] = _with_scheduled(db, name, memories[name], waits)
    return memories


def _with_scheduled(db: Database, name: str, memory: DestinationMemory, waits: slots.WaitingCount) -> DestinationMemory:
    scheduled = replace(memory, scheduled=waits.count, scheduled_for_ms=waits.until_ms)
    if waits.count == memory.pending:
        return replace(scheduled, oldest_due_ms=None, next_attempt_ms=waits.until_ms)
    (oldest_ms,) = db.execute(
        f"SELECT min({_SINCE}) {_FROM} WHERE d.destination = ? AND d.state = 'pending' AND d.state <> 'delivered'"
        f" AND NOT {slots.IS_WAITING}",
        [name],
    ).fetchone()
    return replace(scheduled, oldest_due_ms=oldest_ms)


def _next_attempt(db: Database, name: str, pending: int) -> int | None:
    """Return when the first of the waiting events is due (Unix ms); 0 if one is due now."""
    delayed, first = db.execute(
        "SELECT count(*), min(next_attempt_at) FROM deliveries"
        " WHERE destination = ? AND state = 'pending' AND next_attempt_at > 0",
        [name],
    ).fetchone()
    return first if delayed == pending else 0
