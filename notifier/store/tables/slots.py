"""The slots (moments of sending) of destinations with a schedule or quiet times, and which deliveries wait for them.

When a slot has come, one transaction reads the due deliveries and assigns them to the slot. The slot is stored, so that
a digest that is sent again consists of the same deliveries. Later deliveries belong to the next slot.
"""

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from notifier.events import EventType
from notifier.store.database import Database, json_list

_MAX_AHEAD_MS: Final = 86_400_000
"""Milliseconds that the stored `slots_from` may lie in the future; a later time was written by a wrong clock."""

_GATE_OPENS: Final = "CASE WHEN d.slot_at IS NULL THEN t.closed_until ELSE t.held_until END"

IS_WAITING: Final = (
    f"(d.at_once = 0 AND {_GATE_OPENS} IS NOT NULL AND e.type <> '{EventType.ALERT}'"
    """ AND t.urgent NOT LIKE '%"' || e.type || '"%')"""
)
"""The condition that a pending delivery `d` of event `e` to destination `t` waits for a slot or a quiet time's end.

The JSON list of urgent types is searched as text, because SQLite would parse JSON again for each delivery.
"""

WAIT_END: Final = f"CASE WHEN d.state = 'pending' AND {IS_WAITING} THEN {_GATE_OPENS} END"
"""The time (Unix ms) until which a delivery `d` waits for a slot or a quiet time's end; NULL if it does not wait."""


class Gate(Struct, frozen=True):
    """What a destination's schedule lets through at a moment; all times are Unix milliseconds.

    Three kinds of events never wait: alerts, events of `urgent` types, and events that an operator wants to be sent at
    once.
    """

    slot_ms: int | None = None
    """A slot that has come but has no deliveries yet; None if there is none."""
    closed_until_ms: int | None = None
    """The time until which deliveries without a slot wait; None if they do not wait."""
    held_until_ms: int | None = None
    """The end of the present quiet time, until which deliveries with a slot wait; None if there is no quiet time."""
    changes_ms: int | None = None
    """The time before which the gate does not change."""
    urgent: frozenset[str] = frozenset()

    @property
    def is_open(self) -> bool:
        """Whether every delivery may be sent now."""
        return self.closed_until_ms is None and self.held_until_ms is None


GateFunction = Callable[[int], Gate]
"""A function that returns the present gate. Its argument is the time (Unix ms) before which slots do not count."""


def store_schedule(db: Database, destination: str, schedule: str, now_ms: int) -> None:
    """Store a destination's schedule and quiet times as a text ("": none).

    If the text has changed, slots before `now_ms` no longer count. The destination must be in the table `destinations`.
    """
    db.execute(
        "UPDATE destinations SET schedule = :schedule, slots_from = :from, closed_until = NULL, held_until = NULL,"
        " urgent = '[]' WHERE name = :name AND schedule <> :schedule",
        {"schedule": schedule, "from": now_ms if schedule else None, "name": destination},
    )


def assign_slot(db: Database, destination: str, gate_at: GateFunction, now_ms: int) -> Gate:
    """Store and return a destination's gate; if a slot has come, assign it to the deliveries that wait for a slot."""
    from_ms, *stored = db.execute(
        "SELECT coalesce(slots_from, ?), closed_until, held_until, urgent FROM destinations WHERE name = ?",
        [now_ms, destination],
    ).fetchone()
    if from_ms > now_ms + _MAX_AHEAD_MS:
        from_ms, stored = now_ms, []
    gate = gate_at(from_ms)
    urgent = json_list(sorted(gate.urgent))
    if gate.slot_ms is not None:
        db.execute(
            "UPDATE deliveries SET slot_at = :slot WHERE destination = :destination AND state = 'pending'"
            " AND state <> 'delivered' AND slot_at IS NULL AND at_once = 0"
            " AND (SELECT type FROM events e WHERE e.sequence = deliveries.sequence) NOT IN (SELECT :alert UNION ALL"
            " SELECT value FROM json_each(:urgent))",
            {"slot": gate.slot_ms, "destination": destination, "alert": EventType.ALERT, "urgent": urgent},
        )
        from_ms = now_ms
    now = [gate.closed_until_ms, gate.held_until_ms, urgent]
    if gate.slot_ms is not None or now != stored:
        db.execute(
            "UPDATE destinations SET slots_from = ?, closed_until = ?, held_until = ?, urgent = ? WHERE name = ?",
            [from_ms, *now, destination],
        )
    return gate


def release_condition(gate: Gate) -> str:
    """Return SQL, beginning with AND, that is true if a pending delivery `d` of event `e` may pass a gate.

    For an open gate, the result is "". If an event does not have to wait, the earlier events of its record may pass,
    too, so that the record's events stay in order. The parameters are `destination` and `urgent` (JSON).
    """
    if gate.is_open:
        return ""
    early = "({delivery}.at_once = 1 OR {event}.type IN (SELECT value FROM json_each(:urgent)))"
    slotted = "" if gate.held_until_ms is not None else " OR d.slot_at IS NOT NULL"
    return (
        f" AND (e.type = '{EventType.ALERT}'{slotted} OR {early.format(delivery='d', event='e')}"
        " OR EXISTS (SELECT 1 FROM events u JOIN deliveries w ON w.sequence = u.sequence"
        " AND w.destination = :destination WHERE u.subject = e.subject AND u.source = e.source"
        f" AND u.sequence > e.sequence AND w.state = 'pending' AND {early.format(delivery='w', event='u')}))"
    )


class WaitingCount(Struct, frozen=True):
    """How many deliveries of one destination wait, and when the first of these waits ends (Unix ms)."""

    count: int
    until_ms: int


def count_waiting(db: Database) -> dict[str, WaitingCount]:
    """Return how many deliveries wait for a slot or for the end of a quiet time, by the destination's name."""
    # CROSS JOIN makes SQLite begin with the destinations. Otherwise it reads the event of every waiting delivery.
    rows = db.execute(
        f"SELECT t.name, count(*), min({_GATE_OPENS}) FROM destinations t CROSS JOIN deliveries d"
        f" ON d.destination = t.name JOIN events e USING (sequence) WHERE t.closed_until IS NOT NULL"
        f" AND d.state = 'pending' AND d.state <> 'delivered' AND {IS_WAITING} GROUP BY 1"
    )
    return {name: WaitingCount(count, until_ms) for name, count, until_ms in rows}
