"""A replay: past events go back into the queue bit by bit, so that what is new need not wait behind all of them."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from notifier.ledger import again
from notifier.ledger.again import Past, Plan
from notifier.ledger.errors import LedgerError
from notifier.ledger.ledger import Ledger
from notifier.ledger.subscriptions import Subscription

_log = logging.getLogger(__name__)

MOST_WAITING = 500
"""Deliveries that may wait for a destination, new ones included, when a replay adds to them."""

LOOK_AGAIN = 0.5
"""Seconds between two looks at whether a destination's queue has room: at most 1,000 deliveries a second go back."""


class ReplayState(StrEnum):
    """Whether a replay goes on."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"


@dataclass(slots=True)
class Progress:
    """How far a replay has come.

    `queued` counts what was put back so far, by destination; `reached` is the event up to which each one is served,
    for as long as it is not done.
    """

    plan: Plan
    state: ReplayState = ReplayState.RUNNING
    queued: dict[str, int] = field(default_factory=dict)
    reached: dict[str, int] = field(default_factory=dict)

    @property
    def behind(self) -> int:
        """The event up to which all destinations are served."""
        return min(self.reached.values(), default=self.plan.sequence)


class ReplayRunningError(Exception):
    """There is a replay under way, and one at a time is enough."""


class Replaying:
    """Serves each destination at its own pace, one replay at a time. A restart of the daemon ends it."""

    def __init__(
        self, ledger: Ledger, subscriptions: Callable[[], Sequence[Subscription]], wake: Callable[[], None]
    ) -> None:
        """Take who wants events at the moment, and whom to wake to deliver."""
        self._ledger = ledger
        self._subscriptions = subscriptions
        self._wake = wake
        self._progress: Progress | None = None
        self._feeding: asyncio.Task[None] | None = None

    @property
    def progress(self) -> Progress | None:
        """How far the latest replay has come; None when there was none."""
        return self._progress

    async def plan(self, past: Past, destination: str | None) -> Plan:
        """Count what a replay would send, to one destination or (None) to all. Raises LedgerError."""
        wanted = [it for it in self._subscriptions() if destination in (None, it.destination)]
        so_far = Plan(deliveries={it.destination: 0 for it in wanted})
        while so_far.sequence < past.last:
            so_far = await self._ledger.run(again.plan, past, wanted, so_far)
        return so_far

    def begin(self, past: Past, plan: Plan) -> None:
        """Begin to send what was planned. Raises ReplayRunningError."""
        if self._feeding is not None and not self._feeding.done():
            raise ReplayRunningError
        names = [name for name, deliveries in plan.deliveries.items() if deliveries]
        self._progress = Progress(plan, queued=dict.fromkeys(names, 0), reached=dict.fromkeys(names, plan.start))
        facts = {"events": plan.events, "deliveries": sum(plan.deliveries.values())}
        _log.info("replay begun", extra=facts)
        self._feeding = asyncio.create_task(self._feed_all(past, self._progress), name="replay")

    async def stop(self) -> None:
        """Put nothing more into the queue; what is in it already is delivered."""
        if self._feeding is None or self._feeding.done():
            return
        self._feeding.cancel()
        await asyncio.wait([self._feeding])

    async def _feed_all(self, past: Past, progress: Progress) -> None:
        how = ReplayState.STOPPED
        try:
            async with asyncio.TaskGroup() as feeding:
                for name in [*progress.reached]:
                    feeding.create_task(self._feed(past, progress, name))
            how = ReplayState.DONE
        finally:
            progress.state = how
            _log.info("replay ended", extra={"state": how, "deliveries": sum(progress.queued.values())})

    async def _feed(self, past: Past, progress: Progress, name: str) -> None:
        in_trouble = False
        while progress.reached[name] < past.last:
            subscription = next((it for it in self._subscriptions() if it.destination == name), None)
            if subscription is None:
                _log.warning("replay ended for a destination that was removed", extra={"destination": name})
                break
            try:
                step = await self._ledger.run(again.replay, past, subscription, progress.reached[name], MOST_WAITING)
            except LedgerError as error:
                if not in_trouble:
                    _log.error(error.message, extra={"destination": name, "reason": error.reason})
                in_trouble = True
                await asyncio.sleep(LOOK_AGAIN)
                continue
            in_trouble = False
            came_on = step.sequence > progress.reached[name]
            progress.reached[name] = step.sequence
            progress.queued[name] += step.queued
            if step.queued:
                self._wake()
            if step.queued or not came_on:
                await asyncio.sleep(LOOK_AGAIN)
        del progress.reached[name]
