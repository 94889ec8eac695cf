"""Sends what waits for one destination: fetch what is due, attempt, decide, write down, go on.

Everything here runs on the event loop without locks: a method without `await` is never interrupted.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from notifier.clock import Clock
from notifier.completions import Event
from notifier.config import DestinationSettings
from notifier.deliver import policy, refusals
from notifier.deliver.destination import Destination, Grouping, Preparing
from notifier.deliver.grouping import MOST_IN_A_DIGEST, next_group
from notifier.deliver.health import moved, report, report_switch, switched, tried_at_once, write_switch
from notifier.deliver.outcome import Outcome, Reason, Trouble, trouble
from notifier.deliver.pace import Pace
from notifier.deliver.refusals import Refusals
from notifier.deliver.settling import OnAttempt, Settling, report_attempt
from notifier.ledger import destinations, outbox
from notifier.ledger.destinations import Health, HealthState, LastError
from notifier.ledger.errors import LedgerError
from notifier.ledger.ledger import Ledger
from notifier.ledger.outbox import Delivery, DeliveryState, Settlement

_log = logging.getLogger(__name__)

_ALONE = Grouping()
_FETCH = 500
_REFILL_BELOW = 100
_LEDGER_RETRY = 1.0
_MILLISECONDS = 1000

FAULT_PAUSE = 60.0
"""Seconds until deliveries are tried again whose outcome a fault of the program kept from being judged."""


class Worker:
    """The one who delivers to one destination."""

    def __init__(
        self,
        destination: Destination,
        settings: DestinationSettings,
        ledger: Ledger,
        clock: Clock,
        jitter: Callable[[], float],
        on_attempt: OnAttempt = lambda _deliveries, _settlements: None,
    ) -> None:
        """Take the destination, its settings and the ledger; `jitter` gives numbers in [0, 1)."""
        self.name = destination.name
        self._destination = destination
        self._settings = settings
        self._ledger = ledger
        self._clock = clock
        self._jitter = jitter
        self._on_attempt = on_attempt
        self._pace = Pace(settings.rate)
        self._concurrency = settings.concurrency
        # As many deliveries are read ahead as all requests under way can carry: none of them waits for the ledger.
        size = destination.grouping.size
        self._fetch_most = MOST_IN_A_DIGEST if size > 1 else _FETCH
        self._refill_below = min(max(_REFILL_BELOW, settings.concurrency * size), self._fetch_most)
        self._health = Health()
        self._refusals = Refusals()
        self._open_at = 0.0
        self._ready: deque[Delivery] = deque()
        self._ready_since = 0.0
        self._in_flight: set[int] = set()
        self._attempts: set[asyncio.Task[None]] = set()
        self._settling = Settling(destination.name, ledger, self._on_settled)
        self._cannot_read = False
        self._more = True
        self._round = 0
        self._moved_ms = 0
        self._fetching: asyncio.Task[None] | None = None
        self._timers: dict[Callable[[], None], asyncio.TimerHandle] = {}
        self._running = False

    @property
    def health(self) -> Health:
        """The destination's health at this moment."""
        return self._health

    async def start(self) -> None:
        """Take up where the last run stopped, a wait that a peer had asked for included. Raises LedgerError."""
        # Before anything is due: what it takes must not come between two messages.
        await self.prepare()
        self._health = await self._ledger.run(destinations.recall, self.name)
        if self._health.state is HealthState.RETRYING:
            self._concurrency = 1
        self._open_at = self._opening(self._health)
        self._running = True
        self._settling.start()
        self._pump()

    async def prepare(self) -> None:
        """Let the destination read what its attempts need, again if the configuration is read again."""
        if isinstance(self._destination, Preparing):
            await self._destination.prepare()

    def wake(self) -> None:
        """Look into the ledger: there may be something to deliver."""
        self._more = True
        self._pump()

    async def stop(self, grace: float) -> None:
        """Start nothing more, give attempts under way `grace` seconds, and write down what they came to.

        An attempt that is cut off stays pending and is made again, under the same id, by the next run.
        """
        self._running = False
        for timer in self._timers.values():
            timer.cancel()
        if self._attempts:
            _, late = await asyncio.wait(self._attempts, timeout=grace)
            for attempt in late:
                attempt.cancel()
            if late:
                await asyncio.wait(late)
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])
        await self._settling.stop()

    async def set_enabled(self, *, enabled: bool) -> None:
        """Resume or park the destination; what waits for it is kept either way. Raises LedgerError."""
        switch = switched(self._health, enabled=enabled, now_ms=self._clock.now_ms())
        if switch is None:
            return
        await self._ledger.run(write_switch, self.name, switch)
        self._health = switch.health
        self._refusals = Refusals()
        # An outcome that came in meanwhile may be written over it.
        self._settling.note(switch.health)
        self._concurrency = 1
        self._open_at = 0.0
        self._set_ready_aside()
        report_switch(self.name, enabled=enabled)
        self._pump()

    def try_at_once(self) -> None:
        """Look into the ledger now, and do not wait any longer for a destination in trouble."""
        after = tried_at_once(self._health)
        if after != self._health:
            self._health = after
            self._settling.note(after)
            self._open_at = 0.0
        self.wake()

    async def send_sample(self, event: Event) -> Outcome:
        """Make one attempt with an event that is in no ledger; nothing is learned from what it comes to."""
        return await self._destination.send([Delivery(event, self.name, attempts=0, first_attempt_ms=None)])

    @property
    def writing(self) -> asyncio.Lock:
        """Whoever holds it may be sure that nothing of this destination's is on its way into the ledger."""
        return self._settling.turn

    def follow_clock(self, by_ms: int) -> None:
        """Move what is remembered in wall-clock time, now that the clock was set by `by_ms` and the ledger followed."""
        self._settling.follow_clock(by_ms)
        self._moved_ms += by_ms
        self._health = moved(self._health, by_ms)
        self._settling.note(self._health)
        self._set_ready_aside()
        self._pump()

    def _pump(self) -> None:
        """Start as many requests as may start now; set a timer for what may start later."""
        if not self._running or self._settling.blocked or self._health.state is HealthState.DISABLED:
            return
        now = self._clock.monotonic()
        if now < self._open_at:
            self._later(self._pump, self._open_at - now)
            return
        grouping = self._destination.grouping if self._health.state is HealthState.OK else _ALONE
        while self._ready and len(self._attempts) < self._concurrency:
            group = next_group(self._ready, grouping, now - self._ready_since)
            wait = group.wait or self._pace.wait(now)
            if wait:
                self._later(self._pump, wait)
                break
            self._pace.spend()
            deliveries = [self._ready.popleft() for _ in range(group.count)]
            attempt = asyncio.create_task(self._attempt(deliveries, self._round))
            self._attempts.add(attempt)
            attempt.add_done_callback(partial(self._attempt_ended, deliveries))
        # In trouble the probe is chosen when everything is written down, so that it is whose turn it is.
        undecided = self._in_flight and self._health.state is not HealthState.OK
        if self._more and not undecided and self._fetching is None and len(self._ready) < self._refill_below:
            self._fetching = asyncio.create_task(self._fetch(), name=f"fetch {self.name}")

    def _attempt_ended(self, deliveries: Sequence[Delivery], attempt: asyncio.Task[None]) -> None:
        """Let no fault of ours leave deliveries under way for ever: they are fetched again, after a while."""
        self._attempts.discard(attempt)
        fault = None if attempt.cancelled() else attempt.exception()
        if fault is None:
            return
        facts = {"destination": self.name, "events": len(deliveries)}
        _log.critical("a fault of the program; these events are tried again later", extra=facts, exc_info=fault)
        asyncio.get_running_loop().call_later(FAULT_PAUSE, self._release, deliveries)

    def _release(self, deliveries: Sequence[Delivery]) -> None:
        self._in_flight.difference_update(delivery.event.sequence for delivery in deliveries)
        self.wake()

    async def _fetch(self) -> None:
        """Read what is due from the ledger."""
        self._more = False
        this_round = self._round
        now_ms = self._clock.now_ms()
        try:
            found = await self._ledger.run(
                outbox.due,
                self.name,
                now_ms=now_ms,
                horizon_ms=now_ms + round(policy.LONGEST_WAIT * _MILLISECONDS),
                limit=self._fetch_most,
                in_flight=tuple(self._in_flight),
            )
        except LedgerError as error:
            if not self._cannot_read:
                _log.error(error.message, extra={"destination": self.name, "reason": error.reason})
            self._cannot_read = True
            self._later(self.wake, _LEDGER_RETRY)
            return
        except Exception:  # noqa: BLE001 - reported; a fault of ours must not leave everything waiting for ever
            facts = {"destination": self.name}
            _log.critical("a fault of the program; what is due is looked for again later", extra=facts, exc_info=True)
            self._later(self.wake, FAULT_PAUSE)
            return
        finally:
            self._fetching = None
        self._cannot_read = False
        if this_round != self._round:
            self.wake()
            return
        if found.deliveries and not self._ready:
            self._ready_since = self._clock.monotonic()
        self._ready.extend(sorted(found.deliveries, key=lambda delivery: policy.turn(delivery, self._health)))
        self._in_flight.update(delivery.event.sequence for delivery in found.deliveries)
        if len(found.deliveries) == self._fetch_most:
            self._more = True
        elif found.next_due_ms is not None:
            self._later(self.wake, max(0.0, (found.next_due_ms - now_ms) / _MILLISECONDS))
        self._pump()

    async def _attempt(self, deliveries: Sequence[Delivery], this_round: int) -> None:
        moved_before_ms = self._moved_ms
        started = self._clock.monotonic()
        try:
            outcome = await self._destination.send(deliveries)
        except Exception:  # noqa: BLE001 - a fault of ours in one message must not stop the destination
            _log.exception("no request could be made of this event", extra={"destination": self.name})
            outcome = Outcome(Reason.UNSENDABLE, detail="the notifier could not make a request of this event")
        milliseconds = round((self._clock.monotonic() - started) * _MILLISECONDS)
        # The task itself still counts as under way; what it frees is given to the next one here.
        task = asyncio.current_task()
        if task is not None:
            self._attempts.discard(task)
        if moved_ms := self._moved_ms - moved_before_ms:
            deliveries = [_moved(delivery, moved_ms) for delivery in deliveries]
        sequences = [delivery.event.sequence for delivery in deliveries]
        self._refusals = refusals.after_attempt(self._refusals, sequences, outcome)
        outcome = refusals.judged(outcome, self._refusals, self._health)
        settlements = policy.settlements(
            deliveries,
            outcome,
            self._settings,
            now_ms=self._clock.now_ms(),
            milliseconds=milliseconds,
            jitter=self._jitter,
        )
        report_attempt(deliveries, settlements)
        self._settling.add(settlements)
        self._judge_endpoint(deliveries, outcome, belated=this_round != self._round)
        self._pump()
        if not self._attempts and self._fetching is None:
            self._settling.hurry()
        # Last, so that whatever becomes of it, the outcome is on its way into the ledger.
        self._on_attempt(deliveries, settlements)

    def _judge_endpoint(self, deliveries: Sequence[Delivery], outcome: Outcome, *, belated: bool) -> None:
        """Decide what an outcome means for the destination; `belated`: its request had begun before the trouble."""
        now_ms = self._clock.now_ms()
        before = self._health
        after = policy.after_endpoint(
            before,
            outcome,
            self._settings,
            belated=belated,
            spent=all(policy.patience_spent(delivery) for delivery in deliveries),
            now_ms=now_ms,
            jitter=self._jitter(),
        )
        self._concurrency = policy.next_concurrency(self._concurrency, after, self._settings.concurrency)
        if trouble(outcome.reason) is not Trouble.NONE:
            self._settling.note(after, LastError(outcome.reason, outcome.detail, now_ms))
        if after == before:
            return
        self._health = after
        self._settling.note(after)
        self._open_at = self._opening(after)
        if after.state is not HealthState.OK:
            self._set_ready_aside()
        if after.state is not before.state:
            report(self.name, after, outcome)

    def _set_ready_aside(self) -> None:
        """Forget what was fetched, so that it is fetched again in order once the destination is open."""
        self._in_flight.difference_update(delivery.event.sequence for delivery in self._ready)
        self._ready.clear()
        self._round += 1
        self._more = True

    def _opening(self, health: Health) -> float:
        """Translate the stored moment of the next attempt into the clock that does not jump."""
        if health.retry_at_ms is None:
            return 0.0
        wait = (health.retry_at_ms - self._clock.now_ms()) / _MILLISECONDS
        return self._clock.monotonic() + min(max(wait, 0.0), policy.LONGEST_WAIT)

    def _on_settled(self, settlements: Sequence[Settlement]) -> None:
        """Go on with what is in the ledger now."""
        for settlement in settlements:
            self._in_flight.difference_update(settlement.sequences)
        if any(settlement.state is DeliveryState.PENDING for settlement in settlements):
            self._more = True
        self._pump()

    def _later(self, action: Callable[[], None], seconds: float) -> None:
        """Call `action` in so many seconds, instead of when it was to be called until now."""
        if not self._running:
            return
        if action in self._timers:
            self._timers[action].cancel()
        self._timers[action] = asyncio.get_running_loop().call_later(seconds, action)


def _moved(delivery: Delivery, by_ms: int) -> Delivery:
    first_ms = delivery.first_attempt_ms
    return delivery if first_ms is None else delivery._replace(first_attempt_ms=first_ms + by_ms)
