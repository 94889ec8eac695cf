"""Writes the outcomes of attempts to the store in batches. While the store fails, the outcomes stay in memory."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from notifier.delivery.policy.retry import RetryDecision
from notifier.destinations.outcome import AttemptResult, FailureScope, Outcome, failure_scope
from notifier.store.database import Database
from notifier.store.errors import StoreError
from notifier.store.store import Store
from notifier.store.tables import destinations
from notifier.store.tables.destinations import Health, LastError, LearnedLimits
from notifier.store.tables.outbox import Delivery, DeliveryState
from notifier.store.tables.request_log import LoggedRequest, SentRequest
from notifier.store.tables.settlements import Settlement, store_settlements

_log = logging.getLogger(__name__)

COLLECT_SECONDS = 0.05
"""Seconds for which successes are collected before they are written. One transaction per success would cost more than
the requests themselves. If the process is killed before the write, the events of the collected successes are delivered
again, with the same ids.
"""

LONGEST_UNWRITTEN_SECONDS = 3.0
"""If an outcome has waited for longer than this many seconds to be written, no request is sent. Without this limit, a
disk or a database that hangs without an error would cause many repeated deliveries after a restart.
"""

_TRY_AGAIN_SECONDS = 1.0
"""Seconds to wait after a failed write before the next try."""


class OutcomeWriter:
    """Writes the outcomes of one destination's attempts to the store."""

    def __init__(
        self,
        name: str,
        store: Store,
        on_written: Callable[[Sequence[Settlement]], None],
        trying_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        """Initialise with the destination's name and the store.

        `on_written` is called with each batch after it was written. `trying_ms` returns the destination's total time
        spent trying to deliver, in milliseconds (see `TryingClock`).
        """
        self._name = name
        self._store = store
        self._on_written = on_written
        self._trying_ms = trying_ms
        self._settlements: list[Settlement] = []
        self._health: Health | None = None
        self._error: LastError | None = None
        self._learned: LearnedLimits | None = None
        self._work_available = asyncio.Event()
        self._urgent = asyncio.Event()
        self._is_failing = False
        self._waiting_since: float | None = None
        self._batch_waiting_since: float | None = None
        self._stopping = False
        self.write_lock = asyncio.Lock()
        """Held during every write. While other code holds it, nothing is written."""
        self._writing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_blocked(self) -> bool:
        """Whether outcomes cannot be written now; while true, no request may be sent."""
        oldest = self._batch_waiting_since or self._waiting_since
        return self._is_failing or (
            oldest is not None and asyncio.get_running_loop().time() - oldest > LONGEST_UNWRITTEN_SECONDS
        )

    def start(self) -> None:
        """Start the task that writes."""
        self._writing = asyncio.create_task(self._write_loop(), name=f"write outcomes {self._name}")

    def add(self, settlements: Sequence[Settlement]) -> None:
        """Queue the outcomes of one request."""
        self._settlements += settlements
        self._waiting_since = self._waiting_since or asyncio.get_running_loop().time()
        if any(settlement.state is not DeliveryState.DELIVERED for settlement in settlements):
            self._urgent.set()
        self._work_available.set()

    def stop_collecting(self) -> None:
        """Write the collected outcomes now. Called when all requests that could add an outcome have ended."""
        self._urgent.set()

    def set_health(self, health: Health, error: LastError | None = None, learned: LearnedLimits | None = None) -> None:
        """Queue the destination's health, last `error` and `learned` limits; None leaves the queued value as it is."""
        self._health = health
        self._error = error or self._error
        self._learned = learned or self._learned
        self._urgent.set()
        self._work_available.set()

    def follow_clock(self, by_ms: int) -> None:
        """Shift the times in unwritten outcomes by `by_ms`, after the wall clock was set."""
        self._settlements = [
            replace(
                settlement,
                attempted_ms=settlement.attempted_ms + by_ms,
                logged=settlement.logged
                and replace(settlement.logged, attempted_ms=settlement.logged.attempted_ms + by_ms),
                next_attempt_ms=settlement.next_attempt_ms and settlement.next_attempt_ms + by_ms,
            )
            for settlement in self._settlements
        ]

    async def stop(self) -> None:
        """Stop the task that writes, and try once more to write the remaining outcomes."""
        self._stopping = True
        self._urgent.set()
        self._work_available.set()
        if self._writing is not None:
            # The task is not cancelled, because it would then be unknown whether its present write succeeded.
            await self._writing
        await self._write()

    async def _write_loop(self) -> None:
        while not self._stopping:
            await self._work_available.wait()
            await self._collect()
            self._work_available.clear()
            if not await self._write() and not self._stopping:
                self._try_again_later()

    async def _collect(self) -> None:
        """Wait for more successes until COLLECT_SECONDS have passed or something urgent arrives."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COLLECT_SECONDS):
                await self._urgent.wait()
        self._urgent.clear()

    def _try_again_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(_TRY_AGAIN_SECONDS, self._work_available.set)

    async def _write(self) -> bool:
        """In one transaction, write all that is queued. Return whether this succeeded; if not, all stays queued."""
        async with self.write_lock:
            batch, self._settlements = self._settlements, []
            health, self._health = self._health, None
            error, self._error = self._error, None
            learned, self._learned = self._learned, None
            self._batch_waiting_since, self._waiting_since = self._waiting_since, None
            try:
                await self._store.run(_store_batch, self._name, batch, health, error, learned, self._trying_ms())
            except Exception as failure:  # noqa: BLE001 - reported; whatever it is, nothing unwritten may be lost
                self._requeue(batch, health, error, learned)
                self._waiting_since = self._batch_waiting_since or self._waiting_since
                self._log_failure(failure)
                return False
            finally:
                self._batch_waiting_since = None
        if self._is_failing:
            self._is_failing = False
            _log.info("storing outcomes works again", extra={"destination": self._name})
        self._on_written(batch)
        return True

    def _requeue(
        self, batch: list[Settlement], health: Health | None, error: LastError | None, learned: LearnedLimits | None
    ) -> None:
        """After a failed write, put a batch of outcomes back at the front of the queue.

        `health`, `error` and `learned` are put back only if no newer value is queued.
        """
        self._settlements[:0] = batch
        self._health = self._health or health
        self._error = self._error or error
        self._learned = self._learned or learned

    def _log_failure(self, failure: Exception) -> None:
        if not self._is_failing:
            if isinstance(failure, StoreError):
                _log.error(failure.message, extra={"destination": self._name, "reason": failure.reason})
            else:
                _log.error("outcomes cannot be stored", extra={"destination": self._name}, exc_info=failure)
        self._is_failing = True


def settlements_of(
    deliveries: Sequence[Delivery],
    decisions: Sequence[RetryDecision],
    outcome: Outcome,
    *,
    milliseconds: int,
    trying_ms: int,
    now_ms: int,
    logged: SentRequest | None = None,
) -> list[Settlement]:
    """Return the outcomes to store for the deliveries of one request, which took `milliseconds`. Pure.

    Deliveries with the same decision share one `Settlement`. The first settlement carries `logged`, the entry of the
    whole request in the log of requests.
    """
    groups: Iterable[tuple[RetryDecision, Sequence[Delivery]]] = [(decisions[0], deliveries)]
    if decisions.count(decisions[0]) < len(decisions):
        by_decision: dict[RetryDecision, list[Delivery]] = {}
        for delivery, decision in zip(deliveries, decisions, strict=True):
            by_decision.setdefault(decision, []).append(delivery)
        groups = by_decision.items()
    settlements = [
        Settlement(
            tuple([it.event.sequence for it in shared]),
            deliveries[0].destination,
            decision.state,
            decision.decision,
            outcome.reason,
            outcome.status,
            outcome.detail,
            now_ms - milliseconds,
            milliseconds,
            now_ms + round(decision.wait_seconds * 1000) if decision.wait_seconds else 0,
            decision.counts_against_event,
            decision.proven,
            max(0, trying_ms - milliseconds),
            outcome.taken_by,
            tuple([it.event.time_ms for it in shared if not it.again]),
        )
        for decision, shared in groups
    ]
    if logged is not None:
        sequences = tuple([it.event.sequence for it in deliveries])
        first = settlements[0]
        settlements[0] = replace(first, logged=LoggedRequest(first.attempted_ms, sequences, logged))
    return settlements


OnAttempt = Callable[[Sequence[Delivery], Sequence[Settlement]], None]
"""Called after a request with its deliveries and the outcomes to store."""


def log_attempt(deliveries: Sequence[Delivery], settlements: Sequence[Settlement]) -> None:
    """Log the decisions after a request: one line, even if the request carried many deliveries."""
    first = settlements[0]
    match first.state:
        case DeliveryState.DELIVERED:
            level, words = logging.DEBUG, "delivered"
        case DeliveryState.PENDING:
            level, words = _level_of_failure(deliveries, first), "attempt failed"
        case DeliveryState.DEAD:
            level, words = logging.ERROR, "delivery given up"
    if not _log.isEnabledFor(level):
        return
    facts = {
        "destination": first.destination,
        "event": deliveries[0].event.id if len(deliveries) == 1 else None,
        "events": len(deliveries) if len(deliveries) > 1 else None,
        "reason": first.reason,
        "status": first.status,
        "detail": first.detail,
        "decision": ", ".join(dict.fromkeys(settlement.decision for settlement in settlements)),
    }
    _log.log(level, words, extra=facts)


def _level_of_failure(deliveries: Sequence[Delivery], settlement: Settlement) -> int:
    """Return the log level of a failed request: INFO for the first attempt of a refused event, otherwise DEBUG.

    When a failure of the endpoint changes the destination's health, `log_new_state` logs it at a higher level.
    """
    refused = failure_scope(AttemptResult(settlement.reason)) is FailureScope.EVENT
    return logging.INFO if refused and any(not delivery.attempts for delivery in deliveries) else logging.DEBUG


def _store_batch(
    db: Database,
    name: str,
    settlements: Sequence[Settlement],
    health: Health | None,
    error: LastError | None,
    learned: LearnedLimits | None,
    trying_ms: int,
) -> None:
    if settlements:
        store_settlements(db, settlements)
    if health is not None:
        destinations.store_health(db, name, health, error, learned)
    destinations.store_trying_ms(db, name, trying_ms)
