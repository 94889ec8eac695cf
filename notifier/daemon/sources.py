"""The watchers of a running daemon's sources, and their jobs in the schedule."""

import asyncio
import logging
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import aiohttp

from notifier.alerts import source_rules
from notifier.alerts.conditions import Condition, ConditionKey, source_subject
from notifier.clock import Clock
from notifier.config import Settings
from notifier.daemon.api.status import source_status, sweep_status
from notifier.daemon.configuration import Differences, RunningConfiguration
from notifier.daemon.scheduler import Schedule
from notifier.daemon.watcher_factory import build_watcher
from notifier.events import Event
from notifier.http.peer_clocks import PeerClocks
from notifier.store.store import Store
from notifier.store.tables.holds import HeldExamples
from notifier.store.tables.sources import SourceMemory
from notifier.store.tables.sweeps import Sweep
from notifier.watch.detection.holds import Direction
from notifier.watch.detection.sweep_pages import SweepPageLimiter
from notifier.watch.employee_statuses import StatusPageReader
from notifier.watch.ingest import OnDeliveries, ignore_deliveries
from notifier.watch.limits import DETECTION_LIMITS, DetectionLimits
from notifier.watch.rounds import Round, RoundResult
from notifier.watch.source_health import SourceState
from notifier.watch.watcher import Watcher
from notifier.web.daemon_api import ActionResult, UnknownNameError
from notifier.web.metrics.snapshot import SourceFigures

if TYPE_CHECKING:
    from notifier.web.response_models.records import PollDocument, ReleasedDocument, SweepBegunDocument
    from notifier.web.response_models.status import SourceDocument

_log = logging.getLogger(__name__)


def _ignore_request(*_: object, **__: object) -> None:
    """Do nothing; this is the default of `on_request`, for callers that do not count requests."""


class SourceRegistry:
    """Holds one watcher and one job of the schedule for each source."""

    def __init__(
        self,
        schedule: Schedule,
        store: Store,
        clock: Clock,
        configuration: RunningConfiguration,
        on_events: Callable[[Sequence[Event]], None],
        on_round: Callable[[Round, float], None],
        on_failure: Callable[[str, str], None],
        peer_clocks: PeerClocks | None = None,
        detection_limits: DetectionLimits = DETECTION_LIMITS,
        on_request: Callable[..., None] = _ignore_request,
        on_deliveries: OnDeliveries = ignore_deliveries,
    ) -> None:
        """Initialise with the parts that all watchers share; `peer_clocks` collects the times that API servers report.

        `on_round` is called after each scheduled round, with the result and the seconds that its poll took.
        `on_failure` is called after each failure, with the source's name and the reason. `on_request` is called after
        each request, with the source's name and the seconds that it took; `failed` says whether the request failed.
        """
        self._schedule = schedule
        self._store = store
        self._clock = clock
        self._configuration = configuration
        self._on_events = on_events
        self._on_round = on_round
        self._on_failure = on_failure
        self._peer_clocks = peer_clocks or PeerClocks(clock)
        self._detection_limits = detection_limits
        self._on_request = on_request
        self._on_deliveries = on_deliveries
        self._sweep_pages = SweepPageLimiter()
        self._watchers: dict[str, Watcher] = {}

    def __len__(self) -> int:
        """Return the number of sources."""
        return len(self._watchers)

    def watcher(self, name: str) -> Watcher:
        """Return the watcher of a source. Raises UnknownNameError."""
        if name not in self._watchers:
            raise UnknownNameError("source", name, tuple(self._watchers))
        return self._watchers[name]

    def employee_status_reader(self, name: str) -> StatusPageReader | None:
        """Return the function that reads a source's list of employee statuses; None if the source is not watched."""
        watcher = self._watchers.get(name)
        return None if watcher is None else watcher.employee_status

    async def apply_settings(
        self, settings: Settings, session: aiohttp.ClientSession, differences: Differences
    ) -> None:
        """Create watchers for added and changed sources, and stop the watchers of removed and changed sources.

        Raises StoreError; in that case, call this again with the same differences to continue.
        """
        for name in (*differences.removed, *differences.changed):
            await self._stop_watching(name)
        for index, name in enumerate(differences.added_and_changed):
            await self._stop_watching(name)
            watcher = build_watcher(
                settings,
                name,
                session,
                self._store,
                self._clock,
                lambda: self._configuration.subscriptions,
                self._on_events,
                on_failure=self._on_failure,
                on_served=partial(self._peer_clocks.record, source_subject(name)),
                detection_limits=self._detection_limits,
                on_request=partial(self._count_request, name),
                sweep_pages=self._sweep_pages,
                on_deliveries=self._on_deliveries,
            )
            await watcher.start()
            self._watchers[name] = watcher
            source = settings.sources[name]
            self._schedule.add(
                name,
                source.poll_interval,
                partial(self._run_round, watcher),
                answer_seconds=source.timeout,
                progress=partial(self._progress, watcher),
                # If a reload adds one source, its first poll is at once; the first polls of many are spread.
                index=index,
            )

    async def stop(self) -> None:
        """Stop all watchers. The next run of the daemon reads again whatever was not stored."""
        await asyncio.gather(*(watcher.stop() for watcher in self._watchers.values()))

    def in_first_round(self) -> list[str]:
        """Return the sources whose first round has not ended.

        A source is left out once its first round has lasted as long as one request may take.
        """
        now = self._clock.monotonic()
        return [
            job.name
            for job in self._schedule.job_stats()
            if job.name in self._watchers and not job.is_first_round_over(now)
        ]

    def names(self) -> tuple[str, ...]:
        """Return the names of the sources."""
        return tuple(self._watchers)

    def states_with_reasons(self) -> dict[str, tuple[SourceState, str | None]]:
        """Return the state of each source, and the reason if the source fails or is rate-limited."""
        return {
            name: (
                watcher.state,
                error.reason
                if watcher.state in (SourceState.FAILING, SourceState.RATE_LIMITED) and (error := watcher.memory.error)
                else None,
            )
            for name, watcher in self._watchers.items()
        }

    def states(self) -> dict[str, SourceState]:
        """Return the state of each source."""
        return {name: watcher.state for name, watcher in self._watchers.items()}

    def wake_after_sleep(self, slept: float) -> None:
        """Send the requests that became due while the machine slept; `slept` is the length of the sleep in seconds."""
        for watcher in self._watchers.values():
            watcher.wake(slept)

    def unready(self) -> dict[str, str]:
        """Return the names of the sources that are not ready, each with the reason."""
        return {name: reason for name, watcher in self._watchers.items() if (reason := watcher.unready()) is not None}

    def conditions(self, firing: Collection[ConditionKey]) -> tuple[list[Condition], list[ConditionKey]]:
        """Return the current conditions of all sources, and the keys of the conditions that cannot be evaluated yet.

        `firing` are the keys of the conditions that the last evaluation found.
        """
        now_ms = self._clock.now_ms()
        found: list[Condition] = []
        unknown: list[ConditionKey] = []
        for name, watcher in self._watchers.items():
            report = watcher.report()
            found += source_rules.conditions(name, report, firing, now_ms)
            unknown += source_rules.unknown_conditions(name, report)
        return found, unknown

    def memories(self) -> list[SourceMemory]:
        """Return the stored state of each source, as of the source's last round or sweep."""
        return [watcher.memory for watcher in self._watchers.values()]

    def holding_back(self) -> list[str]:
        """Return the sources that hold back new or changed records; sources with only held removals are omitted."""
        memories = {name: watcher.memory for name, watcher in self._watchers.items()}
        return [name for name, memory in memories.items() if memory.held_arrivals or memory.held_changes]

    def status(self, sweeps: Mapping[str, Sweep], examples: Mapping[str, HeldExamples]) -> dict[str, "SourceDocument"]:
        """Return the JSON object of each source for `/v1/status`.

        `sweeps` holds each source's latest sweep. `examples` holds examples of each source's held records.
        """
        return {
            name: source_status(
                watcher.memory,
                state=watcher.state,
                next_poll_ms=self._next_poll_ms(watcher),
                usage=watcher.usage,
                searching=watcher.is_searching,
                sweep=sweep_status(sweeps.get(name), running=watcher.is_sweeping),
                waiting=watcher.second_looks.counts(),
                examples=examples.get(name, HeldExamples()),
                request_failures=watcher.request_failures(),
            )
            for name, watcher in [*self._watchers.items()]
        }

    def figures(self, known: Mapping[str, SourceMemory], sweeps: Mapping[str, Sweep]) -> dict[str, SourceFigures]:
        """Return the figures of each source for `/metrics`.

        `known` holds each source's state, and `sweeps` each source's latest sweep, both as read from the store.
        """
        return {
            name: SourceFigures(
                state=watcher.state,
                records=known.get(name, watcher.memory).records,
                last_success_ms=watcher.memory.last_success_ms,
                next_poll_ms=self._next_poll_ms(watcher),
                poll_interval_seconds=watcher.poll_interval,
                requests=usage.total,
                allowed_per_minute=usage.allowed,
                used_last_minute=usage.used,
                sweep_progress=sweeps[name].progress if name in sweeps else 0.0,
                last_sweep_ms=watcher.memory.swept_at_ms,
                held=held_figures(watcher.memory),
                second_looks=watcher.second_looks.counts(),
                unexplained=watcher.memory.unexplained,
                count_offset=watcher.memory.count_offset,
                unreadable=watcher.memory.unreadable,
                unreadable_field=watcher.memory.unreadable_field,
                used_by_purpose=usage.by,
                searching=watcher.is_searching,
            )
            for name, watcher in self._watchers.items()
            for usage in (watcher.usage,)
        }

    async def poll(self, name: str) -> "ActionResult[PollDocument]":
        """Poll a source now, outside its schedule. Raises UnknownNameError."""
        watcher = self.watcher(name)
        try:
            # In a task of its own, which a reload can cancel: this one has to answer.
            done = await asyncio.create_task(watcher.poll(by_hand=True))
            await watcher.run_followups()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Only the poll was cancelled: a reload has replaced or removed the watcher.
            message = "the poll was interrupted, because the source's configuration has changed: poll again"
            done = Round(RoundResult.FAILED, message=message)
        return ActionResult(
            ok=done.result is RoundResult.DONE,
            body={"source": name, "result": done.result, "events": done.events, "message": done.message},
        )

    async def sweep(self, name: str) -> "ActionResult[SweepBegunDocument]":
        """Begin a sweep of a source, or continue an unfinished sweep. Raises UnknownNameError, StoreError."""
        watcher = self.watcher(name)
        refusal = watcher.binding_silence_reason()
        if refusal is None:
            await watcher.begin_sweep()
        progress = sweep_status(await watcher.latest_sweep(), running=watcher.is_sweeping)
        return ActionResult(ok=refusal is None, body={"source": name, "message": refusal or "", "sweep": progress})

    async def release(self, name: str, what: Direction, *, silently: bool, by: str) -> "ActionResult[ReleasedDocument]":
        """Report a source's held changes of the kind `what`; with `silently`, store them without events instead.

        `by` is the requester, for the log. Raises UnknownNameError, StoreError.
        """
        watcher = self.watcher(name)
        released = await watcher.release(what, silently=silently)
        _log.warning(
            "held-back records are released" if released else "nothing to release",
            extra={"source": name, "what": what, "records": released, "silently": silently, "by": by},
        )
        return ActionResult(ok=True, body={"source": name, "what": what, "silently": silently, "records": released})

    def _count_request(self, name: str, seconds: float, failed: bool) -> None:
        self._on_request(name, seconds, failed=failed)

    async def _stop_watching(self, name: str) -> None:
        watcher = self._watchers.pop(name, None)
        if watcher is not None:
            self._schedule.remove(name)
            await watcher.stop()

    async def _run_round(self, watcher: Watcher) -> None:
        started = self._clock.monotonic()
        done = await watcher.poll()
        seconds = self._clock.monotonic() - started
        if done.is_done:
            await watcher.run_followups()
        self._on_round(done, seconds)

    def _progress(self, watcher: Watcher) -> Hashable:
        # A watcher that waits because the API asked for a pause is not stuck, so its progress is the time.
        return watcher.requests, round(self._clock.monotonic()) if watcher.silence_seconds() else None

    def _next_poll_ms(self, watcher: Watcher) -> int | None:
        scheduled = self._schedule.next_run_ms(watcher.name)
        quiet_until = self._clock.now_ms() + round(watcher.silence_seconds() * 1000)
        return scheduled if scheduled is None else max(scheduled, quiet_until)


def held_figures(memory: SourceMemory) -> dict[Direction, int]:
    """Return the number of held records by kind of change."""
    return {
        Direction.REMOVALS: memory.held,
        Direction.ARRIVALS: memory.held_arrivals,
        Direction.CHANGES: memory.held_changes,
    }
