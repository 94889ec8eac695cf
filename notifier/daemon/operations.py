"""The operations of a running daemon, for commands, the HTTP interface and the watchdog."""

from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from notifier.alerts.evaluation import Evaluation, readiness_problems
from notifier.clock import Clock
from notifier.daemon.activity import ActivityLog
from notifier.daemon.api.dashboard import DashboardReader
from notifier.daemon.api.deliveries import DeliveryOperations
from notifier.daemon.api.status import (
    destination_status,
    evaluation_status,
    file_status,
    read_stored_status,
    status_document,
    store_status,
)
from notifier.daemon.api.status_line import summary
from notifier.daemon.configuration import RunningConfiguration
from notifier.daemon.maintenance import Housekeeping
from notifier.daemon.scheduler import Schedule
from notifier.daemon.sources import SourceRegistry
from notifier.daemon.systemd.liveness import JobStats
from notifier.delivery.dispatcher import Dispatcher
from notifier.store.reader import StoreReader
from notifier.store.store import Store
from notifier.store.tables import destinations
from notifier.store.tables.destinations import HealthState
from notifier.watch.detection.holds import Direction
from notifier.web.daemon_api import ActionResult, DashboardFigures

if TYPE_CHECKING:
    from notifier.daemon.api.delivery_detail import DeliveryInspector
    from notifier.daemon.api.event_log import EventLogReader
    from notifier.daemon.api.source_and_destination import SourceAndDestinationReader
    from notifier.store.queries.search import FoundRecords
    from notifier.web.response_models.records import (
        PersonForgottenDocument,
        PollDocument,
        RecordDocument,
        ReleasedDocument,
        SweepBegunDocument,
    )
    from notifier.web.response_models.status import ReloadDocument, ReloadFailedDocument, StatusDocument


class Operations:
    """The operations of a running daemon; implements the protocols `DaemonApi` and `SupervisedDaemon`."""

    def __init__(
        self,
        store: Store,
        reader: StoreReader,
        clock: Clock,
        configuration: RunningConfiguration,
        sources: SourceRegistry,
        dispatcher: Dispatcher,
        deliveries: DeliveryOperations,
        activity: ActivityLog,
        housekeeping: Housekeeping,
        schedule: Schedule,
        *,
        started_ms: Callable[[], int | None],
        evaluation: Callable[[], Evaluation | None],
        metrics: Callable[[], Awaitable[bytes]],
        reload: "Callable[[], Awaitable[ActionResult[ReloadDocument | ReloadFailedDocument]]]",
    ) -> None:
        """Initialise with the parts of the daemon, and with functions of the `Daemon` object.

        `started_ms` returns the start of the daemon (Unix ms), `evaluation` the latest evaluation of conditions, and
        `metrics` the page `/metrics`. `reload` reloads the configuration.
        """
        self.deliveries = deliveries
        self._store = store
        self._reader = reader
        self._clock = clock
        self._configuration = configuration
        self._sources = sources
        self._dispatcher = dispatcher
        self._activity = activity
        self._housekeeping = housekeeping
        self._schedule = schedule
        self._started_ms = started_ms
        self._evaluation = evaluation
        self._metrics = metrics
        self._reload = reload
        self._dashboard = DashboardReader(reader, clock)
        self._hanging_parts: tuple[str, ...] = ()

    async def status(self) -> "StatusDocument":
        """Return the JSON object of `/v1/status`. Raises StoreError."""
        remembered = await self._reader.run(read_stored_status, self._sources.holding_back())
        serving = self._dispatcher.snapshots()
        evaluation = self._evaluation()
        return status_document(
            self._started_ms(),
            self._sources.status(remembered.sweeps, remembered.examples),
            # A reload may have added a destination since the store was read.
            {
                name: destination_status(remembered.destinations[name], it)
                for name, it in serving.items()
                if name in remembered.destinations
            },
            () if evaluation is None else evaluation.firing,
            evaluation_status(evaluation, self._clock.monotonic(), self._configuration.settings.alerts.alert_channel()),
            remembered.replays,
            await self._reader.run(store_status, self._clock) if self._store.path is None else file_status(),
        )

    async def metrics(self) -> bytes:
        """Return the page `/metrics` as bytes. Raises StoreError."""
        return await self._metrics()

    def hanging_parts(self) -> tuple[str, ...]:
        """Return the names of the daemon's parts that hang; the tuple is empty if all make progress."""
        return self._hanging_parts

    def unready(self) -> dict[str, str]:
        """Return the reasons why the daemon is not ready. Each key is a source's name, or `alerts`, or `evaluation`."""
        return {**self._sources.unready(), **readiness_problems(self._evaluation(), self._clock.monotonic())}

    async def record(self, key: str) -> "RecordDocument":
        """Return the JSON object of `/v1/records/KEY`. Raises UnknownRecordError, StoreError."""
        # Imported here, because most daemons are never asked to explain a record.
        from notifier.daemon.api.record import record_document  # noqa: PLC0415

        confirm_after = {name: source.confirm_after for name, source in self._configuration.settings.sources.items()}
        return await self._reader.run(record_document, key, self._configuration.subscriptions, confirm_after)

    async def figures(self) -> DashboardFigures:
        """Return the figures that the dashboard shows in addition to the status. Raises StoreError."""
        return await self._dashboard.figures(tuple(self._configuration.settings.destinations))

    async def find_records(self, text: str) -> "FoundRecords":
        """Find records by their key, or by the name or employee number of the person. Raises StoreError."""
        # Imported here, because only the dashboard searches.
        from notifier.store.queries import search  # noqa: PLC0415

        return await self._reader.run(search.find, text)

    @cached_property
    def details(self) -> "SourceAndDestinationReader":
        """The reader of the details of a source or a destination, for the dashboard."""
        # Imported here and below, because the dashboard is rarely open.
        from notifier.daemon.api.source_and_destination import SourceAndDestinationReader  # noqa: PLC0415

        return SourceAndDestinationReader(self._reader, self._clock, self._configuration, self._activity)

    @cached_property
    def delivery_inspection(self) -> "DeliveryInspector":
        """The reader of the details of a delivery, for the dashboard."""
        from notifier.daemon.api.delivery_detail import DeliveryInspector  # noqa: PLC0415

        return DeliveryInspector(self._reader, self._dispatcher, self._configuration)

    @cached_property
    def event_log(self) -> "EventLogReader":
        """The reader of the log of events, for the dashboard."""
        from notifier.daemon.api.event_log import EventLogReader  # noqa: PLC0415

        return EventLogReader(self._reader, self._clock)

    async def poll(self, source: str) -> "ActionResult[PollDocument]":
        """Poll a source now, outside its schedule. Raises UnknownNameError."""
        return await self._sources.poll(source)

    async def sweep(self, source: str) -> "ActionResult[SweepBegunDocument]":
        """Begin a sweep of a source, or continue an unfinished sweep. Raises UnknownNameError, StoreError."""
        return await self._sources.sweep(source)

    async def release(
        self, source: str, what: Direction, *, silently: bool, by: str
    ) -> "ActionResult[ReleasedDocument]":
        """Report a source's held changes of the kind `what`; with `silently`, store them without events instead.

        `by` is the requester, for the log. Raises UnknownNameError, StoreError.
        """
        return await self._sources.release(source, what, silently=silently, by=by)

    async def forget(self, person: str, *, dry_run: bool, by: str) -> "PersonForgottenDocument":
        """Erase a person's data; with `dry_run`, only find the person.

        `by` is the requester, for the log. Raises UnknownPersonError, StoreError.
        """
        # Imported here, because a person's data is erased perhaps once a year.
        from notifier.daemon.api import people  # noqa: PLC0415

        done = await people.erase(self._store, person, self._clock.now_ms(), dry_run=dry_run, by=by)
        if not dry_run:
            # The workers may have read this person's events into memory.
            self._dispatcher.reload_queues(self._dispatcher.health())
            if not await self._housekeeping.rewrite_essentials():
                done["unreached"].insert(0, people.IN_THE_ESSENTIALS)
        return done

    async def reload(self) -> "ActionResult[ReloadDocument | ReloadFailedDocument]":
        """Read the configuration again and apply it. If it is invalid, change nothing, and return the error."""
        return await self._reload()

    def job_stats(self) -> list[JobStats]:
        """Return the statistics of each job of the schedule."""
        return self._schedule.job_stats()

    def sources_in_first_round(self) -> list[str]:
        """Return the sources whose first round has not ended.

        A source is left out once its first round has lasted as long as one request may take.
        """
        return self._sources.in_first_round()

    async def summary(self) -> str:
        """Query the store, and return the state of the daemon as a sentence. Raises StoreError."""
        states = {name: health.state for name, health in self._dispatcher.health().items()}
        unhealthy = [name for name, state in states.items() if state is not HealthState.OK]
        waiting = await self._store.run(destinations.count_waiting, unhealthy)
        evaluation = self._evaluation()
        return summary(
            self._sources.states(),
            states,
            waiting,
            [it.key for it in (() if evaluation is None else evaluation.firing)],
        )

    def report_hanging(self, names: Sequence[str]) -> None:
        """Set the names of the hanging parts that `/healthz` shows."""
        self._hanging_parts = tuple(names)
