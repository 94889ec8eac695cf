"""All destinations side by side: each has its own worker, so that one in trouble never delays another."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

import aiohttp
from sqlite_utils import Database

from notifier.clock import Clock
from notifier.config import Destination as AnyDestination
from notifier.config import DestinationSettings
from notifier.deliver.registry import build
from notifier.deliver.steady import SteadyClock
from notifier.deliver.worker import Worker
from notifier.ledger import outbox
from notifier.ledger.destinations import Health
from notifier.ledger.ledger import Ledger
from notifier.ledger.subscriptions import Subscription


class Dispatcher:
    """Delivers what the ledger holds to the destinations of the configuration."""

    def __init__(self, settings: Mapping[str, AnyDestination], ledger: Ledger, clock: Clock) -> None:
        """Take the destinations by name; nothing is started yet."""
        self._settings = settings
        self._ledger = ledger
        self._clock = clock
        self._steady = SteadyClock(clock)
        self._workers: dict[str, Worker] = {}

    async def start(self, session: aiohttp.ClientSession) -> None:
        """Begin to deliver what waits, through `session`. Raises LedgerError."""
        jitter = random.Random().random  # noqa: S311 - spreads retries, protects nothing
        for name, settings in self._settings.items():
            destination = build(name, settings, session, self._clock)
            self._workers[name] = Worker(destination, settings, self._ledger, self._steady, jitter)
        await asyncio.gather(*(worker.start() for worker in self._workers.values()))

    def wake(self) -> None:
        """Look into the ledger: there may be something to deliver."""
        for worker in self._workers.values():
            worker.wake()

    async def follow_clock(self) -> None:
        """Let waits and ages be what they were, now that the wall clock has been set. Raises LedgerError."""
        async with AsyncExitStack() as stack:
            for worker in self._workers.values():
                # Everything is reckoned by the one time or by the other: nothing is written in between.
                await stack.enter_async_context(worker.writing)
            by_ms = self._steady.astray_ms()
            await self._ledger.run(_follow_clock, tuple(self._workers), by_ms)
            self._steady.follow(by_ms)
            for worker in self._workers.values():
                worker.follow_clock(by_ms)

    def health(self) -> dict[str, Health]:
        """Return every destination's health at this moment, by name."""
        return {name: worker.health for name, worker in self._workers.items()}

    async def stop(self, grace: float) -> None:
        """Let attempts under way finish within `grace` seconds; what is cut off is sent again by the next run."""
        await asyncio.gather(*(worker.stop(grace) for worker in self._workers.values()))


def _follow_clock(db: Database, names: Sequence[str], by_ms: int) -> None:
    outbox.postpone_schedule(db, by_ms)
    for name in names:
        outbox.stop_give_up_clock(db, name, by_ms)


def subscription(name: str, settings: DestinationSettings) -> Subscription:
    """Read a destination's filters."""
    return Subscription(
        name,
        frozenset(settings.events),
        frozenset(settings.sources),
        frozenset(settings.training_ids),
        frozenset(settings.user_ids),
    )
