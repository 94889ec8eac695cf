"""Delivers to one destination in a loop: reads due deliveries, sends them, and records what came of them.

`policy` makes the decisions. Everything runs on the event loop, so state needs no locks: a method without `await` is
never interrupted.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from msgspec.structs import replace

from notifier.clock import Clock
from notifier.config import DestinationSettings
from notifier.delivery import health
from notifier.delivery.clocks import TryingClock
from notifier.delivery.destination_health import DestinationHealth
from notifier.delivery.health import ServiceSnapshot
from notifier.delivery.outcome_writer import OnAttempt, OutcomeWriter, log_attempt, settlements_of
from notifier.delivery.policy.batching import MAX_IN_A_DIGEST
from notifier.delivery.policy.decisions import Attempt, Bounds, RequestKind
from notifier.delivery.policy.schedule import timetable_of
from notifier.delivery.queue_reader import FAULT_PAUSE_SECONDS, QueueReader
from notifier.delivery.ready_queue import ReadyQueue
from notifier.delivery.request_chooser import RequestChooser
from notifier.delivery.request_log import RequestLog
from notifier.destinations import fingerprint
from notifier.destinations.base import (
    Destination,
    Preview,
    SupportsDigestSplit,
    SupportsPrepare,
    SupportsPreview,
    close,
)
from notifier.destinations.outcome import AttemptResult, Outcome
from notifier.events import Event
from notifier.store.store import Store
from notifier.store.tables import destinations, slots
from notifier.store.tables.destinations import Health, LearnedLimits
from notifier.store.tables.outbox import Delivery, DeliveryState
from notifier.store.tables.settlements import Settlement
from notifier.token_bucket import TokenBucket

_log = logging.getLogger(__name__)

_READ_AHEAD = 500
_REFILL_BELOW = 100
_MILLISECONDS = 1000


async def _do_nothing() -> None:
    """Do nothing; the default for `detect_sleep`."""


class Worker:
    """Delivers events to one destination."""

    def __init__(
        self,
        destination: Destination,
        settings: DestinationSettings,
        store: Store,
        clock: Clock,
        jitter: Callable[[], float],
        on_attempt: OnAttempt = lambda _deliveries, _settlements: None,
        bucket: TokenBucket | None = None,
        on_peer_time: Callable[[int | None], None] = lambda _served_at_ms: None,
        detect_sleep: Callable[[], Awaitable[None]] = _do_nothing,
    ) -> None:
        """Initialise with the destination, its settings and the store; `jitter` returns random numbers in [0, 1).

        `bucket` limits the request rate, and is passed on to the next worker when settings change. After each attempt,
        `on_peer_time` gets the receiver's time (Unix ms or None), and `detect_sleep` finds out whether the machine has
        slept.
        """
        self.name = destination.name
        self.bucket = bucket or TokenBucket(settings.rate)
        self.is_draining = False
        self._destination = destination
        self._settings = settings
        self._store = store
        self._clock = clock
        self._on_attempt = on_attempt
        self._on_peer_time = on_peer_time
        self._detect_sleep = detect_sleep
        self._attempts: set[asyncio.Task[None]] = set()
        self._sampling = asyncio.Lock()
        self._timers: dict[Callable[[], None], asyncio.TimerHandle] = {}
        self._running = False
        # Enough deliveries for all concurrent requests are read ahead, so that no request waits for the store.
        size = destination.grouping.size
        most = MAX_IN_A_DIGEST if size > 1 else _READ_AHEAD
        self._refill_below = min(max(_REFILL_BELOW, settings.concurrency * size), most)
        self._queue = ReadyQueue()
        self._timetable = timetable_of(settings)
        wake_later = partial(self._call_later, self.wake)
        self._reader = QueueReader(
            self.name, store, clock, self._queue, most, self._timetable, on_read=self._after_read, wake_later=wake_later
        )
        bounds = Bounds(settings, destination.grouping)
        self._chooser = RequestChooser(bounds, self._queue, self._reader, self.bucket, clock)
        self._log = RequestLog(self.name)
        self._trying_clock = TryingClock(clock)
        self._writer = OutcomeWriter(self.name, store, self._on_written, self._trying_clock.total_ms)
        self._health = DestinationHealth(self.name, bounds, clock, jitter, self._trying_clock, self._writer.set_health)

    @property
    def health(self) -> Health:
        """The destination's current health."""
        return self._health.current

    @property
    def learned(self) -> LearnedLimits:
        """The receiver's limits, as learned from its answers."""
        return self._health.learned

    @property
    def snapshot(self) -> ServiceSnapshot:
        """The destination's current health, waits and limits."""
        return ServiceSnapshot(
            self.health,
            self._trying_clock.seconds_running(),
            self._trying_clock.total_ms(),
            self.waits_until_ms,
            self.learned,
            self._settings.rate,
            is_draining=self.is_draining,
        )

    @property
    def waits_until_ms(self) -> int | None:
        """When the destination's retry wait ends (Unix ms); None if it does not wait."""
        return self._health.waits_until_ms() if self._is_serving else None

    @property
    def write_lock(self) -> asyncio.Lock:
        """A lock: while other code holds it, no outcome of this destination is written to the store."""
        return self._writer.write_lock

    async def start(self) -> None:
        """Start delivering; a retry wait from the last run continues. Raises StoreError."""
        # Reading the files takes time, which must not delay a message; so it comes before any delivery is due.
        await self.prepare()
        self._running = True
        self._writer.start()
        self._start_requests()

    async def prepare(self) -> None:
        """Let the destination read the files that it needs; called at the start and at each reload.

        If its address or credentials have changed, its health and its retry wait are reset. Raises StoreError.
        """
        if isinstance(self._destination, SupportsPrepare):
            await self._destination.prepare()
        recognise = await fingerprint.make_fingerprinter(self._settings)
        recalled = await self._store.run(destinations.read_at_start, self.name, recognise)
        schedule = "" if self._timetable is None else self._timetable.settings_text
        await self._store.run(slots.store_schedule, self.name, schedule, self._clock.now_ms())
        if not self._running:
            self._health.restore(recalled)
        elif recalled.was_reset:
            self._health.reset(recalled)
            self._queue.forget_failures()
            self.reload_queue()

    def hand_over(self, deliveries: Sequence[Delivery]) -> None:
        """Queue deliveries that were just stored, unless earlier deliveries may wait in memory or in the store."""
        if self._reader.has_read_all and self._queue.is_empty:
            self._queue.add(deliveries)
            self._start_requests()

    def wake(self) -> None:
        """Look for new deliveries in the store."""
        self._chooser.may_have_new_events = True
        self._reader.mark_outdated()
        self._start_requests()

    async def stop(self, grace: float) -> None:
        """Start no more requests, give those under way `grace` seconds to finish, and store their outcomes.

        Slower requests are cancelled. Their deliveries stay pending, and the next worker sends them with the same ids.
        """
        self._trying_clock.set_paused(is_paused=False)
        self._running = False
        self.is_draining = True
        for timer in self._timers.values():
            timer.cancel()
        if self._attempts:
            _, late = await asyncio.wait(self._attempts, timeout=grace)
            for attempt in late:
                attempt.cancel()
            if late:
                await asyncio.wait(late)
        await close(self._destination)
        await self._reader.stop()
        self._writer.set_health(self.health, None, self.learned)
        await self._writer.stop()

    async def set_enabled(self, *, enabled: bool) -> bool:
        """Enable or disable the destination; its waiting deliveries are kept. Raises StoreError.

        If the destination is already enabled, enabling it ends its retry wait. Returns whether a retry wait was ended
        in this way.
        """
        switch = health.after_switch(self.health, enabled=enabled, now_ms=self._clock.now_ms())
        if switch is None:
            return enabled and self.try_at_once()
        await self._store.run(destinations.store_health, self.name, switch)
        # Set again after the write, because an outcome that arrived during the write may have overwritten it.
        self._health.apply_switch(switch)
        self.reload_queue()
        return False

    def try_at_once(self) -> bool:
        """End the destination's retry wait, and look for deliveries in the store; return whether there was a wait."""
        waited = self.waits_until_ms is not None
        self._health.end_wait()
        if waited:
            health.log_wait_ended(self.name)
        self.wake()
        return waited

    async def send_sample(self, event: Event) -> tuple[Outcome, bool]:
        """Send an event that is not stored, once and within the allowed rate; only one sample is sent at a time.

        Returns the outcome, and whether a success ended the destination's retry wait.
        """
        async with self._sampling:
            await self._wait_for_rate()
            outcome = await self._destination.send([Delivery(event, self.name)])
        waited = self.waits_until_ms is not None
        if not self._health.apply_sample(outcome):
            return outcome, False
        self.wake()
        return outcome, waited

    async def preview(self, deliveries: Sequence[Delivery]) -> Preview | None:
        """Return the request that would carry `deliveries`, without sending it; None if it cannot be shown."""
        return await self._destination.preview(deliveries) if isinstance(self._destination, SupportsPreview) else None

    async def _wait_for_rate(self) -> None:
        """Count one more request, so that later ones wait longer; then wait until the rate allows this one."""
        now = self._clock.monotonic()
        wait = self._chooser.sample_wait_seconds(self._health.state, now)
        self.bucket.spend()
        self._health.note_request_start(now + wait)
        if wait > 0:
            await asyncio.sleep(wait)

    def follow_clock(self, by_ms: int) -> None:
        """Shift the wall-clock times in memory by `by_ms`, after the clock was set and stored times were shifted."""
        self._writer.follow_clock(by_ms)
        self._health.follow_clock(by_ms)
        self.reload_queue()

    def after_sleep(self, slept: float) -> None:
        """Read the waiting deliveries again; the `slept` seconds do not count as time spent trying."""
        self._trying_clock.exclude(slept)
        self.reload_queue()

    def reload_queue(self) -> None:
        """Drop the waiting deliveries in memory, so that they are read from the store again."""
        self._queue.clear()
        self._reader.mark_outdated()
        self._start_requests()

    @property
    def _is_serving(self) -> bool:
        return self._running and self._health.is_enabled

    def _start_requests(self) -> None:
        """Start all requests that may start now, and set a timer for the next one."""
        if not self._is_serving or self._writer.is_blocked:
            return
        if self._reader.gate_has_changed:
            self._reader.gate = None
            self.reload_queue()
            return
        while len(self._attempts) < self._health.state.request_limit and self._start_one_request():
            pass
        reads_front = self._reader.may_have_more and len(self._queue.ready) < self._refill_below
        if reads_front and not self._chooser.probes_whole_queue(self._health.state):
            self._reader.read_due()

    def _after_read(self) -> None:
        """Start requests after a read of the store, and set a timer for the next change of the timetable's gate."""
        gate = self._reader.gate
        if gate is not None:
            self._trying_clock.set_paused(is_paused=gate.held_until_ms is not None)
            if gate.changes_ms is not None:
                self._call_later(self.reload_queue, max(0.0, (gate.changes_ms - self._clock.now_ms()) / _MILLISECONDS))
        self._start_requests()

    def _start_one_request(self) -> bool:
        """Start a request if one may start now; return whether one was started."""
        now = self._clock.monotonic()
        choice = self._chooser.choose(self._health.state, now, is_idle=not self._attempts)
        self._health.state = choice.state
        if choice.wait_seconds is not None:
            self._call_later(self._start_requests, choice.wait_seconds)
        if choice.deliveries:
            self._start_attempt(choice.deliveries, choice.kind, now)
        return bool(choice.deliveries)

    def _start_attempt(self, deliveries: Sequence[Delivery], kind: RequestKind, now: float) -> None:
        self.bucket.spend()
        self._health.note_request_start(now)
        self._queue.mark_busy(deliveries)
        attempt = Attempt(tuple(deliveries), now, kind, self._queue.first_failed_at(deliveries))
        task = asyncio.create_task(self._attempt(attempt, self._queue.generation))
        self._attempts.add(task)
        task.add_done_callback(partial(self._attempt_ended, attempt.deliveries))

    async def _attempt(self, attempt: Attempt, generation: int) -> None:
        try:
            attempt = await self._fit_into_message(attempt, generation)
            outcome = await self._destination.send(attempt.deliveries)
        except Exception:  # noqa: BLE001 - a bug with one message must not stop the destination
            _log.exception("the event could not be turned into a request", extra={"destination": self.name})
            outcome = Outcome(AttemptResult.UNSENDABLE, detail="the notifier could not make a request of this event")
        await self._detect_sleep()
        now = self._clock.monotonic()
        milliseconds = round((now - attempt.started) * _MILLISECONDS)
        self._on_peer_time(outcome.peer_clock_ms)
        # The request is over although its task is not, so the next request may start.
        self._attempts -= {asyncio.current_task()}
        before, was_enabled = self._health.state.breaker, self._health.is_enabled
        trying_ms = self._trying_clock.total_ms()
        result = self._health.apply_outcome(attempt, outcome, trying_ms=trying_ms, now=now)
        if before.probes_single_events and not result.state.breaker.probes_single_events:
            self._reader.may_have_more = True
        settlements = settlements_of(
            attempt.deliveries,
            result.decisions,
            outcome,
            milliseconds=milliseconds,
            trying_ms=trying_ms,
            now_ms=self._clock.now_ms(),
            logged=self._log.entry_for(outcome, now),
        )
        if was_enabled and not self._health.is_enabled:
            self.reload_queue()
        if result.merge_halves:
            self._queue.merge_halves()
        is_current = generation == self._queue.generation
        self._queue.finish_attempt(attempt, result, is_current=is_current, trying_ms=trying_ms, now=now)
        log_attempt(attempt.deliveries, settlements)
        self._writer.add(settlements)
        self._start_requests()
        if not self._attempts and not self._reader.is_reading:
            self._writer.stop_collecting()
        # Called last, so that the outcome is queued for the store even if this call fails.
        self._on_attempt(attempt.deliveries, settlements)

    async def _fit_into_message(self, attempt: Attempt, generation: int) -> Attempt:
        """Return the attempt with as many deliveries of a digest as fit into one message; requeue the rest."""
        whole = attempt.deliveries
        if len(whole) == 1 or whole[0].slot_ms is None or not isinstance(self._destination, SupportsDigestSplit):
            return attempt
        count = await self._destination.count_fitting(whole)
        if count < len(whole):
            self._queue.put_back(whole[count:], is_current=generation == self._queue.generation)
        return replace(attempt, deliveries=whole[:count])

    def _attempt_ended(self, deliveries: Sequence[Delivery], attempt: asyncio.Task[None]) -> None:
        """Remove an ended attempt. If a bug or an unexpected cancellation ended it, read its deliveries again later."""
        self._attempts.discard(attempt)
        fault = None if attempt.cancelled() else attempt.exception()
        if fault is None and not (attempt.cancelled() and self._running):
            return
        facts = {"destination": self.name, "events": len(deliveries)}
        _log.critical("an internal error; these events are retried later", extra=facts, exc_info=fault)
        asyncio.get_running_loop().call_later(FAULT_PAUSE_SECONDS, self._release_and_reload, deliveries)

    def _release_and_reload(self, deliveries: Sequence[Delivery]) -> None:
        self._queue.release_unfinished(deliveries)
        self.reload_queue()

    def _on_written(self, settlements: Sequence[Settlement]) -> None:
        """Release the deliveries whose outcomes were written to the store, and start further requests."""
        self._queue.release_written(settlements)
        if any(it.state is not DeliveryState.DELIVERED for it in settlements):
            self._reader.may_have_more = True
        if self._reader.candidates is not None and self._reader.may_have_more:
            self._reader.candidates = None
        self._start_requests()

    def _call_later(self, action: Callable[[], None], seconds: float) -> None:
        """Call `action` in `seconds`; an earlier timer for the same action is cancelled."""
        if not self._running:
            return
        if action in self._timers:
            self._timers[action].cancel()
        self._timers[action] = asyncio.get_running_loop().call_later(seconds, action)
