"""Sends the alert that the state file cannot be written. The alert is sent without being stored."""

import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from msgspec.structs import replace

from notifier.alerts.conditions import STORE, ConditionName
from notifier.alerts.texts import encode_sentences, with_end_summary
from notifier.clock import Clock
from notifier.destinations.outcome import AttemptResult, Outcome
from notifier.events import Event, EventType, alert_event_id
from notifier.store.errors import StoreError
from notifier.store.store import Store
from notifier.store.tables import alert_events, conditions
from notifier.store.tables.conditions import ConditionChange, ConditionState, StoredCondition
from notifier.wording.sentences import Sentence

_log = logging.getLogger(__name__)

FAILING_FOR_MS: Final = 60_000
"""How long writes may fail before an alert is sent. A busy disk or another program's lock may be a short problem."""


class UnwritableStore:
    """Holds the condition `store_unwritable`, and sends its alerts.

    The condition is held in memory, because the state file cannot be written. The alert about the beginning is sent at
    each evaluation, with the same id, until the destination accepts it. The alert about the end is stored as an
    ordinary event.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        alerts_to: str,
        send: Callable[[str, Event], Awaitable[tuple[Outcome, bool]]],
        configured_destinations: Callable[[], Collection[str]],
    ) -> None:
        """Initialise with the destination of alerts ("" for none).

        `send` makes one attempt to send an event to a destination; the event need not be stored.
        """
        self._store = store
        self._clock = clock
        self._alerts_to = alerts_to
        self._send = send
        self._configured_destinations = configured_destinations
        self._failing_since: float | None = None
        self._firing: StoredCondition | None = None
        self._alerted_to = ""

    def set_alert_destination(self, destination: str) -> None:
        """Send alerts to this destination from now on ("" for none)."""
        self._alerts_to = destination

    @property
    def firing(self) -> tuple[StoredCondition, ...]:
        """A tuple with the condition if it fires; otherwise, an empty tuple."""
        return () if self._firing is None else (self._firing,)

    async def check(self) -> list[Event]:
        """Check whether the state file can be written, and report a change. Return the alerts that were stored."""
        if self._store.last_error is None:
            return await self._end()
        if self._failing_since is None:
            self._failing_since = self._clock.monotonic()
        failing_ms = round((self._clock.monotonic() - self._failing_since) * 1000)
        if failing_ms < FAILING_FOR_MS:
            return []
        try:
            # Perhaps nothing else was to be written since the error.
            await self._store.run(conditions.write_nothing)
        except StoreError as error:
            before = self._firing
            await self._fire(error, self._clock.now_ms() - failing_ms if before is None else before.since_ms)
            return []
        return await self._end()

    async def stop(self) -> None:
        """If the alert about the beginning was sent, store the alert about the end.

        If the state file still cannot be written, nothing is stored. The next run of the daemon delivers the stored
        alert. Only this run can store the alert, because no other run knows that the condition began.
        """
        if self._alerted_to in self._configured_destinations():
            await self._end()

    async def _fire(self, error: StoreError, since_ms: int) -> None:
        summary = Sentence("store_unwritable.why", why=error.message)
        begins = self._firing is None
        self._firing = StoredCondition(
            ConditionName.STORE_UNWRITABLE, STORE, str(summary), since_ms, texts=encode_sentences(summary)
        )
        if begins:
            facts = {"condition": self._firing.name, "subject": STORE, "detail": summary}
            _log.warning("a condition requires action", extra=facts)
        if self._alerts_to and self._alerted_to != self._alerts_to:
            change = ConditionChange(ConditionState.FIRING, self._firing, "began", self._alerts_to)
            identifier = alert_event_id(self._firing.name, STORE, change.state, since_ms, since_ms)
            event = Event(0, identifier, EventType.ALERT, "", STORE, since_ms, alert_events.alert_data([change]))
            try:
                outcome, _ = await self._send(self._alerts_to, event)
            except KeyError:
                # The destination was removed by a reload in the meantime.
                return
            if outcome.reason is AttemptResult.DELIVERED:
                self._alerted_to = self._alerts_to

    async def _end(self) -> list[Event]:
        before, events = self._firing, list[Event]()
        if before is not None:
            if self._alerted_to in self._configured_destinations():
                now_ms = self._clock.now_ms()
                over = with_end_summary(replace(before, alerted_ms=now_ms))
                change = ConditionChange(ConditionState.RESOLVED, over, "ended", self._alerted_to, is_forgotten=True)
                try:
                    events += (await self._store.run(alert_events.write, [change], now_ms)).events
                except StoreError:
                    # The file has become unwritable once more, so the condition goes on.
                    return []
            _log.warning("a condition is resolved", extra={"condition": before.name, "subject": STORE})
        self._failing_since = self._firing = None
        self._alerted_to = ""
        return events
