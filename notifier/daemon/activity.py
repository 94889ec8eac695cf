"""Counts requests, and stores each change of a source's or destination's state, for the dashboard.

Counts are written to the store once a minute, so a killed process loses the counts of the last minute.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from notifier.clock import Clock
from notifier.delivery.health import DestinationState
from notifier.destinations.outcome import AttemptResult
from notifier.store.errors import StoreError
from notifier.store.store import Store
from notifier.store.tables import activity, destinations
from notifier.store.tables.activity import ActivityKind, ActivitySubject, RequestCount, StateChange
from notifier.store.tables.outbox import Delivery
from notifier.store.tables.rollups import QUARTER_MS
from notifier.store.tables.settlements import Settlement

_log = logging.getLogger(__name__)

ACTIVITY_JOB = "(activity)"
"""The name of the job that saves counts of requests and changes of state for the dashboard."""

ACTIVITY_EVERY_SECONDS: Final = 15.0
"""Seconds between two readings of the states. A state that lasts for a shorter time may be missed."""

WRITE_EVERY_SECONDS: Final = 60.0
"""Seconds between two writes of the counts to the store."""

_MAX_COUNTS: Final = 10_000
"""Maximum number of counts in memory. There are so many only if the store cannot be written for days."""

States = Mapping[ActivitySubject, tuple[str, str | None]]
"""Each source or destination with its state and the reason for the state; the reason may be None."""


class ActivityLog:
    """Counts requests, and stores each change of a source's or destination's state."""

    def __init__(self, store: Store, clock: Clock, states: Callable[[], States]) -> None:
        """Initialise with the store, and with a function that returns the current states."""
        self._store = store
        self._clock = clock
        self._current_states = states
        self._counts: defaultdict[tuple[ActivitySubject, int], RequestCount] = defaultdict(RequestCount)
        self._saved_states: dict[ActivitySubject, StateChange] | None = None
        self._attempted_destinations: set[str] = set()
        """The names of the destinations to which at least one request has been sent."""
        self._counts_written_at = clock.monotonic()

    def count_request(self, source: str, seconds: float, *, failed: bool) -> None:
        """Count a request to a source."""
        self._count(ActivitySubject(ActivityKind.SOURCE, source), round(seconds * 1000), failed=failed)

    def count_attempt(self, _deliveries: Sequence[Delivery], settlements: Sequence[Settlement]) -> None:
        """Count a request to a destination."""
        settlement = settlements[0]
        subject = ActivitySubject(ActivityKind.DESTINATION, settlement.destination)
        self._attempted_destinations.add(settlement.destination)
        self._count(subject, settlement.milliseconds, failed=settlement.reason != AttemptResult.DELIVERED)

    def unwritten_counts(self, subject: ActivitySubject) -> dict[int, RequestCount]:
        """Return the counts of `subject` that are not in the store yet.

        Each key is a time in quarter-hours since 1970.
        """
        return {quarter: count for (counted, quarter), count in self._counts.items() if counted == subject}

    async def save_changes(self) -> None:
        """Store changed states and, once a minute, the counts. After a failure, the next call tries again."""
        try:
            await self._save_state_changes()
            if self._clock.monotonic() - self._counts_written_at >= WRITE_EVERY_SECONDS:
                await self.write_counts()
        except StoreError as error:
            # Parts that use the store more often report this error.
            _log.debug(error.message, extra={"reason": error.reason})

    async def stop(self) -> None:
        """Write the counts that are not in the store yet; an error is only logged."""
        try:
            await self.write_counts()
        except StoreError as error:
            _log.debug(error.message, extra={"reason": error.reason})

    async def write_counts(self) -> None:
        """Write the counts to the store. Raises StoreError, and keeps the counts in that case."""
        self._counts_written_at = self._clock.monotonic()
        counts, self._counts = self._counts, defaultdict(RequestCount)
        if not counts:
            return
        try:
            await self._store.run(activity.add_requests, counts)
        except BaseException:
            for key, count in list(counts.items())[-_MAX_COUNTS:]:
                self._counts[key] += count
            raise

    async def _save_state_changes(self) -> None:
        if self._saved_states is None:
            known = await self._store.run(activity.latest_states)
            self._attempted_destinations |= await self._store.run(destinations.names_with_requests)
            self._saved_states = known
        now_ms = self._clock.now_ms()
        changed = {
            subject: StateChange(now_ms, *shown)
            for subject, state in self._current_states().items()
            if (shown := self._displayed_state(subject, *state)) != _without_time(self._saved_states.get(subject))
        }
        if changed:
            await self._store.run(activity.store_state_changes, changed)
            self._saved_states |= changed

    def _displayed_state(self, subject: ActivitySubject, state: str, reason: str | None) -> tuple[str, str | None]:
        """Return the state and the reason to display. If a destination never got a request, `ok` becomes `untried`."""
        is_untried = subject.kind is ActivityKind.DESTINATION and subject.name not in self._attempted_destinations
        return (DestinationState.UNTRIED if is_untried and state == DestinationState.OK else state), reason

    def _count(self, subject: ActivitySubject, milliseconds: int, *, failed: bool) -> None:
        quarter = self._clock.now_ms() // QUARTER_MS
        self._counts[subject, quarter] += RequestCount(1, int(failed), milliseconds, milliseconds)


def _without_time(change: StateChange | None) -> tuple[str, str | None] | None:
    return None if change is None else (change.state, change.reason)
