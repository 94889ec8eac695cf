"""Evaluates the conditions, and stores their changes and the alerts about them."""

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Final

from notifier.alerts.conditions import ConditionKey
from notifier.alerts.evaluation import Evaluation, EvaluationFindings
from notifier.alerts.policy import ChangeReason, find_changes, find_handovers
from notifier.clock import Clock
from notifier.destinations.outcome import AttemptResult, FailureScope, failure_scope
from notifier.events import Event
from notifier.store.errors import StoreError
from notifier.store.store import Store
from notifier.store.tables import alert_events, conditions
from notifier.store.tables.conditions import ConditionChange, Phase, StoredCondition

_log = logging.getLogger(__name__)

_LONGEST_STEP_SECONDS: Final = 120.0
"""At most this much time between two evaluations counts as observed; in a longer time, the machine may have slept."""


_REFUSALS: Final = tuple(
    reason
    for reason in AttemptResult
    if failure_scope(reason) in (FailureScope.EVENT, FailureScope.PERMANENT)
    and reason is not AttemptResult.PARTLY_TAKEN
)
"""The results of an attempt that show that the receiver would also refuse another attempt with the same alert."""


class AlertMonitor:
    """Stores the conditions and the alerts about them, and holds the latest evaluation."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        alerts_to: str,
        find_conditions: Callable[[Collection[ConditionKey]], Awaitable[EvaluationFindings]],
        on_events: Callable[[Sequence[Event]], None],
        on_withdrawn: Callable[[str], None] = lambda _destination: None,
        configured_destinations: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """Initialise with the destination of alerts ("" for none) and callbacks.

        - `find_conditions` gets the keys of the conditions that fire already, and returns the conditions that hold now.
          If it raises StoreError, nothing changes until the next evaluation.
        - `on_events` gets the alerts that were written.
        - `on_withdrawn` gets each destination whose waiting alerts were replaced by a later one.
        - `configured_destinations` returns the destinations that may get a last alert when alerts move elsewhere.
        """
        self._store = store
        self._clock = clock
        self._alerts_to = alerts_to
        self._find_conditions = find_conditions
        self._on_events = on_events
        self._on_withdrawn = on_withdrawn
        self._configured_destinations = configured_destinations
        self._store_failed = False
        self._evaluation: Evaluation | None = None

    @property
    def evaluation(self) -> Evaluation | None:
        """The latest evaluation whose changes were stored; None before the first evaluation."""
        return self._evaluation

    def set_alert_destination(self, destination: str) -> None:
        """Send alerts to this destination from now on ("" for none)."""
        self._alerts_to = destination

    async def evaluate(self) -> None:
        """Evaluate the conditions, then store and log the changes. If storing them fails, the next call tries again."""
        try:
            await self._evaluate()
        except StoreError as error:
            if not self._store_failed:
                _log.error(error.message, extra={"reason": error.reason})
            self._store_failed = True
            return
        self._store_failed = False

    async def _evaluate(self) -> None:
        stored = await self._store.run(conditions.read_all)
        found = await self._find_conditions({it.key for it in stored if it.phase is Phase.FIRING})
        now_ms, now = self._clock.now_ms(), self._clock.monotonic()
        step = 0.0 if self._evaluation is None else min(now - self._evaluation.at_seconds, _LONGEST_STEP_SECONDS)
        configured_destinations = self._configured_destinations()
        changes = find_changes(
            found.conditions,
            stored,
            self._alerts_to,
            now_ms,
            step_ms=round(step * 1000),
            withdrawn=found.withdrawn,
            unknown=found.unknown,
            configured_destinations=configured_destinations,
        )
        handovers = find_handovers(stored, changes, self._alerts_to, configured_destinations)
        if changes or handovers:
            write = partial(alert_events.write, now_ms=now_ms, handovers=handovers)
            written = await self._store.run(write, changes)
            for destination in written.withdrawn:
                self._on_withdrawn(destination)
            if written.events:
                self._on_events(written.events)
            # Logged before the store is read again: after an error, these changes are not found a second time.
            for change in changes:
                _log_change(change)
        await self._update_evaluation(stored, changes, now_ms, now)

    async def _update_evaluation(
        self, stored: Sequence[StoredCondition], changes: Sequence[ConditionChange], now_ms: int, now: float
    ) -> None:
        known = {it.key: it for it in stored}
        known |= {change.condition.key: change.condition for change in changes}
        forgotten = {change.condition.key for change in changes if change.is_forgotten}
        firing = [it for key, it in known.items() if it.phase is Phase.FIRING and key not in forgotten]
        since_ms = refusal_reason = None
        if self._alerts_to:
            since_ms = await self._store.run(alert_events.oldest_undelivered_ms, self._alerts_to)
            refusal_reason = await self._store.run(alert_events.latest_refusal, self._alerts_to, _REFUSALS)
        self._evaluation = Evaluation(
            now_ms,
            now,
            tuple(sorted(firing, key=lambda it: (it.since_ms, it.name, it.subject))),
            self._alerts_to,
            undelivered_seconds=None if since_ms is None else max(0.0, (now_ms - since_ms) / 1000),
            refusal_reason=refusal_reason,
        )


def _log_change(change: ConditionChange) -> None:
    condition = change.condition
    facts = {"condition": condition.name, "subject": condition.subject, "detail": condition.summary}
    match change.reason:
        case ChangeReason.BEGAN | ChangeReason.RETURNED:
            _log.warning("a condition requires action", extra=facts)
        case ChangeReason.ENDED:
            # Logged at the same level as its beginning, so that readers who saw the beginning also see the end.
            _log.warning("a condition is resolved", extra=facts)
        case ChangeReason.WITHDRAWN:
            _log.warning("a condition is no longer reported, although nothing was corrected", extra=facts)
        case _:
            pass
