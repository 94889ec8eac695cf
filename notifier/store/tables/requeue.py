"""Operators' requests: put deliveries back into the queue, drop them, or send past events again.

The rows of `attempts` stay, and so do the columns about the last attempt. Only the columns that decide about the next
attempt are reset.
"""

import json
from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct, field

from notifier.events import EventType
from notifier.store.database import Database
from notifier.store.subscriptions import FACTS_SQL, Subscription, facts_of_row
from notifier.store.tables.destinations import HealthState
from notifier.store.tables.outbox import IS_BLOCKED, DeliveryState
from notifier.store.tables.slots import IS_WAITING
from notifier.suggest import nearest

EXAMINED_AT_ONCE = 2000
"""Number of events examined in one transaction, so that other work does not wait long for the store."""

_HIGHEST = 2**63 - 1
"""The highest number that SQLite can store."""
_SHARED_PREFIX_LENGTH = len("evt_") + 6
"""The number of leading characters that a suggested event id must share with the unknown one."""

# SQLite uses a partial index only if the query repeats the index's condition word for word.
_UNFINISHED = "state <> 'delivered'"
_RESET = (
    "state = 'pending', again = 1, attempts = 0, suspicions = 0, proven = 0, first_attempt_at = NULL,"
    " tried_from = NULL, taken_by = NULL, next_attempt_at = 0, queued_at = :now"
)


class RetrySelection(Struct, frozen=True):
    """The deliveries to put back into the queue.

    `state` is dead or pending; with `event_ids`, delivered is allowed, too. An empty `event_ids` means all events. If
    `destination` is None, any destination is meant.
    """

    state: DeliveryState = DeliveryState.DEAD
    event_ids: tuple[str, ...] = ()
    destination: str | None = None


class RetryResult(Struct, frozen=True):
    """The number of deliveries put back, by destination.

    `waited` are the failing destinations that are now tried at once. `why_none` says why no delivery was put back.
    """

    counts: Mapping[str, int]
    waited: tuple[str, ...] = ()
    why_none: str = ""


class DropSelection(Struct, frozen=True):
    """The deliveries to drop.

    `state` is pending or dead. An empty `event_ids` means all events. If `destination` is None, any destination is
    meant. If `unmatched` is True, only deliveries that the destination's filters would now reject are meant.
    """

    event_ids: tuple[str, ...] = ()
    destination: str | None = None
    state: DeliveryState = DeliveryState.PENDING
    unmatched: bool = False


class ReplayRange(Struct, frozen=True):
    """The past events with numbers up to `last`, detected at `since_ms` or later and before `until_ms` (Unix ms).

    Alerts are never included.
    """

    since_ms: int
    until_ms: int
    last: int
    source: str | None = None
    """The source of the events; None for any."""
    type: str | None = None
    """The type of the events; None for any."""
    attempt: int = _HIGHEST
    """The number of the newest attempt at the time of the request.

    Events that a later attempt has delivered were still waiting at that time. They are left out, so that they are not
    sent twice.
    """


class ReplayPlan(Struct, frozen=True):
    """The size of a replay; only the events up to number `sequence` are counted so far."""

    events: int = 0
    """The number of events that are sent to at least one destination."""
    deliveries: Mapping[str, int] = field(default_factory=dict)
    """The number of deliveries by destination, without those that already wait."""
    start: int = 0
    """The first event to send has a number above this."""
    sequence: int = 0


class ReplayStep(Struct, frozen=True):
    """One step of a replay to a destination: it ended at event `sequence`, and put back `queued` deliveries."""

    sequence: int
    queued: int = 0


def unknown_event_ids(db: Database, event_ids: Collection[str]) -> list[str]:
    """Return the given event ids that the store does not have, in the given order."""
    rows = db.execute("SELECT id FROM events WHERE id IN (SELECT value FROM json_each(?))", [_json(event_ids)])
    known = {id_ for (id_,) in rows}
    return [id_ for id_ in event_ids if id_ not in known]


def nearest_event_id(db: Database, event_id: str) -> str | None:
    """Return the event id most similar to an unknown one; None if none begins with the same characters."""
    start = event_id[:_SHARED_PREFIX_LENGTH]
    if len(start) < _SHARED_PREFIX_LENGTH or not start.isascii():
        return None
    rows = db.execute("SELECT id FROM events WHERE id >= ? AND id < ? LIMIT 100", [start, f"{start}~"]).fetchall()
    return nearest(event_id, [id_ for (id_,) in rows])


def retry(db: Database, wanted: RetrySelection, destinations: Collection[str], now_ms: int) -> RetryResult:
    """Put deliveries to these destinations back into the queue.

    A dead delivery starts again, with new attempts and a new time limit. A waiting delivery is due at once. A failing
    destination is tried at once, even if nothing was put back. The schedules of destinations stay in force, except for
    events that were requested by id: these do not wait for a slot.
    """
    counts = {name: count for name in destinations if (count := _retry(db, wanted, name, now_ms))}
    waited = db.execute(
        "UPDATE destinations SET retry_at = NULL, retry_asked = 0 WHERE state = ? AND retry_at > ?"
        " AND name IN (SELECT value FROM json_each(?)) RETURNING name",
        [HealthState.RETRYING, now_ms, _json(destinations)],
    ).fetchall()
    why_none = "" if counts else _reason_for_none(db, wanted, destinations)
    return RetryResult(counts, tuple(sorted(name for (name,) in waited)), why_none)


def _reason_for_none(db: Database, wanted: RetrySelection, destinations: Collection[str]) -> str:
    """Return a sentence that says why no delivery was put back, with the states of the requested deliveries."""
    if not wanted.event_ids:
        pending: int = db.execute(
            f"SELECT count(*) FROM deliveries WHERE state = 'pending' AND {_UNFINISHED}"
            " AND destination IN (SELECT value FROM json_each(?))",
            [_json(destinations)],
        ).fetchone()[0]
        left = f"; pending: {pending:,} (`--state pending` tries those at once)" if pending else ""
        return f"no delivery is {wanted.state}{left}"
    rows = db.execute(
        "SELECT state, count(*) FROM deliveries WHERE sequence IN (SELECT sequence FROM events WHERE id IN"
        " (SELECT value FROM json_each(?))) AND destination IN (SELECT value FROM json_each(?)) GROUP BY 1 ORDER BY 1",
        [_json(wanted.event_ids), _json(destinations)],
    ).fetchall()
    if not rows:
        return (
            "none of these events has a delivery to the requested destinations: `notifier explain RECORD` says why; a"
            " replay applies the filters again"
        )
    found = ", ".join(f"{count:,} {state}" for state, count in rows)
    choices = " or ".join(f"`--state {state}`" for state, _ in rows)
    return f"none of these deliveries is {wanted.state}, but {found}: {choices} puts those back"


def _retry(db: Database, wanted: RetrySelection, destination: str, now_ms: int) -> int:
    changes = "next_attempt_at = 0" if wanted.state is DeliveryState.PENDING else _RESET
    if wanted.event_ids:
        changes += ", at_once = 1, slot_at = NULL"
    elif wanted.state is not DeliveryState.PENDING:
        # An earlier retry that named this event may have set `at_once`; this retry does not name it.
        changes += ", at_once = 0"
    where, values = _condition(destination, wanted.state, wanted.event_ids)
    return db.execute(f"UPDATE deliveries SET {changes} WHERE {where}", {**values, "now": now_ms}).rowcount


def drop(
    db: Database, wanted: DropSelection, destinations: Collection[str], subscriptions: Sequence[Subscription]
) -> dict[str, int]:
    """Remove deliveries to these destinations from the queue for good; return how many, by destination."""
    found = {name: find_dropped(db, wanted, name, subscriptions) for name in destinations}
    db.executemany(
        "DELETE FROM deliveries WHERE sequence = ? AND destination = ?",
        [(sequence, name) for name, sequences in found.items() for sequence in sequences],
    )
    return {name: len(sequences) for name, sequences in found.items() if sequences}


def find_dropped(
    db: Database, wanted: DropSelection, destination: str, subscriptions: Sequence[Subscription]
) -> list[int]:
    """Return the numbers of the events whose deliveries to a destination `drop` would remove."""
    where, values = _condition(destination, wanted.state, wanted.event_ids)
    if not wanted.unmatched:
        return [sequence for (sequence,) in db.execute(f"SELECT sequence FROM deliveries WHERE {where}", values)]
    subscription = next((it for it in subscriptions if it.destination == destination), None)
    rows = db.execute(
        "SELECT sequence, type, source, json_extract(data, '$.completion.training_id'),"
        f" json_extract(data, '$.completion.user_id'), {FACTS_SQL}"
        f" FROM deliveries JOIN events USING (sequence) WHERE {where}",
        values,
    )
    return [
        sequence
        for sequence, type_, source, training, user, *facts in rows
        if type_ != EventType.ALERT
        and (subscription is None or not subscription.admits(type_, source, training, user, facts_of_row(*facts)))
    ]


def _condition(destination: str, state: DeliveryState, event_ids: Collection[str]) -> tuple[str, dict[str, str | int]]:
    # The index has no delivered deliveries. They are requested only for named events, and found by the event numbers.
    finished = "" if state is DeliveryState.DELIVERED else f" AND {_UNFINISHED}"
    where = f"destination = :destination AND state = :state{finished}"
    values: dict[str, str | int] = {"destination": destination, "state": state}
    if event_ids:
        where += " AND sequence IN (SELECT sequence FROM events WHERE id IN (SELECT value FROM json_each(:ids)))"
        values["ids"] = _json(event_ids)
    return where, values


def newest_event_number(db: Database) -> int:
    """Return the number of the newest event; 0 if there is none."""
    number: int = db.execute("SELECT coalesce(max(sequence), 0) FROM events").fetchone()[0]
    return number


def newest_attempt_number(db: Database) -> int:
    """Return the number of the newest attempt; 0 if there is none."""
    number: int = db.execute("SELECT coalesce(max(id), 0) FROM attempts").fetchone()[0]
    return number


def extend_plan(
    db: Database, past: ReplayRange, subscriptions: Sequence[Subscription], so_far: ReplayPlan
) -> ReplayPlan:
    """Return the plan `so_far` of a replay, extended by the next EXAMINED_AT_ONCE events. Only reads."""
    last = _last_to_examine(db, past, so_far.sequence)
    wanted = {it.destination: _events_to_replay(db, past, it, so_far.sequence, last) for it in subscriptions}
    events = {sequence for sequences in wanted.values() for sequence in sequences}
    return ReplayPlan(
        so_far.events + len(events),
        {name: so_far.deliveries.get(name, 0) + len(sequences) for name, sequences in wanted.items()},
        so_far.start if events or so_far.events else last,
        last,
    )


def queue_replay_step(
    db: Database,
    past: ReplayRange,
    subscription: Subscription,
    after: int,
    now_ms: int,
    max_waiting: int | None = None,
    new_before_ms: int = 0,
) -> ReplayStep:
    """Queue a replay's deliveries to one destination, for the next EXAMINED_AT_ONCE events after number `after`.

    Missing deliveries are created, and waiting ones are left as they are. Nothing is added if `max_waiting` deliveries
    are already due (None: no limit), or if a new event waits that was detected before `new_before_ms`. Deliveries that
    wait for a slot are not due.
    """
    name = subscription.destination
    room = None if max_waiting is None else max_waiting - count_due(db, name, now_ms, max_waiting)
    if room == 0 or has_new_event(db, name, after, now_ms, new_before_ms):
        return ReplayStep(after)
    last = _last_to_examine(db, past, after)
    wanted = _events_to_replay(db, past, subscription, after, last)
    now = wanted[:room]
    db.executemany(
        "INSERT INTO deliveries (sequence, destination, again, queued_at) VALUES (:sequence, :destination, 1, :now)"
        f" ON CONFLICT (sequence, destination) DO UPDATE SET {_RESET}, slot_at = NULL, at_once = 0",
        [{"sequence": sequence, "destination": name, "now": now_ms} for sequence in now],
    )
    return ReplayStep(last if len(now) == len(wanted) else now[-1], len(now))


def next_detected_ms(db: Database, sequence: int) -> int | None:
    """Return when the first event after number `sequence` was detected (Unix ms); None if there is none."""
    row = db.execute(
        "SELECT detected_at FROM events WHERE sequence > ? ORDER BY sequence LIMIT 1", [sequence]
    ).fetchone()
    return row[0] if row else None


def _last_to_examine(db: Database, past: ReplayRange, after: int) -> int:
    """Return the number of the last event to examine in this step.

    A step examines EXAMINED_AT_ONCE events after the number `after`, or fewer at the end of the range `past`.
    """
    numbers = "SELECT sequence FROM events WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?"
    found, last = db.execute(
        f"SELECT count(*), max(sequence) FROM ({numbers}) AS looked_at", [after, past.last, EXAMINED_AT_ONCE]
    ).fetchone()
    return last if found == EXAMINED_AT_ONCE else past.last


_DUE = (
    "FROM deliveries d JOIN events e USING (sequence) LEFT JOIN destinations t ON t.name = d.destination"
    f" WHERE d.destination = :destination AND d.state = 'pending' AND d.{_UNFINISHED}"
    f" AND d.next_attempt_at <= :now AND NOT {IS_WAITING}"
)


def count_due(db: Database, destination: str, now_ms: int, enough: int) -> int:
    """Return how many deliveries to a destination are due now; counting stops at `enough`."""
    count: int = db.execute(
        f"SELECT count(*) FROM (SELECT 1 {_DUE} LIMIT :enough) AS waiting",
        {"destination": destination, "now": now_ms, "enough": enough},
    ).fetchone()[0]
    return count


def has_new_event(db: Database, destination: str, after: int, now_ms: int, before_ms: int) -> bool:
    """Return whether a new event above number `after`, detected before `before_ms`, can be sent to a destination.

    Events that were tried before, or that an operator has requested again, are not new.
    """
    (found,) = db.execute(
        f"SELECT EXISTS (SELECT 1 {_DUE} AND NOT {IS_BLOCKED} AND d.again = 0 AND d.attempts = 0"
        " AND d.sequence > :after AND e.detected_at < :before)",
        {"destination": destination, "now": now_ms, "horizon": _HIGHEST, "after": after, "before": before_ms},
    ).fetchone()
    return bool(found)


def _events_to_replay(db: Database, past: ReplayRange, subscription: Subscription, after: int, last: int) -> list[int]:
    """Return the numbers of the events between `after` (exclusive) and `last` that a replay sends to a destination.

    Events that already wait for this destination, or were delivered since the range was requested, are left out.
    """
    rows = db.execute(
        "SELECT e.sequence, e.type, e.source, json_extract(e.data, '$.completion.training_id'),"
        f" json_extract(e.data, '$.completion.user_id'), {FACTS_SQL}"
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
        for sequence, type_, source, training, user, *facts in rows
        if subscription.admits(type_, source, training, user, facts_of_row(*facts))
    ]


def _json(values: Collection[str]) -> str:
    # The standard library's encoder accepts any text, even bytes of a command line that are not UTF-8.
    return json.dumps(list(values))
