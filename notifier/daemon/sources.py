"""The sources of a running daemon: their watchers, each with its place in the schedule."""

import asyncio
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import aiohttp

from notifier.clock import Clock
from notifier.completions import Event
from notifier.conditions import Condition, Key
from notifier.config import Settings
from notifier.daemon.changes import Differences
from notifier.daemon.schedule import Schedule
from notifier.daemon.status import source_status, sweep_status
from notifier.daemon.wiring import make_watcher
from notifier.ledger.ledger import Ledger
from notifier.ledger.sources import SourceMemory
from notifier.ledger.subscriptions import Subscription
from notifier.ledger.sweeps import Sweep
from notifier.watch.health import SourceState
from notifier.watch.watcher import Round, RoundResult, Watcher
from notifier.web.control import Answer, UnknownNameError
from notifier.web.metrics.figures import SourceFigures


class Sources:
    """Whoever is watched, and when."""

    def __init__(
        self,
        schedule: Schedule,
        ledger: Ledger,
        clock: Clock,
        subscriptions: Callable[[], Sequence[Subscription]],
        on_events: Callable[[Sequence[Event]], None],
        on_round: Callable[[Round, float], None],
        on_failure: Callable[[str, str], None],
    ) -> None:
        """Take what watchers share.

        `on_round` hears what each scheduled round came to and how many seconds its poll took, `on_failure` of each
        failure: the source's name, and the reason.
        """
        self._schedule = schedule
        self._ledger = ledger
        self._clock = clock
        self._subscriptions = subscriptions
        self._on_events = on_events
        self._on_round = on_round
        self._on_failure = on_failure
        self._watchers: dict[str, Watcher] = {}

    def __len__(self) -> int:
        """Count them."""
        return len(self._watchers)

    def known(self, name: str) -> Watcher:
        """Return a source's watcher. Raises UnknownNameError."""
        if name not in self._watchers:
            raise UnknownNameError("source", name, tuple(self._watchers))
        return self._watchers[name]

    async def renew(self, settings: Settings, session: aiohttp.ClientSession, differences: Differences) -> None:
        """Watch what was added or changed, by new settings, and leave alone what was removed.

        Raises LedgerError; called again with the same differences it goes on.
        """
        for name in (*differences.removed, *differences.changed):
            await self._leave(name)
        for name in differences.renewed:
            await self._leave(name)
            watcher = make_watcher(
                settings,
                name,
                session,
                self._ledger,
                self._clock,
                self._subscriptions,
                self._on_events,
                on_failure=self._on_failure,
            )
            await watcher.start()
            self._watchers[name] = watcher
            source = settings.sources[name]
            self._schedule.add(
                name,
                source.poll_interval,
                partial(self._round, watcher),
                step=source.timeout,
                signs=partial(self._signs_of_life, watcher),
            )

    async def stop(self) -> None:
        """End what is under way; whatever was not written down is read again by the next run."""
        await asyncio.gather(*(watcher.stop() for watcher in self._watchers.values()))

    def unattempted(self) -> list[str]:
        """Return the sources whose first round is still to come, or is waiting for its first answers."""
        now = self._clock.monotonic()
        return [
            pulse.name
            for pulse in self._schedule.pulses()
            if pulse.name in self._watchers and not pulse.is_attempted(now)
        ]

    def states(self) -> dict[str, SourceState]:
        """Return how each of them is doing."""
        return {name: watcher.state for name, watcher in self._watchers.items()}

    def wake(self, slept: float) -> None:
        """Let requests go whose waits are over, after the machine has slept for so many seconds."""
        for watcher in self._watchers.values():
            watcher.wake(slept)

    def unready(self) -> dict[str, str]:
        """Return the sources that cannot be relied on now, each with the reason."""
        return {name: reason for name, watcher in self._watchers.items() if (reason := watcher.unready()) is not None}

    def conditions(self, firing: Collection[Key]) -> list[Condition]:
        """Return what people must be told of sources; `firing` is what was wrong until now."""
        return [condition for watcher in self._watchers.values() for condition in watcher.conditions(firing)]

    def memories(self) -> list[SourceMemory]:
        """Return what the last rounds and sweeps have left of each source."""
        return [watcher.memory for watcher in self._watchers.values()]

    async def status(self) -> dict[str, dict[str, Any]]:
        """Describe each source as `/v1/status` does. Raises LedgerError."""
        return {
            name: source_status(
                watcher.memory,
                state=watcher.state,
                next_poll_ms=self._next_poll_ms(watcher),
                usage=watcher.usage,
                searching=watcher.is_searching,
                sweep=sweep_status(await watcher.latest_sweep(), running=watcher.is_sweeping),
            )
            for name, watcher in [*self._watchers.items()]
        }

    def figures(self, known: Mapping[str, SourceMemory], sweeps: Mapping[str, Sweep]) -> dict[str, SourceFigures]:
        """Describe each source as `/metrics` does, by what the ledger remembers of sources and their sweeps."""
        return {
            name: SourceFigures(
                state=watcher.state,
                records=known.get(name, watcher.memory).records,
                last_success_ms=watcher.memory.last_success_ms,
                next_poll_ms=self._next_poll_ms(watcher),
                poll_interval=watcher.poll_interval,
                requests=usage.total,
                allowed=usage.allowed,
                used=usage.used,
                swept=sweeps[name].progress if name in sweeps else 0.0,
                swept_ms=watcher.memory.swept_at_ms,
            )
            for name, watcher in self._watchers.items()
            for usage in (watcher.usage,)
        }

    async def poll(self, name: str) -> Answer:
        """Do a source's round now. Raises UnknownNameError."""
        watcher = self.known(name)
        done = await watcher.poll(by_hand=True)
        await watcher.see_to_the_rest()
        return Answer(
            ok=done.result is RoundResult.DONE,
            body={"source": name, "result": done.result, "events": done.events, "message": done.message},
        )

    async def sweep(self, name: str) -> Answer:
        """Begin a sweep of a source, or go on with the unfinished one. Raises UnknownNameError, LedgerError."""
        watcher = self.known(name)
        refusal = watcher.binding_silence()
        if refusal is None:
            await watcher.begin_sweep()
        progress = sweep_status(await watcher.latest_sweep(), running=watcher.is_sweeping)
        return Answer(ok=refusal is None, body={"source": name, "message": refusal or "", "sweep": progress})

    async def _leave(self, name: str) -> None:
        watcher = self._watchers.pop(name, None)
        if watcher is not None:
            self._schedule.remove(name)
            await watcher.stop()

    async def _round(self, watcher: Watcher) -> None:
        started = self._clock.monotonic()
        done = await watcher.poll()
        seconds = self._clock.monotonic() - started
        if done.is_done:
            await watcher.see_to_the_rest()
        self._on_round(done, seconds)

    def _signs_of_life(self, watcher: Watcher) -> Hashable:
        # To keep a silence that was asked for is no standstill.
        return watcher.usage.total, round(self._clock.monotonic()) if watcher.quiet_for() else None

    def _next_poll_ms(self, watcher: Watcher) -> int | None:
        scheduled = self._schedule.next_run_ms(watcher.name)
        quiet_until = self._clock.now_ms() + round(watcher.quiet_for() * 1000)
        return scheduled if scheduled is None else max(scheduled, quiet_until)
