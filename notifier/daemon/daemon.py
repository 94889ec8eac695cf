"""The daemon: puts the parts together, starts them in order, stops them in the opposite one."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from notifier import __version__
from notifier.clock import Clock, SystemClock
from notifier.completions import Event
from notifier.conditions import Condition, Key
from notifier.config import ConfigError, Settings
from notifier.daemon import disk, rebuilt
from notifier.daemon.alarms import Alarms
from notifier.daemon.changes import Changes, Differences, changes_between, left_to_restart, reload_document
from notifier.daemon.configuration import Configuration
from notifier.daemon.deliveries import Deliveries
from notifier.daemon.explained import record_document
from notifier.daemon.heartbeat import Heartbeat
from notifier.daemon.housekeeping import Housekeeping
from notifier.daemon.measuring import Measuring
from notifier.daemon.overview import Overview
from notifier.daemon.places import WRONG_CONFIGURATION, socket_path
from notifier.daemon.progress import Pulse
from notifier.daemon.schedule import Schedule
from notifier.daemon.service_manager import ServiceManager
from notifier.daemon.sources import Sources
from notifier.daemon.status import destination_status, status_document
from notifier.daemon.summary import summary
from notifier.daemon.unknown_ids import UnknownIds
from notifier.deliver.dispatcher import Dispatcher
from notifier.deliver.filters import subscriptions
from notifier.ledger import conditions, destinations, finding
from notifier.ledger.destinations import HealthState
from notifier.ledger.errors import LedgerError, LedgerReason
from notifier.ledger.finding import Finds
from notifier.ledger.ledger import Ledger
from notifier.ledger.rebuilding import rebuilds
from notifier.ledger.rebuilding.rebuild import open_or_rebuild
from notifier.transport import new_session
from notifier.watch.watcher import Round, RoundResult
from notifier.web.control import Answer, Figures
from notifier.web.feed.feed import Feed
from notifier.web.metrics.counts import Counts
from notifier.web.server import LocalServer

if TYPE_CHECKING:
    import aiohttp

_log = logging.getLogger(__name__)

DRAIN = 3.0
"""Seconds that requests under way get when the daemon stops: with the rest it stays below five."""

FORGETTING = "(retention)"
"""The name of the job that keeps the state file small; parentheses keep it apart from names of sources."""

FORGET_EVERY = 3600.0
"""Seconds between two looks for events older than the retention."""

ESSENTIALS = "(essentials)"
"""The name of the job that keeps what must outlive the loss of the state file."""

ALARMS = "(alarms)"
"""The name of the job that looks for what people must be told of."""

ALARMS_EVERY = 30.0
"""Seconds between two such looks."""

UNKNOWN_IDS = "(unknown ids)"
"""The name of the job that warns of ids in filters that nobody knows, once names are known."""

_LEDGER_RETRY = 5.0


class Daemon:
    """Everything that runs, for one configuration and one state file."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        configuration: Configuration | None = None,
        manager: ServiceManager | None = None,
    ) -> None:
        """Take the settings, where they come from when they are to be read again, and who hears of that."""
        self._settings = self._opened_with = settings
        self._configuration = configuration or Configuration(lambda: settings)
        self._clock = clock or SystemClock()
        self._manager = manager or ServiceManager()
        self._started_ms: int | None = None
        self._ledger = Ledger(settings.store.path, lambda path: open_or_rebuild(path, self._clock.now_ms()))
        self._counts = Counts()
        self._dispatcher = Dispatcher(settings.destinations, self._ledger, self._clock, self._counts.attempted)
        self.deliveries = Deliveries(self._ledger, self._dispatcher, self._clock, lambda: self._settings)
        self.feed = Feed(self._ledger, lambda: self._settings.sources)
        self._schedule = Schedule(self._clock)
        self._subscriptions = subscriptions(settings.destinations)
        self._sources = Sources(
            self._schedule,
            self._ledger,
            self._clock,
            lambda: self._subscriptions,
            self._on_events,
            self._on_round,
            self._counts.failed,
        )
        self._measuring = Measuring(
            self._counts, self._ledger, self._dispatcher, self._clock, lambda: self.feed.stream.readers
        )
        self._session: aiohttp.ClientSession | None = None
        self._heartbeat: Heartbeat | None = None
        self._server: LocalServer | None = None
        self._alarms = Alarms(self._ledger, self._clock, settings.alerts.destination, self._conditions, self._announce)
        self._overview = Overview(self._ledger, self._clock)
        self._housekeeping = Housekeeping(self._ledger, self._clock, lambda: self._settings.store.retention)
        self._reloading = asyncio.Lock()
        self._running = AsyncExitStack()

    async def start(self) -> None:
        """Open the state file, or rebuild a damaged one; begin to deliver what waits, to listen locally, and to watch.

        Raises LedgerError or ListenError, with everything closed again.
        """
        self._started_ms = self._clock.now_ms()
        self._counts.keep(self._settings.sources, self._settings.destinations)
        async with AsyncExitStack() as stack:
            await self._ledger.open()
            stack.push_async_callback(self._ledger.close)
            stack.push_async_callback(self._housekeeping.keep)
            self._session = session = await stack.enter_async_context(new_session())
            stack.push_async_callback(self._dispatcher.stop, DRAIN)
            await self._dispatcher.start(session)
            stack.push_async_callback(self.deliveries.stop)
            await self.deliveries.start()
            stack.push_async_callback(self._sources.stop)
            await self._sources.renew(self._settings, session, Differences(added=tuple(self._settings.sources)))
            self._heartbeat = Heartbeat(self._settings.alerts.heartbeat_url, session)
            stack.push_async_callback(self._heartbeat.stop)
            self._schedule.add(FORGETTING, FORGET_EVERY, self._housekeeping.tidy)
            self._schedule.add(ESSENTIALS, ALARMS_EVERY, self._housekeeping.keep)
            await self._alarms.evaluate()
            self._schedule.add(ALARMS, ALARMS_EVERY, self._look_for_troubles)
            self._schedule.add(UNKNOWN_IDS, ALARMS_EVERY, UnknownIds(self._ledger, lambda: self._settings).look)
            # Not before the sources are there to be asked about, and not after they have begun.
            self._server = LocalServer(self, self.feed, self._settings.http, socket_path(self._settings.store.path))
            stack.push_async_callback(self._server.stop)
            await self._server.start()
            self._server.prepare_pages()
            stack.push_async_callback(self.feed.stop)
            stack.push_async_callback(self._schedule.stop)
            self._schedule.start(self._after_clock_jump, self._after_sleep)
            self._running = stack.pop_all()
        _log.info(
            "started",
            extra={
                "version": __version__,
                "sources": len(self._sources),
                "destinations": len(self._settings.destinations),
                "dashboard": self.url,
            },
        )

    @property
    def url(self) -> str | None:
        """Where a browser finds the dashboard; None where the configuration lets it listen on no port."""
        return None if self._server is None else self._server.url

    async def damage(self) -> LedgerError:
        """Return what is wrong with the state file, as soon as something is found to be: a new start mends it."""
        await self._ledger.damaged.wait()
        return self._ledger.damage or LedgerError(LedgerReason.CORRUPT, "the state file is damaged")

    async def stop(self) -> None:
        """Stop within five seconds, losing nothing: what is cut off is done again by the next run."""
        await self._running.aclose()
        _log.info("stopped")

    async def reload(self) -> Answer:
        """Read the configuration again and follow it; a wrong one changes nothing and is reported."""
        # systemd hears of both ends while nobody else can begin a reload in between.
        async with self._reloading:
            with self._manager.told_of_reload():
                return await self._read_again()

    async def _read_again(self) -> Answer:
        try:
            settings = await asyncio.to_thread(self._configuration.read)
            changes = changes_between(self._settings, settings)
            await self._follow(settings, changes)
        except ConfigError as error:
            reason: str = WRONG_CONFIGURATION
            message = f"the configuration is wrong, and nothing was changed: {error}{self._configuration.hint()}"
        except LedgerError as error:
            reason = error.reason
            message = f"the new configuration is followed only in part; reload again: {error.message}"
        else:
            left = left_to_restart(self._opened_with, settings)
            _log.info("the configuration was read again", extra={"left_to_restart": ", ".join(left)})
            document = reload_document(changes, left, self._configuration.handed_over or ())
            return Answer(ok=True, body={**document, "message": ""})
        _log.error("the configuration could not be read again", extra={"detail": message})
        return Answer(ok=False, body={"reason": reason, "message": message})

    async def _follow(self, settings: Settings, changes: Changes) -> None:
        """Make of the running daemon what the new configuration wants. Raises LedgerError."""
        if self._session is None:
            raise RuntimeError("only a daemon that runs can follow another configuration")
        # What is new is counted from its beginning, and what is removed to its end.
        self._counts.keep(
            {*self._settings.sources, *settings.sources}, {*self._settings.destinations, *settings.destinations}
        )
        # Whoever is removed is told nothing more before it stops, and whoever is new is there before it is told.
        theirs = changes.destinations
        kept = {name: wanted for name, wanted in settings.destinations.items() if name not in theirs.added}
        self._subscriptions = subscriptions(kept)
        await self._dispatcher.renew(
            settings.destinations, self._session, renewed=theirs.renewed, removed=theirs.removed, grace=DRAIN
        )
        self._subscriptions = subscriptions(settings.destinations)
        await self._sources.renew(settings, self._session, changes.sources)
        if settings.alerts.heartbeat_url != self._settings.alerts.heartbeat_url and self._heartbeat is not None:
            self._heartbeat.fetch_from(settings.alerts.heartbeat_url)
        self._counts.keep(settings.sources, settings.destinations)
        self._alarms.send_to(settings.alerts.destination)
        await self._alarms.evaluate()
        self._configuration.followed(settings)
        self._settings = settings

    async def status(self) -> dict[str, Any]:
        """Return the object of `/v1/status`. Raises LedgerError."""
        remembered = await self._ledger.run(destinations.everything)
        health = self._dispatcher.health()
        return status_document(
            self._started_ms,
            await self._sources.status(),
            {name: destination_status(remembered[name], health[name]) for name in health},
            await self._ledger.run(conditions.everything),
        )

    async def metrics(self) -> bytes:
        """Return the page of `/metrics`. Raises LedgerError."""
        return await self._measuring.page(self._started_ms or 0, self._sources)

    def pulses(self) -> list[Pulse]:
        """Return what can be seen of each job of the schedule."""
        return self._schedule.pulses()

    def unattempted(self) -> list[str]:
        """Return the sources whose first round is still to come, or is waiting for its first answers."""
        return self._sources.unattempted()

    async def summary(self) -> str:
        """Ask the ledger's thread, and say in a sentence how the daemon is doing. Raises LedgerError."""
        states = {name: health.state for name, health in self._dispatcher.health().items()}
        troubled = [name for name, state in states.items() if state is not HealthState.OK]
        return summary(self._sources.states(), states, await self._ledger.run(destinations.waiting, troubled))

    def unready(self) -> dict[str, str]:
        """Return the sources that cannot be relied on now, each with the reason."""
        return self._sources.unready()

    async def record(self, key: str) -> dict[str, Any]:
        """Return the object of `/v1/records/KEY`. Raises UnknownRecordError, LedgerError."""
        return await self._ledger.run(record_document, key, self._subscriptions)

    async def figures(self) -> Figures:
        """Return what the dashboard shows beside the status. Raises LedgerError."""
        return await self._overview.figures(tuple(self._settings.destinations))

    async def find(self, text: str) -> Finds:
        """Look for records by a key, a person's name or an employee's number. Raises LedgerError."""
        return await self._ledger.run(finding.find, text)

    async def poll(self, source: str) -> Answer:
        """Do a source's round now. Raises UnknownNameError."""
        return await self._sources.poll(source)

    async def sweep(self, source: str) -> Answer:
        """Begin a sweep of a source, or go on with the unfinished one. Raises UnknownNameError, LedgerError."""
        return await self._sources.sweep(source)

    def _on_round(self, done: Round, seconds: float) -> None:
        if done.result is not RoundResult.SILENT:
            self._counts.polled(seconds)
        if done.is_done and not self._housekeeping.has_kept:
            self._schedule.run_soon(ESSENTIALS)
        if done.is_done and self._heartbeat is not None and not self.unready():
            self._heartbeat.beat()

    async def _look_for_troubles(self) -> None:
        await self._schedule.notice_sleep()
        # In the middle of a reload, what it makes anew would be missed, and taken for over.
        async with self._reloading:
            await self._alarms.evaluate()

    async def _conditions(self, firing: Collection[Key]) -> list[Condition]:
        """Return what is wrong now; `firing` is what was wrong until now. Raises LedgerError."""
        rebuild = await self._ledger.run(rebuilds.latest)
        return [
            *self._sources.conditions(firing),
            *rebuilt.conditions(rebuild, self._sources.memories()),
            *await self._dispatcher.conditions(firing),
            *disk.conditions(await disk.room_beside(self._ledger.path), firing),
        ]

    def _on_events(self, events: Sequence[Event]) -> None:
        for event in events:
            facts = {"source": event.source, "event": event.id, "type": event.type, "record": event.subject}
            _log.info("new event", extra=facts)
        self._announce(events)

    def _announce(self, events: Sequence[Event]) -> None:
        """Tell all who wait for events that these are in the ledger now, operational notices among them."""
        self._dispatcher.wake()
        self.feed.wake()
        self._counts.detected(events)

    async def _after_sleep(self, slept: float) -> None:
        # Without waiting for anything: rounds begin at once, and their alarms must not take sleep for failure.
        self._sources.wake(slept)
        try:
            await self._dispatcher.wake_after_sleep(slept)
        except LedgerError as error:
            _log.error(error.message, extra={"reason": error.reason})
            self._dispatcher.wake()

    async def _after_clock_jump(self) -> None:
        while True:
            try:
                await self._dispatcher.follow_clock()
            except LedgerError as error:
                _log.error(error.message, extra={"reason": error.reason})
                await asyncio.sleep(_LEDGER_RETRY)
            else:
                return
