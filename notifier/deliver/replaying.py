"""A replay: past events go back into the queue bit by bit, so that what is new need not wait behind all of them."""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence

from notifier.clock import Clock
from notifier.ledger import again, replays
from notifier.ledger.again import Past, Plan
from notifier.ledger.errors import LedgerError
from notifier.ledger.ledger import Ledger
from notifier.ledger.replays import Advance, ReplayMemory, ReplayRunningError
from notifier.ledger.subscriptions import Subscription

_log = logging.getLogger(__name__)

MOST_WAITING = 500
"""Deliveries that may wait for a destination, new ones included, when a replay adds to them."""

LOOK_AGAIN = 0.5
"""Seconds between two looks at whether a destination's queue has room: at most 1,000 deliveries a second go back."""


class ReplayStoppedError(Exception):
    """It was stopped before it had begun: while what it was to send was still being counted."""


class Replaying:
    """Serves each destination at its own pace, one replay at a time; the ledger remembers how far it has come."""

    def __init__(
        self,
        ledger: Ledger,
        subscriptions: Callable[[], Sequence[Subscription]],
        wake: Callable[[], None],
        clock: Clock,
    ) -> None:
        """Take who wants events at the moment, and whom to wake to deliver."""
        self._ledger = ledger
        self._subscriptions = subscriptions
        self._wake = wake
        self._clock = clock
        self._feeding: asyncio.Task[None] | None = None
        self._stops = 0

    async def take_up(self) -> None:
        """Go on with what the last run of the program has left unfinished. Raises LedgerError."""
        memory = await self._ledger.run(replays.under_way)
        if memory is not None:
            facts = {"replay": memory.id, "deliveries": memory.planned, "queued": memory.queued}
            _log.info("replay goes on where it was", extra=facts)
            self._feed_on(memory.id, [part.destination for part in memory.unfinished])

    async def plan(self, past: Past, destination: str | None) -> Plan:
        """Count what a replay would send, to one destination or (None) to all. Raises LedgerError."""
        wanted = [it for it in self._subscriptions() if destination in (None, it.destination)]
        so_far = Plan(deliveries={it.destination: 0 for it in wanted})
        while so_far.sequence < past.last:
            so_far = await self._ledger.run(again.plan, past, wanted, so_far)
        return so_far

    async def begin(self, past: Past, destination: str | None) -> tuple[int, Plan]:
        """Begin to send past events, and return the replay's number and what it is to send.

        Raises ReplayRunningError, ReplayStoppedError, LedgerError.
        """
        stops = self._stops
        if await self._ledger.run(replays.under_way) is not None:
            raise ReplayRunningError
        plan = await self.plan(past, destination)
        if stops != self._stops:
            raise ReplayStoppedError
        number = await self._ledger.run(replays.begin, past, plan, self._clock.now_ms())
        facts = {"replay": number, "events": plan.events, "deliveries": sum(plan.deliveries.values())}
        _log.info("replay begun", extra=facts)
        self._feed_on(number, [name for name, deliveries in plan.deliveries.items() if deliveries])
        return number, plan

    async def stop(self, number: int | None = None) -> None:
        """End the replay of this number, or (None) whichever is under way, for good. Raises LedgerError.

        What it has put into the queue already is delivered.
        """
        if number is None:
            self._stops += 1
        stopped = await self._ledger.run(replays.stop, self._clock.now_ms(), number)
        if stopped is not None:
            await self.close()
            await self._report_end(stopped)

    async def latest(self) -> Sequence[ReplayMemory]:
        """Return the latest replay and the one before it, newest first. Raises LedgerError."""
        return await self._ledger.run(replays.latest)

    async def close(self) -> None:
        """Put nothing more into the queue; unless it was stopped, the next run of the program goes on."""
        if self._feeding is None or self._feeding.done():
            return
        self._feeding.cancel()
        await asyncio.wait([self._feeding])

    def _feed_on(self, number: int, names: Collection[str]) -> None:
        self._feeding = asyncio.create_task(self._feed_all(number, names), name="replay")

    async def _feed_all(self, number: int, names: Collection[str]) -> None:
        try:
            async with asyncio.TaskGroup() as feeding:
                for name in names:
                    feeding.create_task(self._feed(number, name))
            await self._report_end(number)
        except Exception:  # noqa: BLE001 - reported, and nothing is lost: the ledger knows how far it has come
            _log.exception("a fault of the program; the replay goes on with the next start", extra={"replay": number})

    async def _feed(self, number: int, name: str) -> None:
        in_trouble = False
        while True:
            try:
                step = await self._advance(number, name)
            except LedgerError as error:
                if not in_trouble:
                    _log.error(error.message, extra={"destination": name, "reason": error.reason})
                in_trouble = True
                await asyncio.sleep(LOOK_AGAIN)
                continue
            in_trouble = False
            if step.queued:
                self._wake()
            if step.over:
                return
            if step.queued or not step.came_on:
                await asyncio.sleep(LOOK_AGAIN)

    async def _advance(self, number: int, name: str) -> Advance:
        """Put the next deliveries to one destination back, or end its part when there is no such destination."""
        now_ms = self._clock.now_ms()
        subscription = next((it for it in self._subscriptions() if it.destination == name), None)
        if subscription is not None:
            return await self._ledger.run(replays.advance, number, subscription, now_ms, MOST_WAITING)
        await self._ledger.run(replays.remove, number, name, now_ms)
        _log.warning("replay ended for a destination that was removed", extra={"destination": name})
        return Advance(queued=0, came_on=False, over=True)

    async def _report_end(self, number: int) -> None:
        try:
            memory = next((it for it in await self.latest() if it.id == number), None)
        except LedgerError as error:
            _log.error(error.message, extra={"reason": error.reason})
            return
        if memory is not None:
            facts = {"replay": number, "state": memory.state, "deliveries": memory.queued}
            _log.info("replay ended", extra=facts)
