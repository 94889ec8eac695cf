"""Decides which requests of a destination are recorded in the log of requests: all, unless there are very many."""

import logging
from typing import Final

from notifier.destinations.outcome import AttemptResult, Outcome
from notifier.store.tables.request_log import SentRequest

_log = logging.getLogger(__name__)

BURST: Final = 200
"""The maximum number of requests that are recorded in a burst."""

PER_SECOND: Final = 1.0
"""The maximum average number of recorded requests a second. More would slow down the delivery of a backlog."""


class LogAllowance:
    """A limit for recorded requests: BURST at once, and PER_SECOND a second on average."""

    def __init__(self) -> None:
        self._left = float(BURST)
        self._counted_at: float | None = None

    def take(self, now: float) -> bool:
        """Return whether one more request may be recorded at `now` (monotonic seconds); if so, count it."""
        since = 0.0 if self._counted_at is None else max(0.0, now - self._counted_at)
        self._left = min(float(BURST), self._left + since * PER_SECOND)
        self._counted_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class RequestLog:
    """Chooses which requests of one destination are recorded. Failures and successes have separate allowances."""

    def __init__(self, destination: str) -> None:
        self._destination = destination
        self._successes = LogAllowance()
        self._failures = LogAllowance()

    def entry_for(self, outcome: Outcome, now: float) -> SentRequest | None:
        """Return the log entry of a request, or None if it is not recorded; `now` is in monotonic seconds."""
        allowance = self._successes if outcome.reason is AttemptResult.DELIVERED else self._failures
        if outcome.request is None or not allowance.take(now):
            return None
        try:
            return outcome.request()
        except Exception:  # noqa: BLE001 - an error in what is only shown to people must not repeat a delivery
            _log.exception("a request could not be logged", extra={"destination": self._destination})
            return None
