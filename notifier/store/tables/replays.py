"""The stored replays: the request, the plan, and the progress for each destination.

The transaction that puts deliveries back into the queue also stores the progress. So even a killed process puts each
event back exactly once.
"""

from collections.abc import Collection
from enum import StrEnum

from msgspec import Struct

from notifier.store.database import Database
from notifier.store.subscriptions import Subscription
from notifier.store.tables import requeue
from notifier.store.tables.requeue import ReplayPlan, ReplayRange


class ReplayState(StrEnum):
    """The state of a replay, or of its part for one destination."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    REMOVED = "removed"
    """Only for a part: its destination was removed from the configuration."""


class ReplayTarget(Struct, frozen=True):
    """The part of a replay for one destination.

    `planned` is the number of deliveries to put back into the queue, `queued` the number already put back. All events
    up to the number `reached` are done.
    """

    destination: str
    state: ReplayState
    planned: int
    queued: int
    reached: int


class ReplayRun(Struct, frozen=True):
    """A stored replay: `past` is the requested range, `events` the number of events that at least one destination gets.

    Times are Unix milliseconds; `ended_ms` is None while the replay runs.
    """

    id: int
    state: ReplayState
    past: ReplayRange
    events: int
    begun_ms: int
    ended_ms: int | None
    parts: tuple[ReplayTarget, ...]

    @property
    def planned(self) -> int:
        """The number of deliveries that the replay was planned to put back."""
        return sum(part.planned for part in self.parts)

    @property
    def queued(self) -> int:
        """The number of deliveries that the replay has put back."""
        return sum(part.queued for part in self.parts)

    @property
    def unfinished(self) -> tuple[ReplayTarget, ...]:
        """The parts that still run, or were stopped before their end."""
        return tuple(part for part in self.parts if part.state in {ReplayState.RUNNING, ReplayState.STOPPED})


class StepResult(Struct, frozen=True):
    """The result of one step of a replay for one destination.

    `queued` deliveries were put back. `has_advanced` means that the step examined some events, even if the destination
    wants none of them. `is_over` means that there is no further step.
    """

    queued: int
    has_advanced: bool
    is_over: bool


class ReplayRunningError(Exception):
    """A replay to one of the requested destinations is running; each destination can have only one at a time."""

    def __init__(self, destinations: Collection[str]) -> None:
        names = ", ".join(f"`{name}`" for name in sorted(destinations))
        super().__init__(
            f"a replay to {names} is under way already (`notifier replay --status` tells what it waits for): wait for"
            " its end, stop it (`notifier replay --stop`), or name another destination (`--destination`)"
        )


def start(db: Database, past: ReplayRange, plan: ReplayPlan, now_ms: int) -> int:
    """Store a new replay with its request and its plan, and return its number. Raises ReplayRunningError.

    A replay with nothing to send ends at once. Earlier replays are deleted, except running ones and the latest one.
    """
    refuse_if_running(db, [name for name, planned in plan.deliveries.items() if planned])
    db.execute("DELETE FROM replays WHERE id < (SELECT max(id) FROM replays) AND state <> 'running'")
    row = db.execute(
        "INSERT INTO replays (begun_at, since, until, last, source, type, attempt, events)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        " RETURNING id",
        [now_ms, past.since_ms, past.until_ms, past.last, past.source, past.type, past.attempt, plan.events],
    ).fetchone()
    number: int = row[0]
    db.executemany(
        "INSERT INTO replay_parts (replay, destination, planned, reached) VALUES (?, ?, ?, ?)",
        [(number, name, planned, plan.start) for name, planned in plan.deliveries.items() if planned],
    )
    _end_if_finished(db, number, now_ms)
    return number


def advance(
    db: Database,
    number: int,
    subscription: Subscription,
    now_ms: int,
    max_waiting: int | None = None,
    new_before_ms: int = 0,
) -> StepResult:
    """Put the next deliveries to one destination back into the queue, and store the progress.

    Nothing is added while `max_waiting` deliveries are due (None: no limit), or while a new event waits that was
    detected before `new_before_ms`. Nothing changes if the replay, or its part for this destination, has ended.
    """
    run = _read(db, number)
    part = next((it for it in run.parts if it.destination == subscription.destination), None) if run else None
    if run is None or part is None or part.state is not ReplayState.RUNNING:
        return StepResult(queued=0, has_advanced=False, is_over=True)
    step = requeue.queue_replay_step(db, run.past, subscription, part.reached, now_ms, max_waiting, new_before_ms)
    if step.sequence == part.reached:
        return StepResult(queued=0, has_advanced=False, is_over=False)
    is_over = step.sequence >= run.past.last
    db.execute(
        "UPDATE replay_parts SET reached = ?, queued = queued + ?, state = ? WHERE replay = ? AND destination = ?",
        [step.sequence, step.queued, ReplayState.DONE if is_over else part.state, number, part.destination],
    )
    if is_over:
        _end_if_finished(db, number, now_ms)
    return StepResult(step.queued, has_advanced=True, is_over=is_over)


def end_removed_part(db: Database, number: int, destination: str, now_ms: int) -> None:
    """End the part of a replay for a destination that is no longer configured."""
    _end_parts(db, number, ReplayState.REMOVED, [destination])
    _end_if_finished(db, number, now_ms)


def refuse_if_running(db: Database, destinations: Collection[str]) -> None:
    """Raise ReplayRunningError if a replay to any of these destinations is running."""
    running = {name for (name,) in db.execute("SELECT destination FROM replay_parts WHERE state = 'running'")}
    if busy := running.intersection(destinations):
        raise ReplayRunningError(busy)


def stop(db: Database, now_ms: int, number: int | None = None) -> list[int]:
    """End the running replay with this number (None: all running replays); return the numbers of the ended replays."""
    ended = [run for run in running(db) if number in (None, run.id)]
    for run in ended:
        _end_parts(db, run.id, ReplayState.STOPPED, [part.destination for part in run.parts])
        db.execute("UPDATE replays SET state = ?, ended_at = ? WHERE id = ?", [ReplayState.STOPPED, now_ms, run.id])
    return [run.id for run in ended]


def running(db: Database) -> list[ReplayRun]:
    """Return the running replays, oldest first."""
    numbers = db.execute("SELECT id FROM replays WHERE state = 'running' ORDER BY id").fetchall()
    return [run for (number,) in numbers if (run := _read(db, number)) is not None]


def latest(db: Database) -> list[ReplayRun]:
    """Return the latest two replays and all running ones, newest first."""
    numbers = db.execute(
        "SELECT id FROM replays WHERE state = 'running' OR id IN (SELECT id FROM replays ORDER BY id DESC LIMIT 2)"
        " ORDER BY id DESC"
    ).fetchall()
    return [run for (number,) in numbers if (run := _read(db, number)) is not None]


def _read(db: Database, number: int) -> ReplayRun | None:
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
    return ReplayRun(
        number,
        ReplayState(state),
        ReplayRange(*past),
        events,
        begun_ms,
        ended_ms,
        tuple(ReplayTarget(name, ReplayState(state), *counts) for name, state, *counts in parts),
    )


def _end_parts(db: Database, number: int, how: ReplayState, destinations: Collection[str]) -> None:
    db.executemany(
        "UPDATE replay_parts SET state = ? WHERE replay = ? AND destination = ? AND state = 'running'",
        [(how, number, destination) for destination in destinations],
    )


def _end_if_finished(db: Database, number: int, now_ms: int) -> None:
    db.execute(
        "UPDATE replays SET state = 'done', ended_at = ? WHERE id = ? AND state = 'running'"
        " AND NOT EXISTS (SELECT 1 FROM replay_parts WHERE replay = replays.id AND state = 'running')",
        [now_ms, number],
    )
