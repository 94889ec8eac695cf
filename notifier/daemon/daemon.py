"""The daemon: puts the parts together, starts them in order, stops them in the opposite one."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from notifier.clock import Clock, SystemClock
from notifier.completions import Event
from notifier.conditions import Condition
from notifier.config import Settings
from notifier.daemon.alarms import Alarms
from notifier.daemon.explained import record_document
from notifier.daemon.heartbeat import Heartbeat
from notifier.daemon.places import socket_path
from notifier.daemon.schedule import Schedule
from notifier.daemon.status import destination_status, source_status, status_document, sweep_status
from notifier.daemon.wiring import make_watcher
from notifier.deliver.dispatcher import Dispatcher
from notifier.ledger import conditions, destinations, retention
from notifier.ledger.errors import LedgerError
from notifier.ledger.ledger import Ledger
from notifier.transport import new_session
from notifier.watch.watcher import Round, RoundResult, Watcher
from notifier.web.control import Answer, UnknownNameError
from notifier.web.server import LocalServer

_log = logging.getLogger(__name__)

DRAIN = 3.0
"""Seconds that requests under way get when the daemon stops: with the rest it stays below five."""

FORGETTING = "(retention)"
"""The name of the job that keeps the state file small; parentheses keep it apart from names of sources."""

FORGET_EVERY = 3600.0
"""Seconds between two looks for events older than the retention."""

ALARMS = "(alarms)"
"""The name of the job that looks for what people must be told of."""

ALARMS_EVERY = 30.0
"""Seconds between two such looks."""

_LEDGER_RETRY = 5.0


class Daemon:
    """Everything that runs, for one configuration and one state file."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        """Take a configuration; nothing is opened or started yet."""
        self._settings = settings
        self._clock = clock or SystemClock()
        self._started_ms: int | None = None
        self._ledger = Ledger(settings.store.path)
        self._dispatcher = Dispatcher(settings.destinations, self._ledger, self._clock)
        self._schedule = Schedule(self._clock)
        self._watchers: dict[str, Watcher] = {}
        self._heartbeat: Heartbeat | None = None
        self._alarms = Alarms(
            self._ledger, self._clock, settings.alerts.destination, self._conditions, self._dispatcher.wake
        )
        self._running = AsyncExitStack()

    async def start(self) -> None:
        """Open the state file, begin to deliver what waits, open the local interface, begin to watch.

        Raises LedgerError or ListenError, with everything closed again.
        """
        self._started_ms = self._clock.now_ms()
        async with AsyncExitStack() as stack:
            await self._ledger.open()
            stack.push_async_callback(self._ledger.close)
            session = await stack.enter_async_context(new_session())
            stack.push_async_callback(self._dispatcher.stop, DRAIN)
            await self._dispatcher.start(session)
            for name, source in self._settings.sources.items():
                self._watchers[name] = make_watcher(
                    self._settings, name, session, self._ledger, self._clock, self._on_events
                )
                stack.push_async_callback(self._watchers[name].stop)
                await self._watchers[name].start()
                self._schedule.add(name, source.poll_interval, partial(self._round, self._watchers[name]))
            self._heartbeat = Heartbeat(self._settings.alerts.heartbeat_url, session)
            stack.push_async_callback(self._heartbeat.stop)
            self._schedule.add(FORGETTING, FORGET_EVERY, self._forget)
            await self._alarms.evaluate()
            self._schedule.add(ALARMS, ALARMS_EVERY, self._alarms.evaluate)
            # Not before the sources are there to be asked about, and not after they have begun.
            server = LocalServer(self, self._settings.http, socket_path(self._settings.store.path))
            stack.push_async_callback(server.stop)
            await server.start()
            stack.push_async_callback(self._schedule.stop)
            self._schedule.start(self._after_clock_jump)
            self._running = stack.pop_all()
        _log.info(
            "started",
            extra={"sources": len(self._watchers), "destinations": len(self._settings.destinations)},
        )

    async def stop(self) -> None:
        """Stop within five seconds, losing nothing: what is cut off is done again by the next run."""
        await self._running.aclose()
        _log.info("stopped")

    async def status(self) -> dict[str, Any]:
        """Return the object of `/v1/status`. Raises LedgerError."""
        remembered = await self._ledger.run(destinations.everything)
        health = self._dispatcher.health()
        return status_document(
            self._started_ms,
            {
                name: source_status(
                    watcher.memory,
                    state=watcher.state,
                    next_poll_ms=self._next_poll_ms(watcher),
                    usage=watcher.usage,
                    searching=watcher.is_searching,
                    sweep=sweep_status(await watcher.latest_sweep(), running=watcher.is_sweeping),
                )
                for name, watcher in self._watchers.items()
            },
            {name: destination_status(remembered[name], health[name]) for name in health},
            await self._ledger.run(conditions.everything),
        )

    def unready(self) -> dict[str, str]:
        """Return the sources that cannot be relied on now, each with the reason."""
        return {name: reason for name, watcher in self._watchers.items() if (reason := watcher.unready()) is not None}

    async def record(self, key: str) -> dict[str, Any]:
        """Return the object of `/v1/records/KEY`. Raises UnknownRecordError, LedgerError."""
        return await self._ledger.run(record_document, key)

    async def poll(self, source: str) -> Answer:
        """Do a source's round now. Raises UnknownNameError."""
        watcher = self._known(source)
        done = await watcher.poll(by_hand=True)
        await watcher.see_to_the_rest()
        return Answer(
            ok=done.result is RoundResult.DONE,
            body={"source": source, "result": done.result, "events": done.events, "message": done.message},
        )

    async def sweep(self, source: str) -> Answer:
        """Begin a sweep of a source, or go on with the unfinished one. Raises UnknownNameError, LedgerError."""
        watcher = self._known(source)
        refusal = watcher.binding_silence()
        if refusal is None:
            await watcher.begin_sweep()
        progress = sweep_status(await watcher.latest_sweep(), running=watcher.is_sweeping)
        return Answer(ok=refusal is None, body={"source": source, "message": refusal or "", "sweep": progress})

    def _known(self, source: str) -> Watcher:
        if source not in self._watchers:
            raise UnknownNameError("source", source, tuple(self._watchers))
        return self._watchers[source]

    async def _round(self, watcher: Watcher) -> None:
        done: Round = await watcher.poll()
        if done.result is RoundResult.DONE:
            await watcher.see_to_the_rest()
            if self._heartbeat is not None and not self.unready():
                self._heartbeat.beat()

    def _conditions(self) -> list[Condition]:
        """Return what is wrong now."""
        return [condition for watcher in self._watchers.values() for condition in watcher.conditions()]

    async def _forget(self) -> None:
        """Forget what was delivered longer ago than the retention, bit by bit."""
        before_ms = self._clock.now_ms() - round(self._settings.store.retention * 1000)
        forgotten = 0
        try:
            while (chunk := await self._ledger.run(retention.forget, before_ms)) > 0:
                forgotten += chunk
        except LedgerError as error:
            _log.error(error.message, extra={"reason": error.reason})
        if forgotten:
            _log.info("old events forgotten", extra={"events": forgotten})

    def _on_events(self, events: Sequence[Event]) -> None:
        for event in events:
            facts = {"source": event.source, "event": event.id, "type": event.type, "record": event.subject}
            _log.info("new event", extra=facts)
        self._dispatcher.wake()

    def _next_poll_ms(self, watcher: Watcher) -> int | None:
        scheduled = self._schedule.next_run_ms(watcher.name)
        quiet_until = self._clock.now_ms() + round(watcher.quiet_for() * 1000)
        return scheduled if scheduled is None else max(scheduled, quiet_until)

    async def _after_clock_jump(self) -> None:
        while True:
            try:
                await self._dispatcher.follow_clock()
            except LedgerError as error:
                _log.error(error.message, extra={"reason": error.reason})
                await asyncio.sleep(_LEDGER_RETRY)
            else:
                return


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run the daemon until `stop` is set. Raises what `Daemon.start` raises."""
    daemon = Daemon(settings)
    await daemon.start()
    try:
        await stop.wait()
    finally:
        await daemon.stop()
