"""Sends past events again. They are queued in small steps, so that new events are not delayed."""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence

from notifier.clock import Clock
from notifier.store.errors import StoreError
from notifier.store.store import Store
from notifier.store.subscriptions import Subscription
from notifier.store.tables import replays, requeue
from notifier.store.tables.replays import ReplayRun, StepResult
from notifier.store.tables.requeue import ReplayPlan, ReplayRange

_log = logging.getLogger(__name__)

MAX_WAITING = 500
"""A replay adds deliveries to a destination's queue only until this many deliveries wait there.

While a new event waits, a replay adds nothing. So a new event waits for at most this many deliveries.
"""

CHECK_INTERVAL_SECONDS = 0.5
"""Seconds between checks for room in a destination's queue. This limits a replay to 1,000 deliveries a second."""


class ReplayStoppedError(Exception):
    """A replay was stopped before it began, while its events were still being counted."""


class ReplayRunner:
    """Runs replays: at most one at a time per destination, and no faster than the destination delivers.

    The progress of each replay is stored.
    """

    def __init__(
        self,
        store: Store,
        subscriptions: Callable[[], Sequence[Subscription]],
        wake: Callable[[], None],
        clock: Clock,
        batch_wait: Callable[[str], float] = lambda _name: 0.0,
    ) -> None:
        """Initialise; `subscriptions` returns the current filters of all destinations, `wake` wakes the dispatcher.

        `batch_wait` returns for how many seconds a destination's events may wait for others to join their request.
        """
        self._store = store
        self._subscriptions = subscriptions
        self._wake = wake
        self._clock = clock
        self._batch_wait = batch_wait
        self._feeding: dict[int, asyncio.Task[None]] = {}
        self._stops = 0

    async def resume_unfinished(self) -> None:
        """Continue the replays that the last run of the program left unfinished. Raises StoreError."""
        for run in await self._store.run(replays.running):
            facts = {"replay": run.id, "deliveries": run.planned, "queued": run.queued}
            _log.info("replay continues", extra=facts)
            self._start_feeding(run.id, [part.destination for part in run.unfinished])

    async def plan(self, replay_range: ReplayRange, destination: str | None) -> ReplayPlan:
        """Count the deliveries of a replay to one destination, or to all (None). Raises StoreError."""
        wanted = [it for it in self._subscriptions() if destination in (None, it.destination)]
        plan = ReplayPlan(deliveries={it.destination: 0 for it in wanted})
        while plan.sequence < replay_range.last:
            plan = await self._store.run(requeue.extend_plan, replay_range, wanted, plan)
        return plan

    async def start(self, replay_range: ReplayRange, destination: str | None) -> tuple[int, ReplayPlan]:
        """Start to send past events; return the replay's number and its plan.

        Raises ReplayRunningError, ReplayStoppedError, StoreError.
        """
        stops = self._stops
        if destination is not None:
            await self._store.run(replays.refuse_if_running, [destination])
        plan = await self.plan(replay_range, destination)
        if stops != self._stops:
            raise ReplayStoppedError
        number = await self._store.run(replays.start, replay_range, plan, self._clock.now_ms())
        facts = {"replay": number, "events": plan.events, "deliveries": sum(plan.deliveries.values())}
        _log.info("replay started", extra=facts)
        self._start_feeding(number, [name for name, deliveries in plan.deliveries.items() if deliveries])
        return number, plan

    async def stop(self, number: int | None = None) -> None:
        """Stop the replay with this number, or all replays that are under way (None). Raises StoreError.

        A stopped replay cannot be continued. Deliveries that it has already queued are still sent.
        """
        if number is None:
            self._stops += 1
        for stopped in await self._store.run(replays.stop, self._clock.now_ms(), number):
            await self._cancel(self._feeding.pop(stopped, None))
            await self._log_end(stopped)

    async def latest(self) -> Sequence[ReplayRun]:
        """Return the two latest replays and all that are under way, newest first. Raises StoreError."""
        return await self._store.run(replays.latest)

    async def close(self) -> None:
        """Pause all replays; the next run of the program continues them."""
        for feeding in tuple(self._feeding.values()):
            await self._cancel(feeding)

    async def _cancel(self, feeding: asyncio.Task[None] | None) -> None:
        if feeding is not None and not feeding.done():
            feeding.cancel()
            await asyncio.wait([feeding])

    def _start_feeding(self, number: int, names: Collection[str]) -> None:
        feeding = asyncio.create_task(self._feed_all(number, names), name=f"replay {number}")
        self._feeding[number] = feeding
        feeding.add_done_callback(lambda _: self._feeding.pop(number, None))

    async def _feed_all(self, number: int, names: Collection[str]) -> None:
        try:
            async with asyncio.TaskGroup() as feeding:
                for name in names:
                    feeding.create_task(self._feed(number, name))
            await self._log_end(number)
        except Exception:  # noqa: BLE001 - reported, and nothing is lost: the store knows the progress
            _log.exception("an internal error; the replay continues at the next start", extra={"replay": number})

    async def _feed(self, number: int, name: str) -> None:
        is_failing = False
        while True:
            try:
                step = await self._queue_next(number, name)
            except StoreError as error:
                if not is_failing:
                    _log.error(error.message, extra={"destination": name, "reason": error.reason})
                is_failing = True
                await asyncio.sleep(CHECK_INTERVAL_SECONDS)
                continue
            is_failing = False
            if step.queued:
                self._wake()
            if step.is_over:
                return
            if step.queued or not step.has_advanced:
                await asyncio.sleep(CHECK_INTERVAL_SECONDS)

    async def _queue_next(self, number: int, name: str) -> StepResult:
        """Queue a replay's next deliveries for a destination. If the destination was removed, stop replaying to it."""
        now_ms = self._clock.now_ms()
        subscription = next((it for it in self._subscriptions() if it.destination == name), None)
        if subscription is not None:
            new_before_ms = now_ms - round(self._batch_wait(name) * 1000)
            return await self._store.run(replays.advance, number, subscription, now_ms, MAX_WAITING, new_before_ms)
        await self._store.run(replays.end_removed_part, number, name, now_ms)
        _log.warning("replay ended for a destination that was removed", extra={"destination": name})
        return StepResult(queued=0, has_advanced=False, is_over=True)

    async def _log_end(self, number: int) -> None:
        try:
            run = next((it for it in await self.latest() if it.id == number), None)
        except StoreError as error:
            _log.error(error.message, extra={"reason": error.reason})
            return
        if run is not None:
            facts = {"replay": number, "state": run.state, "deliveries": run.queued}
            _log.info("replay ended", extra=facts)
