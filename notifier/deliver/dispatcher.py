"""All destinations side by side: each has its own worker, so that one in trouble never delays another."""

import asyncio
import logging
import random
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack

import aiohttp
from sqlite_utils import Database

from notifier.clock import Clock
from notifier.completions import Event
from notifier.conditions import Condition, Key
from notifier.config import Destination as AnyDestination
from notifier.deliver.outcome import Outcome
from notifier.deliver.registry import build
from notifier.deliver.settling import OnAttempt
from notifier.deliver.steady import SteadyClock
from notifier.deliver.troubles import conditions
from notifier.deliver.worker import Worker
from notifier.ledger import destinations, outbox
from notifier.ledger.destinations import Health
from notifier.ledger.errors import LedgerError
from notifier.ledger.ledger import Ledger

_log = logging.getLogger(__name__)


class Dispatcher:
    """Delivers what the ledger holds to the destinations of the configuration."""

    def __init__(
        self,
        settings: Mapping[str, AnyDestination],
        ledger: Ledger,
        clock: Clock,
        on_attempt: OnAttempt = lambda _deliveries, _settlements: None,
    ) -> None:
        """Take the destinations by name, and who hears of attempts; nothing is started yet."""
        self._settings = settings
        self._ledger = ledger
        self._clock = clock
        self._steady = SteadyClock(clock)
        self._on_attempt = on_attempt
        self._begun_at = clock.monotonic()
        self._workers: dict[str, Worker] = {}

    async def start(self, session: aiohttp.ClientSession) -> None:
        """Begin to deliver what waits, through `session`. Raises LedgerError."""
        await self.renew(self._settings, session, renewed=self._settings)

    async def renew(
        self,
        settings: Mapping[str, AnyDestination],
        session: aiohttp.ClientSession,
        *,
        renewed: Collection[str],
        removed: Collection[str] = (),
        grace: float = 0.0,
    ) -> None:
        """Serve the destinations that were added or changed (`renewed`), by new settings; let go of those `removed`.

        The others read again what they have from files besides the configuration.
        Attempts under way may finish within `grace` seconds; what is cut off is sent again, what waits for a removed
        destination stays in the ledger. Raises LedgerError; called again with the same names it goes on.
        """
        jitter = random.Random().random  # noqa: S311 - spreads retries, protects nothing
        workers = {
            name: Worker(
                build(name, settings[name], session, self._clock),
                settings[name],
                self._ledger,
                self._steady,
                jitter,
                self._on_attempt,
            )
            for name in renewed
        }
        leaving = [self._workers.pop(name) for name in {*renewed, *removed} if name in self._workers]
        await asyncio.gather(*(worker.stop(grace) for worker in leaving))
        await asyncio.gather(*(worker.prepare() for worker in self._workers.values()))
        await asyncio.gather(*(self._begin(worker) for worker in workers.values()))

    async def _begin(self, worker: Worker) -> None:
        await worker.start()
        self._workers[worker.name] = worker

    async def set_enabled(self, name: str, *, enabled: bool) -> Health:
        """Resume or park a destination, and return its health. Raises KeyError, LedgerError."""
        worker = self._workers[name]
        await worker.set_enabled(enabled=enabled)
        return worker.health

    async def send_sample(self, name: str, event: Event) -> Outcome:
        """Make one attempt with an event that is in no ledger. Raises KeyError."""
        return await self._workers[name].send_sample(event)

    def try_at_once(self, names: Collection[str]) -> None:
        """Deliver what waits for these destinations now, even to one in trouble."""
        for name in names:
            if name in self._workers:
                self._workers[name].try_at_once()

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

    async def wake_after_sleep(self, slept: float) -> None:
        """Look at what has become due while the machine slept for so many seconds, in which nothing grew older.

        Raises LedgerError.
        """
        async with AsyncExitStack() as stack:
            for worker in self._workers.values():
                await stack.enter_async_context(worker.writing)
            await self._ledger.run(_stop_give_up_clocks, tuple(self._workers), round(slept * 1000))
            for worker in self._workers.values():
                # What was fetched before is as old as it was then.
                worker.follow_clock(0)

    def health(self) -> dict[str, Health]:
        """Return every destination's health at this moment, by name."""
        return {name: worker.health for name, worker in self._workers.items()}

    async def conditions(self, firing: Collection[Key]) -> list[Condition]:
        """Return what people must be told of destinations; `firing` is what was wrong until now. Raises LedgerError."""
        remembered = await self._ledger.run(destinations.everything)
        undelivered = await self._ledger.run(destinations.undelivered)
        return [
            condition
            for name, health in self.health().items()
            for condition in conditions(
                name,
                health,
                undelivered.get(name, ()),
                remembered[name].last_error,
                uptime=self._steady.monotonic() - self._begun_at,
                firing=firing,
                now_ms=self._steady.now_ms(),
            )
        ]

    async def stop(self, grace: float) -> None:
        """Let attempts under way finish within `grace` seconds; what is cut off is sent again by the next run."""
        if self._steady.is_astray:
            # The next run reckons by the wall clock: what is stored by the one before it was set would wait too long.
            try:
                await self.follow_clock()
            except LedgerError as error:
                _log.error(error.message, extra={"reason": error.reason})
        await asyncio.gather(*(worker.stop(grace) for worker in self._workers.values()))


def _follow_clock(db: Database, names: Sequence[str], by_ms: int) -> None:
    outbox.postpone_schedule(db, by_ms)
    _stop_give_up_clocks(db, names, by_ms)


def _stop_give_up_clocks(db: Database, names: Sequence[str], by_ms: int) -> None:
    for name in names:
        outbox.stop_give_up_clock(db, name, by_ms)
