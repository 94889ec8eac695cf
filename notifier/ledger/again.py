"""What an operator wants sent again: deliveries put back into the queue, and past events told once more.

The rows of `attempts` stay, and the columns that tell of the last attempt: only what decides about the next one begins
anew.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import orjson
from sqlite_utils import Database

from notifier.completions import EventType
from notifier.ledger.destinations import HealthState
from notifier.ledger.outbox import DeliveryState
from notifier.ledger.subscriptions import Subscription

LOOK = 2000
"""Events looked at in one transaction, so that nobody waits long for the ledger."""

_HIGHEST = 2**63 - 1
"""The highest number that SQLite knows."""

# SQLite uses a partial index only where it finds the index's own words.
_UNFINISHED = "state <> 'delivered'"
_BEGIN_ANEW = "state = 'pending', attempts = 0, suspicions = 0, first_attempt_at = NULL, next_attempt_at = 0"


@dataclass(frozen=True, slots=True)
class Retry:
    """Which deliveries are wanted back in the queue.

    Dead ones or pending ones; those of the events named, or of all where none is; to one destination, or (None) to any.
    """

    state: DeliveryState = DeliveryState.DEAD
    event_ids: tuple[str, ...] = ()
    destination: str | None = None


@dataclass(frozen=True, slots=True)
class Past:
    """Which past events are meant: detected from `since_ms` on and before `until_ms` (Unix ms), numbered up to `last`.

    `source` and `type` are None where any is meant. Operational notices are never among them. What an attempt behind
    the number `attempt` has delivered is none of it: it still waited when the past was asked for, and goes once only.
    """

    since_ms: int
    until_ms: int
    last: int
    source: str | None = None
    type: str | None = None
    attempt: int = _HIGHEST


@dataclass(frozen=True, slots=True)
class Plan:
    """How much a replay would send, counted up to the event number `sequence`.

    `deliveries` counts by destination, and `events` those that have any; what waits in the queue already is in neither.
    Up to the number `start` there is nothing to send.
    """

    events: int = 0
    deliveries: Mapping[str, int] = field(default_factory=dict)
    start: int = 0
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """How far a replay to one destination has come: up to the event `sequence`, `queued` of them put back just now."""

    sequence: int
    queued: int = 0


def unknown_events(db: Database, event_ids: Collection[str]) -> list[str]:
    """Return those of these event ids that are not kept, in order."""
    rows = db.execute("SELECT id FROM events WHERE id IN (SELECT value FROM json_each(?))", [_json(event_ids)])
    known = {id_ for (id_,) in rows}
    return [id_ for id_ in event_ids if id_ not in known]


def retry(db: Database, wanted: Retry, destinations: Collection[str]) -> dict[str, int]:
    """Put deliveries to these destinations back into the queue; return how many, by destination, where there are any.

    A dead one begins anew, with its attempts and the clock that gives it up. One that waits is due at once. Where a
    destination in trouble waits as a whole, it is tried at once too.
    """
    counts = {name: count for name in destinations if (count := _retry(db, wanted, name))}
    db.execute(
        "UPDATE destinations SET retry_at = NULL WHERE state = ? AND name IN (SELECT value FROM json_each(?))",
        [HealthState.RETRYING, _json(counts)],
    )
    return counts


def _retry(db: Database, wanted: Retry, destination: str) -> int:
    changes = _BEGIN_ANEW if wanted.state is DeliveryState.DEAD else "next_attempt_at = 0"
    where = f"destination = ? AND state = ? AND {_UNFINISHED}"
    values = [destination, wanted.state]
    if wanted.event_ids:
        where += " AND sequence IN (SELECT sequence FROM events WHERE id IN (SELECT value FROM json_each(?)))"
        values.append(_json(wanted.event_ids))
    return db.execute(f"UPDATE deliveries SET {changes} WHERE {where}", values).rowcount


def newest(db: Database) -> int:
    """Return the number of the newest event; 0 when there is none."""
    number: int = db.execute("SELECT coalesce(max(sequence), 0) FROM events").fetchone()[0]
    return number


def newest_attempt(db: Database) -> int:
    """Return the number of the newest attempt; 0 when there is none."""
    number: int = db.execute("SELECT coalesce(max(id), 0) FROM attempts").fetchone()[0]
    return number


def plan(db: Database, past: Past, subscriptions: Sequence[Subscription], so_far: Plan) -> Plan:
    """Go on counting what a replay would send, among the next LOOK events; changes nothing."""
    last = _end_of_look(db, past, so_far.sequence)
    wanted = {it.destination: _wanted(db, past, it, so_far.sequence, last) for it in subscriptions}
    events = {sequence for sequences in wanted.values() for sequence in sequences}
    return Plan(
        so_far.events + len(events),
        {name: so_far.deliveries.get(name, 0) + len(sequences) for name, sequences in wanted.items()},
        so_far.start if events or so_far.events else last,
        last,
    )


def replay(db: Database, past: Past, subscription: Subscription, after: int, most_waiting: int | None = None) -> Step:
    """Put what one destination is to get again into the queue, among the next LOOK events behind number `after`.

    An event that had no delivery there gets one; what waits there already is left as it is. No more are put into the
    queue than make `most_waiting` pending deliveries (None: as many as there are).
    """
    room = None if most_waiting is None else most_waiting - _pending(db, subscription.destination, most_waiting)
    if room == 0:
        return Step(after)
    last = _end_of_look(db, past, after)
    wanted = _wanted(db, past, subscription, after, last)
    now = wanted[:room]
    db.conn.executemany(
        "INSERT INTO deliveries (sequence, destination) VALUES (?, ?)"
        f" ON CONFLICT (sequence, destination) DO UPDATE SET {_BEGIN_ANEW}",
        [(sequence, subscription.destination) for sequence in now],
    )
    return Step(last if len(now) == len(wanted) else now[-1], len(now))


def detected_ms(db: Database, sequence: int) -> int | None:
    """Return when the first event behind this number was detected (Unix milliseconds); None when there is none."""
    row = db.execute(
        "SELECT detected_at FROM events WHERE sequence > ? ORDER BY sequence LIMIT 1", [sequence]
    ).fetchone()
    return row[0] if row else None


def _end_of_look(db: Database, past: Past, after: int) -> int:
    """Return the number of the last of the next LOOK events behind `after`."""
    numbers = "SELECT sequence FROM events WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?"
    found, last = db.execute(f"SELECT count(*), max(sequence) FROM ({numbers})", [after, past.last, LOOK]).fetchone()
    return last if found == LOOK else past.last


def _pending(db: Database, destination: str, enough: int) -> int:
    """Count what waits for a destination; there is no need to count on from `enough`."""
    waiting = f"SELECT 1 FROM deliveries WHERE destination = ? AND state = 'pending' AND {_UNFINISHED} LIMIT ?"
    count: int = db.execute(f"SELECT count(*) FROM ({waiting})", [destination, enough]).fetchone()[0]
    return count


def _wanted(db: Database, past: Past, subscription: Subscription, after: int, last: int) -> list[int]:
    """Return the numbers of the past events up to `last` that go to a destination.

    What waits for it already, or was told since the past was asked for, is not among them.
    """
    rows = db.execute(
        "SELECT e.sequence, e.type, e.source, json_extract(e.data, '$.completion.training_id'),"
        " json_extract(e.data, '$.completion.user_id')"
        " FROM events e LEFT JOIN deliveries d ON d.sequence = e.sequence AND d.destination = :destination"
        " WHERE e.sequence > :after AND e.sequence <= :last AND e.detected_at >= :since AND e.detected_at < :until"
        " AND e.type <> :alert AND e.source = coalesce(:source, e.source) AND e.type = coalesce(:type, e.type)"
        " AND coalesce(d.state, '') <> 'pending'"
        " AND NOT (coalesce(d.state, '') = 'delivered' AND EXISTS (SELECT 1 FROM attempts a"
        " WHERE a.sequence = e.sequence AND a.destination = :destination AND a.id > :attempt)) ORDER BY e.sequence",
        {
            "destination": subscription.destination,
            "after": after,
            "last": last,
            "since": past.since_ms,
            "until": past.until_ms,
            "alert": EventType.ALERT,
            "source": past.source,
            "type": past.type,
            "attempt": past.attempt,
        },
    )
    return [
        sequence
        for sequence, type_, source, training, user in rows
        if subscription.admits(type_, source, training, user)
    ]


def _json(values: Collection[str]) -> str:
    return orjson.dumps(list(values)).decode()
