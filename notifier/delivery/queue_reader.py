"""Reads the due deliveries of one destination, or the candidates for a probe, from the store in advance."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from functools import partial

from notifier.clock import Clock
from notifier.delivery.policy import probe
from notifier.delivery.policy.schedule import Timetable
from notifier.delivery.ready_queue import ReadyQueue
from notifier.destinations.outcome import LONGEST_WAIT_SECONDS
from notifier.store.database import Database
from notifier.store.errors import StoreError
from notifier.store.store import Store
from notifier.store.tables import outbox, slots
from notifier.store.tables.outbox import Delivery, DueDeliveries
from notifier.store.tables.slots import Gate

_log = logging.getLogger(__name__)

FAULT_PAUSE_SECONDS = 60.0
"""Seconds to wait before repeating work that failed because of an internal error."""

_STORE_RETRY_SECONDS = 1.0


class QueueReader:
    """Fills one destination's ReadyQueue from the store."""

    def __init__(
        self,
        name: str,
        store: Store,
        clock: Clock,
        queue: ReadyQueue,
        most: int,
        timetable: Timetable | None = None,
        *,
        on_read: Callable[[], None],
        wake_later: Callable[[float], None],
    ) -> None:
        """Initialise with the destination's name, and the queue to fill with at most `most` deliveries per read.

        `on_read` is called after each successful read. `wake_later` makes the worker look for deliveries again in the
        given number of seconds.
        """
        self.may_have_more = True
        """Whether the store may hold due deliveries that were not read yet."""
        self.candidates: tuple[Delivery, ...] | None = None
        """The deliveries from which the next probe is chosen, spread over all that are due; None before they are read.
        """
        self.gate: Gate | None = None
        """What the destination's timetable allowed at the last read; None without a timetable, or before the first
        read.
        """
        self._timetable = timetable
        self._name = name
        self._store = store
        self._clock = clock
        self._queue = queue
        self._most = most
        self._on_read = on_read
        self._wake_later = wake_later
        self._is_failing = False
        self._has_seen_end = False
        self._reading: asyncio.Task[None] | None = None

    @property
    def is_reading(self) -> bool:
        """Whether a read is under way."""
        return self._reading is not None

    @property
    def gate_has_changed(self) -> bool:
        """Whether the timetable may allow other deliveries now than at the last read."""
        changes_ms = None if self.gate is None else self.gate.changes_ms
        return changes_ms is not None and self._clock.now_ms() >= changes_ms

    @property
    def has_read_all(self) -> bool:
        """Whether it is certain that all waiting deliveries in the store were read; never true with a timetable."""
        return self._has_seen_end and not self.may_have_more and not self.is_reading and self._timetable is None

    def mark_outdated(self) -> None:
        """Mark earlier reads as outdated, because the store may hold more deliveries."""
        self.may_have_more = True
        self.candidates = None

    def read_due(self) -> None:
        """Start reading the due deliveries, in order, unless a read is under way."""
        self._start_read(self._read_due)

    def read_candidates(self) -> None:
        """Start reading probe candidates, spread over all due deliveries, unless a read is under way."""
        self._start_read(self._read_candidates)

    async def stop(self) -> None:
        """Cancel a read that is under way."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    def _start_read(self, read: Callable[[], Awaitable[None]]) -> None:
        if self._reading is None:
            self._reading = asyncio.create_task(self._run(read), name=f"read {self._name}")

    async def _run(self, read: Callable[[], Awaitable[None]]) -> None:
        """Read once. If the read fails, log the error, and make the worker try again later."""
        again: float | None = None
        try:
            await read()
        except StoreError as error:
            if not self._is_failing:
                _log.error(error.message, extra={"destination": self._name, "reason": error.reason})
            self._is_failing = True
            again = _STORE_RETRY_SECONDS
        except Exception:  # noqa: BLE001 - reported; a bug must not leave everything waiting for ever
            facts = {"destination": self._name}
            _log.critical("an internal error; due deliveries are read again later", extra=facts, exc_info=True)
            again = FAULT_PAUSE_SECONDS
        else:
            self._is_failing = False
        finally:
            self._reading = None
        if again is None:
            self._on_read()
        else:
            self._wake_later(again)

    async def _read_due(self) -> None:
        self.may_have_more = self._has_seen_end = False
        revision, now_ms = self._queue.revision, self._clock.now_ms()
        found, gate = await self._store.run(
            _query_due,
            self._name,
            now_ms=now_ms,
            timetable=self._timetable,
            limit=self._most,
            in_flight=tuple(self._queue.claimed),
        )
        self.gate = gate
        if revision != self._queue.revision:
            self.may_have_more = True
            return
        self._queue.add(found.deliveries)
        if len(found.deliveries) == self._most:
            self.may_have_more = True
        else:
            # If a delivery waits for its next attempt, later events of the same record have to wait, too.
            self._has_seen_end = found.next_due_ms is None
            self._wake_when_due(found, now_ms)

    async def _read_candidates(self) -> None:
        self.may_have_more = self._has_seen_end = False
        revision, now_ms = self._queue.revision, self._clock.now_ms()
        kept = {it.event.sequence for it in self._queue.waiting()}
        found, gate = await self._store.run(
            _query_candidates,
            self._name,
            now_ms=now_ms,
            timetable=self._timetable,
            busy=tuple(self._queue.claimed - kept),
        )
        self.gate = gate
        if revision == self._queue.revision:
            self.candidates = found.deliveries
            self._wake_when_due(found, now_ms)

    def _wake_when_due(self, found: DueDeliveries, now_ms: int) -> None:
        if found.next_due_ms is not None:
            self._wake_later(max(0.0, (found.next_due_ms - now_ms) / 1000))


def _query_due(
    db: Database, name: str, *, now_ms: int, timetable: Timetable | None, limit: int, in_flight: Collection[int]
) -> tuple[DueDeliveries, Gate | None]:
    gate = _pass_gate(db, name, timetable, now_ms)
    horizon_ms = now_ms + round(LONGEST_WAIT_SECONDS * 1000)
    found = outbox.read_due(db, name, now_ms=now_ms, horizon_ms=horizon_ms, limit=limit, in_flight=in_flight, gate=gate)
    return found, gate


def _query_candidates(
    db: Database, name: str, *, now_ms: int, timetable: Timetable | None, busy: Collection[int]
) -> tuple[DueDeliveries, Gate | None]:
    gate = _pass_gate(db, name, timetable, now_ms)
    horizon_ms = now_ms + round(LONGEST_WAIT_SECONDS * 1000)
    found = outbox.read_spread_due(
        db, name, probe.spread_evenly, now_ms=now_ms, horizon_ms=horizon_ms, busy=busy, gate=gate
    )
    return found, gate


def _pass_gate(db: Database, name: str, timetable: Timetable | None, now_ms: int) -> Gate | None:
    if timetable is None:
        return None
    return slots.assign_slot(db, name, partial(timetable.gate_at, now_ms=now_ms), now_ms)
