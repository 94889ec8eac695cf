"""Replays as the ledger remembers them: what was asked for, what was planned, how far each destination has come.

How far it has come is written in the transaction that puts the deliveries back, and read from there: whenever the
process ends, no event goes back into the queue twice by one replay, and none is left out.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from sqlite_utils import Database

from notifier.ledger import again
from notifier.ledger.again import Past, Plan
from notifier.ledger.subscriptions import Subscription


class ReplayState(StrEnum):
    """Whether a replay, or its part for one destination, goes on."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    REMOVED = "removed"
    """Of a part: its destination was removed from the configuration."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a replay sends to one destination.

    Of the `planned` deliveries `queued` are back in the queue; all events up to the number `reached` are dealt with.
    """

    destination: str
    state: ReplayState
    planned: int
    queued: int
    reached: int


@dataclass(frozen=True, slots=True)
class ReplayMemory:
    """A replay as the ledger knows it: `past` is what was asked for, `events` how many have any delivery in it.

    Moments in Unix milliseconds; `ended_ms` is None while it is under way.
    """

    id: int
    state: ReplayState
    past: Past
    events: int
    begun_ms: int
    ended_ms: int | None
    parts: tuple[Part, ...]

    @property
    def planned(self) -> int:
        """The deliveries that it was to put back."""
        return sum(part.planned for part in self.parts)

    @property
    def queued(self) -> int:
        """The deliveries that it has put back."""
        return sum(part.queued for part in self.parts)

    @property
    def unfinished(self) -> tuple[Part, ...]:
        """The parts that go on, or were stopped before their end."""
        return tuple(part for part in self.parts if part.state in {ReplayState.RUNNING, ReplayState.STOPPED})


@dataclass(frozen=True, slots=True)
class Advance:
    """What came of one step for one destination.

    `queued` deliveries were put back; it `came_on` when events were dealt with, those that are not wanted included; it
    is `over` when there is no further step.
    """

    queued: int
    came_on: bool
    over: bool


class ReplayRunningError(Exception):
    """There is a replay under way, and one at a time is enough."""

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__("a replay is under way already: wait for its end, or stop it (`notifier replay --stop`)")


def begin(db: Database, past: Past, plan: Plan, now_ms: int) -> int:
    """Write down what was asked for and planned, and return the replay's number. Raises ReplayRunningError.

    One that has nothing to send is done at once. Of earlier ones the latest is remembered.
    """
    if under_way(db) is not None:
        raise ReplayRunningError
    db.execute("DELETE FROM replays WHERE id < (SELECT max(id) FROM replays)")
    row = db.execute(
        "INSERT INTO replays (begun_at, since, until, last, source, type, attempt, events)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        " RETURNING id",
        [now_ms, past.since_ms, past.until_ms, past.last, past.source, past.type, past.attempt, plan.events],
    ).fetchone()
    number: int = row[0]
    db.conn.executemany(
        "INSERT INTO replay_parts (replay, destination, planned, reached) VALUES (?, ?, ?, ?)",
        [(number, name, planned, plan.start) for name, planned in plan.deliveries.items() if planned],
    )
    _end_if_over(db, number, now_ms)
    return number


def advance(
    db: Database, number: int, subscription: Subscription, now_ms: int, most_waiting: int | None = None
) -> Advance:
    """Put the next deliveries to one destination back into the queue, and write down how far it has come.

    No more are put there than make `most_waiting` pending deliveries (None: as many as there are). Changes nothing
    once the replay, or its part for this destination, is over.
    """
    memory = _recall(db, number)
    part = next((it for it in memory.parts if it.destination == subscription.destination), None) if memory else None
    if memory is None or part is None or part.state is not ReplayState.RUNNING:
        return Advance(queued=0, came_on=False, over=True)
    step = again.replay(db, memory.past, subscription, part.reached, most_waiting)
    if step.sequence == part.reached:
        return Advance(queued=0, came_on=False, over=False)
    over = step.sequence >= memory.past.last
    db.execute(
        "UPDATE replay_parts SET reached = ?, queued = queued + ?, state = ? WHERE replay = ? AND destination = ?",
        [step.sequence, step.queued, ReplayState.DONE if over else part.state, number, part.destination],
    )
    if over:
        _end_if_over(db, number, now_ms)
    return Advance(step.queued, came_on=True, over=over)


def remove(db: Database, number: int, destination: str, now_ms: int) -> None:
    """End the part of a destination that is in the configuration no longer."""
    _end_parts(db, number, ReplayState.REMOVED, [destination])
    _end_if_over(db, number, now_ms)


def stop(db: Database, now_ms: int, number: int | None = None) -> int | None:
    """End the replay under way for good, if it is the one of this number (None: any); return its number if it was."""
    memory = under_way(db)
    if memory is None or number not in (None, memory.id):
        return None
    _end_parts(db, memory.id, ReplayState.STOPPED, [part.destination for part in memory.parts])
    db.execute("UPDATE replays SET state = ?, ended_at = ? WHERE id = ?", [ReplayState.STOPPED, now_ms, memory.id])
    return memory.id


def under_way(db: Database) -> ReplayMemory | None:
    """Return the replay that has not come to its end; None when there is none."""
    row = db.execute("SELECT id FROM replays WHERE state = 'running'").fetchone()
    return _recall(db, row[0]) if row else None


def latest(db: Database) -> list[ReplayMemory]:
    """Return the latest replay, which may be under way, and the one before it; newest first, as many as there are."""
    numbers = db.execute("SELECT id FROM replays ORDER BY id DESC LIMIT 2").fetchall()
    return [memory for (number,) in numbers if (memory := _recall(db, number)) is not None]


def _recall(db: Database, number: int) -> ReplayMemory | None:
    row = db.execute(
        "SELECT state, since, until, last, source, type, attempt, events, begun_at, ended_at FROM replays WHERE id = ?",
        [number],
    ).fetchone()
    if row is None:
        return None
    parts = db.execute(
        "SELECT destination, state, planned, queued, reached FROM replay_parts WHERE replay = ? ORDER BY destination",
        [number],
    ).fetchall()
    state, *past, events, begun_ms, ended_ms = row
    return ReplayMemory(
        number,
        ReplayState(state),
        Past(*past),
        events,
        begun_ms,
        ended_ms,
        tuple(Part(name, ReplayState(state), *counts) for name, state, *counts in parts),
    )


def _end_parts(db: Database, number: int, how: ReplayState, destinations: Collection[str]) -> None:
    db.conn.executemany(
        "UPDATE replay_parts SET state = ? WHERE replay = ? AND destination = ? AND state = 'running'",
        [(how, number, destination) for destination in destinations],
    )


def _end_if_over(db: Database, number: int, now_ms: int) -> None:
    db.execute(
        "UPDATE replays SET state = 'done', ended_at = ? WHERE id = ? AND state = 'running'"
        " AND NOT EXISTS (SELECT 1 FROM replay_parts WHERE replay = replays.id AND state = 'running')",
        [now_ms, number],
    )
