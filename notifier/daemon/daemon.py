"""The `Daemon` class, which starts all parts of the daemon in order, and stops them in reverse order."""

import logging
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from msgspec.structs import replace

from notifier import __version__
from notifier.alerts import destination_rules
from notifier.alerts.evaluation import Evaluation
from notifier.alerts.monitor import AlertMonitor
from notifier.alerts.unwritable import UnwritableStore
from notifier.clock import Clock, SystemClock
from notifier.config import Settings
from notifier.daemon.activity import ACTIVITY_EVERY_SECONDS, ACTIVITY_JOB, ActivityLog
from notifier.daemon.api.deliveries import DeliveryOperations
from notifier.daemon.api.metrics import MetricsCollector
from notifier.daemon.condition_collector import ConditionCollector, DaemonState
from notifier.daemon.configuration import Differences, ReloadHooks, RunningConfiguration
from notifier.daemon.filter_check import FILTER_CHECK_JOB, FilterChecker
from notifier.daemon.heartbeat import Heartbeat
from notifier.daemon.maintenance import (
    DATABASE_CHECK_EVERY_SECONDS,
    DATABASE_JOB,
    ESSENTIALS_JOB,
    RETENTION_EVERY_SECONDS,
    RETENTION_JOB,
    Housekeeping,
)
from notifier.daemon.operations import Operations
from notifier.daemon.reload import DRAIN_SECONDS, Reloader
from notifier.daemon.scheduler import Schedule
from notifier.daemon.socket_path import socket_path
from notifier.daemon.sources import SourceRegistry
from notifier.daemon.systemd.notify import SystemdNotifier
from notifier.delivery.dispatcher import Dispatcher
from notifier.delivery.subscriptions import affected_destinations
from notifier.events import Event
from notifier.http.exchange import new_session
from notifier.http.peer_clocks import PeerClocks
from notifier.messages.phrasing import message_context
from notifier.store.errors import StoreError, StoreReason
from notifier.store.opening import make_store, store_address
from notifier.store.reader import StoreReader
from notifier.store.store import Store
from notifier.store.tables import starts
from notifier.store.tables.activity import ActivityKind, ActivitySubject
from notifier.store.tables.outbox import Delivery
from notifier.store.tables.settlements import Settlement
from notifier.watch.expiry_rounds import EVERY_SECONDS, ExpiryRounds
from notifier.watch.limits import DETECTION_LIMITS, DetectionLimits
from notifier.watch.rounds import Round, RoundResult
from notifier.web.feed.service import Feed
from notifier.web.metrics.counters import Counters
from notifier.web.server import LocalServer

if TYPE_CHECKING:
    import aiohttp

    from notifier.web.daemon_api import ActionResult
    from notifier.web.response_models.status import ReloadDocument, ReloadFailedDocument

_log = logging.getLogger(__name__)

EVALUATION_JOB = "(evaluation)"
"""The name of the job that checks for conditions (problems of the notifier and its surroundings)."""

EVALUATE_EVERY_SECONDS = 30.0
"""Seconds between two checks for conditions (problems of the notifier and its surroundings)."""

EXPIRY_JOB = "(expiry)"
"""The name of the job that announces completions whose validity ends."""


class Daemon:
    """Creates, starts and stops all parts of the daemon, for one configuration and one store."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        reload_hooks: ReloadHooks | None = None,
        manager: SystemdNotifier | None = None,
        *,
        detection_limits: DetectionLimits = DETECTION_LIMITS,
        systemd_sockets: Sequence[socket.socket] = (),
        store: Store | None = None,
        configuration_problem: str | None = None,
    ) -> None:
        """Initialise with the settings, the functions that a reload calls, and the connection to systemd.

        `detection_limits` has delays and limits for which there are no settings. `systemd_sockets` replace `[http]
        listen`. `store` is an open store; if it is None, `start` opens the state file. `configuration_problem` is
        the reason why the last reload before this start failed, for example while the process stood by.
        """
        self._systemd_sockets = systemd_sockets
        self._configuration = RunningConfiguration(settings, reload_hooks)
        self._configuration.reload_problem = configuration_problem
        self._clock = clock or SystemClock()
        self._manager = manager or SystemdNotifier()
        self._started_ms: int | None = None
        self._store = store or make_store(settings.store, self._clock.now_ms)
        self._reader = StoreReader(self._store)
        self._counts = Counters()
        self._peer_clocks = PeerClocks(self._clock)
        self._schedule = Schedule(self._clock)
        self._activity = ActivityLog(self._store, self._clock, self._current_states)
        self._dispatcher = Dispatcher(
            settings.destinations,
            self._store,
            self._clock,
            self._on_attempt,
            self._peer_clocks,
            self._schedule.detect_sleep,
            lambda: message_context(self.settings),
        )
        self.deliveries = DeliveryOperations(
            self._store, self._reader, self._dispatcher, self._clock, self._configuration
        )
        self.feed = Feed(self._reader, lambda: self.settings.sources)
        self._store.on_recovery += [self._dispatcher.wake, self.feed.wake]
        self._sources = SourceRegistry(
            self._schedule,
            self._store,
            self._clock,
            self._configuration,
            self._on_events,
            self._on_round,
            self._counts.count_failure,
            self._peer_clocks,
            detection_limits,
            self._activity.count_request,
            self._dispatcher.hand_over,
        )
        alerts_to, dispatcher = settings.alerts.destination, self._dispatcher
        self._unwritable = UnwritableStore(
            self._store, self._clock, alerts_to, dispatcher.send_sample, dispatcher.health
        )
        self._metrics = MetricsCollector(
            self._counts,
            self._reader,
            store_address(settings.store),
            self._store.path,
            self._dispatcher,
            self._clock,
            lambda: self.feed.stream.reader_count,
            lambda: self.evaluation,
        )
        self._session: aiohttp.ClientSession | None = None
        self._heartbeat: Heartbeat | None = None
        self._server: LocalServer | None = None
        self._expiry = ExpiryRounds(
            self._store,
            self._clock,
            lambda: self.settings,
            lambda: self._configuration.subscriptions,
            self._on_events,
            self._dispatcher.reload_queues,
            self._sources.employee_status_reader,
            self._peer_clocks.offset_seconds,
        )
        self._housekeeping = Housekeeping(self._store, self._clock, self._configuration, self._expiry.clock_seems_right)
        self._conditions = ConditionCollector(
            self._store,
            self._clock,
            self._sources,
            self._dispatcher,
            self._housekeeping,
            self._peer_clocks,
            self._daemon_state,
        )
        self._alert_monitor = AlertMonitor(
            self._store,
            self._clock,
            settings.alerts.destination,
            self._conditions.collect,
            self._wake_for_events,
            lambda name: self._dispatcher.reload_queues([name]),
            self._dispatcher.health,
        )
        self._reloader = Reloader(
            self._configuration,
            self._sources,
            self._dispatcher,
            self.deliveries,
            self._counts,
            self._alert_monitor,
            self._unwritable,
            self._conditions,
            self._manager,
        )
        self.operations = Operations(
            self._store,
            self._reader,
            self._clock,
            self._configuration,
            self._sources,
            self._dispatcher,
            self.deliveries,
            self._activity,
            self._housekeeping,
            self._schedule,
            started_ms=lambda: self._started_ms,
            evaluation=lambda: self.evaluation,
            metrics=lambda: self._metrics.page(self._started_ms or 0, self._sources),
            reload=self.reload,
        )
        self._exit_stack = AsyncExitStack()

    async def start(self) -> None:
        """Open the store, and start deliveries, the HTTP interface and the watchers; a damaged state file is rebuilt.

        Raises StoreError or ListenError; in that case everything that was started is stopped again.
        """
        self._started_ms = self._clock.now_ms()
        self._counts.keep_only(self.settings.sources, self.settings.destinations)
        async with AsyncExitStack() as stack:
            await self._store.open()
            stack.push_async_callback(self._store.close)
            stack.push_async_callback(self._reader.close)
            await self._store.store_configured_names(self.settings.sources, self.settings.destinations)
            stack.push_async_callback(self._housekeeping.stop)
            stack.push_async_callback(self._activity.stop)
            self._session = session = await stack.enter_async_context(new_session())
            stack.push_async_callback(self._dispatcher.stop, DRAIN_SECONDS)
            destination_rules.report_orphans(await self._conditions.orphans())
            await self._dispatcher.start(session)
            stack.push_async_callback(self.deliveries.stop)
            await self.deliveries.start()
            stack.push_async_callback(self._sources.stop)
            await self._sources.apply_settings(self.settings, session, Differences(added=tuple(self.settings.sources)))
            self._heartbeat = Heartbeat(self.settings.alerts.heartbeat_url, session, self._clock)
            stack.push_async_callback(self._heartbeat.stop)
            self._schedule.add(RETENTION_JOB, RETENTION_EVERY_SECONDS, self._housekeeping.delete_old_data)
            self._schedule.add(ESSENTIALS_JOB, EVALUATE_EVERY_SECONDS, self._housekeeping.maintain_store)
            await self._store.run(starts.record_start, self._started_ms)
            stack.push_async_callback(self._housekeeping.record_stop, self._started_ms)
            stack.push_async_callback(self._unwritable.stop)
            await self._alert_monitor.evaluate()
            self._schedule.add(ACTIVITY_JOB, ACTIVITY_EVERY_SECONDS, self._activity.save_changes)
            self._schedule.add(EVALUATION_JOB, EVALUATE_EVERY_SECONDS, self._evaluate_conditions)
            stack.push_async_callback(self._expiry.stop)
            self._schedule.add(EXPIRY_JOB, EVERY_SECONDS, self._expiry.run_due_rounds)
            if self._store.path is None:
                self._schedule.add(DATABASE_JOB, DATABASE_CHECK_EVERY_SECONDS, self._housekeeping.check_database)
            self._schedule.add(
                FILTER_CHECK_JOB, EVALUATE_EVERY_SECONDS, FilterChecker(self._store, self._configuration).check
            )
            # The server needs the watchers, so it starts after them; the schedule starts last and begins the polls.
            self._server = LocalServer(
                self.operations,
                self.feed,
                self.settings.http,
                socket_path(self.settings.store.path),
                self._systemd_sockets,
            )
            stack.push_async_callback(self._server.stop)
            await self._server.start()
            if self.interface_problem is not None:
                await self._alert_monitor.evaluate()
            stack.push_async_callback(self.feed.stop)
            stack.push_async_callback(self._schedule.stop)
            self._schedule.start(self._dispatcher.follow_clock_when_possible, self._after_sleep)
            self._exit_stack = stack.pop_all()
        _log.info(
            "started",
            extra={
                "version": __version__,
                "sources": len(self._sources),
                "destinations": len(self.settings.destinations),
                "dashboard": self.url,
                "alerts_to": self.settings.alerts.alert_channel() or "nobody",
            },
        )

    @property
    def settings(self) -> Settings:
        """The settings that are in force."""
        return self._configuration.settings

    @property
    def configuration_problem(self) -> str | None:
        """Why the last reload failed; None if it succeeded or if there was no reload."""
        return self._configuration.reload_problem

    @property
    def url(self) -> str | None:
        """The URL of the dashboard; None if the daemon listens on no port."""
        return None if self._server is None else self._server.url

    @property
    def interface_problem(self) -> str | None:
        """Why the HTTP interface does not listen on its address; None if it does."""
        return None if self._server is None else self._server.problem

    def sign_in_link(self) -> str | None:
        """Return a link that works once and signs a browser in to the dashboard; None if the daemon has no port."""
        return None if self._server is None else self._server.sign_in_link()

    async def wait_for_store_loss(self) -> StoreError:
        """Wait until the store becomes unusable, and return the error. The next start repairs a damaged state file."""
        await self._store.failed.wait()
        return self._store.fatal_error or StoreError(StoreReason.CORRUPT, "the state file is damaged")

    async def stop(self) -> None:
        """Stop within five seconds. The next run of the daemon repeats the interrupted work, so nothing is lost."""
        await self._exit_stack.aclose()
        _log.info("stopped")

    async def reload(self) -> "ActionResult[ReloadDocument | ReloadFailedDocument]":
        """Read the configuration again and apply it. If it is invalid, change nothing, and return the error."""
        if self._session is None or self._heartbeat is None:
            raise RuntimeError("cannot reload: the daemon is not running")
        return await self._reloader.reload(self._session, self._heartbeat)

    @property
    def evaluation(self) -> Evaluation | None:
        """The latest evaluation of conditions, including conditions that could not be written to the store."""
        found = self._alert_monitor.evaluation
        return found if found is None else replace(found, firing=(*found.firing, *self._unwritable.firing))

    def _current_states(self) -> dict[ActivitySubject, tuple[str, str | None]]:
        """Return the states of all sources and destinations, each with its reason."""
        found: dict[ActivitySubject, tuple[str, str | None]] = {}
        for name, (state, reason) in self._sources.states_with_reasons().items():
            found[ActivitySubject(ActivityKind.SOURCE, name)] = state, reason
        for name, health in self._dispatcher.health().items():
            found[ActivitySubject(ActivityKind.DESTINATION, name)] = health.state, health.reason
        return found

    def _on_attempt(self, deliveries: Sequence[Delivery], settlements: Sequence[Settlement]) -> None:
        self._counts.record_attempt(deliveries, settlements)
        self._activity.count_attempt(deliveries, settlements)

    def _on_round(self, done: Round, seconds: float) -> None:
        if done.result is not RoundResult.SILENT:
            self._counts.record_poll(seconds)
        if done.is_done and not self._housekeeping.has_snapshot:
            self._schedule.run_now(ESSENTIALS_JOB)
        evaluation = self._alert_monitor.evaluation
        reports_problems = evaluation is not None and evaluation.reports_problems(self._clock.monotonic())
        if done.is_done and self._heartbeat is not None and reports_problems:
            self._heartbeat.beat()

    async def _evaluate_conditions(self) -> None:
        await self._schedule.detect_sleep()
        # A reload removes parts before it adds their replacements; meanwhile their conditions would seem to be over.
        async with self._reloader.apply_lock:
            await self._alert_monitor.evaluate()
            if events := await self._unwritable.check():
                self._wake_for_events(events)

    def _daemon_state(self) -> DaemonState:
        return DaemonState(
            self._started_ms or 0,
            tuple(self.settings.destinations),
            self.interface_problem,
            self._configuration.reload_problem,
            self._heartbeat,
            self._alert_monitor.evaluation,
        )

    def _on_events(self, events: Sequence[Event]) -> None:
        for event in events:
            facts = {"source": event.source, "event": event.id, "type": event.type, "record": event.subject}
            _log.info("new event", extra=facts)
        self._housekeeping.schedule_urgent_write(events)
        self._expiry.note_events(events)
        self._wake_for_events(events)

    def _wake_for_events(self, events: Sequence[Event]) -> None:
        """Count new events, and wake the feed and the workers that deliver the events. Alerts are events, too."""
        # During a reload, the events may have been written under filters that are no longer known: wake all workers.
        destinations = (
            None
            if self._reloader.apply_lock.locked()
            else affected_destinations(events, self._configuration.subscriptions)
        )
        self._dispatcher.wake(destinations)
        self.feed.wake()
        self._counts.count_events(events)

    async def _after_sleep(self, slept: float) -> None:
        # No `await` here: jobs would run in the meantime, and would take the sleep for a failure.
        self._sources.wake_after_sleep(slept)
        self._dispatcher.wake_after_sleep(slept)
        if self._heartbeat is not None:
            self._heartbeat.after_sleep(slept)
