"""Runs one worker per destination, in parallel, so that a failing destination never delays another one."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial

import aiohttp

from notifier.clock import Clock
from notifier.config import Destination as AnyDestination
from notifier.delivery.clocks import JumpFreeClock
from notifier.delivery.health import DestinationReport, ServiceSnapshot
from notifier.delivery.outcome_writer import OnAttempt
from notifier.delivery.worker import Worker
from notifier.destinations.apprise_pool import ApprisePool
from notifier.destinations.base import Preview
from notifier.destinations.outcome import LONGEST_WAIT_SECONDS, Outcome
from notifier.destinations.registry import build
from notifier.events import Event
from notifier.http.peer_clocks import PeerClocks
from notifier.messages.phrasing import MessageContext
from notifier.store.errors import StoreError
from notifier.store.store import Store
from notifier.store.tables import destinations, outbox
from notifier.store.tables.destinations import DueEvents, Health
from notifier.store.tables.outbox import Delivery, DeliveryState

_log = logging.getLogger(__name__)

_STORE_RETRY_SECONDS = 5.0


class Dispatcher:
    """Delivers the events in the store to the configured destinations."""

    def __init__(
        self,
        settings: Mapping[str, AnyDestination],
        store: Store,
        clock: Clock,
        on_attempt: OnAttempt = lambda _deliveries, _settlements: None,
        peer_clocks: PeerClocks | None = None,
        detect_sleep: Callable[[], Awaitable[None]] | None = None,
        context: Callable[[], MessageContext] = MessageContext,
    ) -> None:
        """Initialise with the settings of each destination by name; nothing is started yet.

        `on_attempt` is called after each request. `peer_clocks` records the times that receivers report. `detect_sleep`
        finds out whether the machine has slept. `context` returns the values that all messages share.
        """
        self._settings = settings
        self._store = store
        self._clock = clock
        self._jump_free_clock = JumpFreeClock(clock)
        self._on_attempt = on_attempt
        self._worker_options = {} if detect_sleep is None else {"detect_sleep": detect_sleep}
        self._peer_clocks = peer_clocks or PeerClocks(clock)
        self._context = context
        self._settings_lock = asyncio.Lock()
        self._pool = ApprisePool()
        self._workers: dict[str, Worker] = {}
        self._latest_sequence = 0

    async def start(self, session: aiohttp.ClientSession) -> None:
        """Start all workers, which send through `session`. Raises StoreError."""
        await self.apply_settings(self._settings, session, changed=self._settings)

    async def apply_settings(
        self,
        settings: Mapping[str, AnyDestination],
        session: aiohttp.ClientSession,
        *,
        changed: Collection[str],
        removed: Collection[str] = (),
        grace: float = 0.0,
    ) -> None:
        """Serve the `changed` destinations (including added ones) with new settings; stop serving the `removed` ones.

        Requests under way to `changed` and `removed` destinations are cancelled after `grace` seconds. Their deliveries
        stay in the store. All other destinations only reload their files, for example certificates. Raises StoreError.
        After this error, the same call can be repeated.
        """
        async with self._settings_lock:
            jitter = random.Random().random  # noqa: S311 - spreads retries, protects nothing
            built = {
                name: build(name, settings[name], session, self._clock, self._pool, self._context) for name in changed
            }
            stopping = [self._workers[name] for name in {*changed, *removed} if name in self._workers]
            # A worker stays in `_workers` until it has stopped.
            await asyncio.gather(*(worker.stop(grace) for worker in stopping))
            workers = {
                name: Worker(
                    built[name],
                    settings[name],
                    self._store,
                    self._jump_free_clock,
                    jitter,
                    self._on_attempt,
                    self._workers[name].bucket if name in self._workers else None,
                    partial(self._peer_clocks.record, f"destinations/{name}"),
                    **self._worker_options,
                )
                for name in changed
            }
            for name in removed:
                self._workers.pop(name, None)
            await asyncio.gather(*(it.prepare() for name, it in self._workers.items() if name not in workers))
            await asyncio.gather(*(self._start_worker(worker) for worker in workers.values()))

    async def _start_worker(self, worker: Worker) -> None:
        await worker.start()
        self._workers[worker.name] = worker

    async def set_enabled(self, name: str, *, enabled: bool) -> tuple[Health, bool]:
        """Enable or disable a destination; return its new health, and whether a retry wait was ended.

        If `apply_settings` is running, waits until it has ended. Raises KeyError for an unknown name, and StoreError.
        """
        async with self._settings_lock:
            worker = self._workers[name]
            waited = await worker.set_enabled(enabled=enabled)
        return worker.health, waited

    async def send_sample(self, name: str, event: Event) -> tuple[Outcome, bool]:
        """Send an event that is not in the store.

        Returns the outcome, and whether a success ended the retry wait. Raises KeyError for an unknown destination.
        """
        return await self._workers[name].send_sample(event)

    async def preview(self, name: str, deliveries: Sequence[Delivery]) -> Preview | None:
        """Return the request that would carry the deliveries; None if it cannot be shown, or there is no worker."""
        return await self._workers[name].preview(deliveries) if name in self._workers else None

    def try_at_once(self, names: Collection[str]) -> list[str]:
        """Make destinations try their pending deliveries now; return the names of those that were in a retry wait."""
        return [name for name in names if name in self._workers and self._workers[name].try_at_once()]

    def reload_queues(self, names: Collection[str]) -> None:
        """Make destinations read their waiting deliveries from the store again."""
        for name in names:
            if name in self._workers:
                self._workers[name].reload_queue()

    def hand_over(self, events: Sequence[Event], deliveries: Sequence[Delivery]) -> None:
        """Give new deliveries to the workers directly, so that the workers need not read them from the store.

        The deliveries are already stored. A worker that may have earlier deliveries to send ignores the new ones.
        Therefore, call `wake` afterwards.
        """
        is_next = events[0].sequence == self._latest_sequence + 1
        self._latest_sequence = max(self._latest_sequence, events[-1].sequence)
        if not is_next:
            # Earlier events may have been stored for which `wake` was not called yet; they must be sent first.
            return
        by_destination: dict[str, list[Delivery]] = {}
        for delivery in deliveries:
            by_destination.setdefault(delivery.destination, []).append(delivery)
        for name, theirs in by_destination.items():
            if name in self._workers:
                self._workers[name].hand_over(theirs)

    def wake(self, names: Collection[str] | None = None) -> None:
        """Make the destinations `names` (None: all) look for new deliveries in the store."""
        for name in self._workers if names is None else names:
            if name in self._workers:
                self._workers[name].wake()

    async def follow_clock(self) -> None:
        """After the system clock was set, shift scheduled attempts and retry waits by as much as the clock jumped.

        If `apply_settings` is running, waits until it has ended. Raises StoreError.
        """
        async with self._settings_lock, AsyncExitStack() as stack:
            for worker in self._workers.values():
                # No outcome is written during the shift. Otherwise its times would stay unshifted.
                await stack.enter_async_context(worker.write_lock)
            by_ms = self._jump_free_clock.jump_ms()
            await self._store.run(outbox.shift_attempts, by_ms)
            self._jump_free_clock.follow(by_ms)
            for worker in self._workers.values():
                worker.follow_clock(by_ms)

    async def follow_clock_when_possible(self) -> None:
        """Call `follow_clock` until it succeeds; it fails while the store cannot be written."""
        while True:
            try:
                await self.follow_clock()
            except StoreError as error:
                _log.error(error.message, extra={"reason": error.reason})
                await asyncio.sleep(_STORE_RETRY_SECONDS)
            else:
                return

    def wake_after_sleep(self, slept: float) -> None:
        """Look for deliveries that became due while the machine slept for `slept` seconds.

        These seconds do not count as time spent trying to deliver.
        """
        for worker in self._workers.values():
            worker.after_sleep(slept)

    def health(self) -> dict[str, Health]:
        """Return the current health of every destination, by name."""
        return {name: worker.health for name, worker in self._workers.items()}

    def snapshots(self) -> dict[str, ServiceSnapshot]:
        """Return every destination's health, waits and limits at this moment, by name."""
        return {name: worker.snapshot for name, worker in self._workers.items()}

    async def destination_reports(self, late_seconds: float) -> dict[str, DestinationReport]:
        """Return a report on every destination, by name; deliveries that have waited `late_seconds` count as late.

        Raises StoreError.
        """
        remembered = await self._store.run(destinations.read_all)
        undelivered = await self._store.run(destinations.undelivered)
        found = {}
        for name, serving in self.snapshots().items():
            waits = undelivered.get(name, ())
            due = (
                await self._due_events(name, late_seconds)
                if any(it.state is DeliveryState.PENDING for it in waits)
                else None
            )
            now_ms = self._jump_free_clock.now_ms()
            found[name] = DestinationReport(serving, waits, remembered[name].last_error, due, now_ms)
        return found

    async def _due_events(self, name: str, late_seconds: float) -> DueEvents | None:
        now_ms = self._jump_free_clock.now_ms()
        horizon_ms = now_ms + round(LONGEST_WAIT_SECONDS * 1000)
        late_ms = round(late_seconds * 1000)
        return await self._store.run(
            destinations.due_events, name, now_ms=now_ms, horizon_ms=horizon_ms, late_ms=late_ms
        )

    async def stop(self, grace: float) -> None:
        """Stop all workers. Requests may take `grace` more seconds; the next run repeats those that take longer."""
        if self._jump_free_clock.has_jumped:
            # The next run reads the wall clock. Times stored before the clock was set would make it wait too long.
            try:
                await self.follow_clock()
            except StoreError as error:
                _log.error(error.message, extra={"reason": error.reason})
        await asyncio.gather(*(worker.stop(grace) for worker in self._workers.values()))
        await self._pool.close()
