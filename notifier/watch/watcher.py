"""Watches one source: polls the newest records, checks the count of records, and starts searches and sweeps."""

import asyncio
from collections.abc import Mapping
from typing import Any

from notifier.kpa.client import Client
from notifier.kpa.employee_status import StatusPage
from notifier.kpa.errors import MEANINGS, ApiError
from notifier.kpa.rate_limiter import RateLimiter, Usage
from notifier.store.errors import StoreError
from notifier.store.tables import holds
from notifier.store.tables.sources import Release, SourceMemory
from notifier.store.tables.sweeps import Sweep
from notifier.watch.background_tasks import BackgroundTasks, cancel_and_wait
from notifier.watch.count_check import ApiCount, CountCheck
from notifier.watch.detection.absences import Absences
from notifier.watch.detection.balance import UnexplainedAge
from notifier.watch.detection.head_poll import HeadPoll, HeadPollResult
from notifier.watch.detection.holds import Direction
from notifier.watch.detection.search import DiscrepancySearch
from notifier.watch.detection.sweep import SweepRunner
from notifier.watch.detection.view import View, apply_view
from notifier.watch.ingest import PageIngester
from notifier.watch.name_cache import NameCache
from notifier.watch.observations import Observations, RequestCategory, RequestFailure, SourceReport
from notifier.watch.rounds import Round, RoundResult
from notifier.watch.second_looks import SecondLooks
from notifier.watch.source_context import SourceContext
from notifier.watch.source_health import SourceState

_BUDGET_FOR_PROBES = 0.5
"""An extra probe is sent only while less than this share of the request budget is used."""


class Watcher:
    """Polls one source. Polls never overlap; a sweep and a search may run beside them, with lower priority."""

    def __init__(
        self,
        context: SourceContext,
        retention: float,
        budget: RateLimiter,
        head: HeadPoll,
        ingester: PageIngester,
        counts: CountCheck,
        absences: Absences,
        search: DiscrepancySearch,
        sweep_runner: SweepRunner,
        looks: SecondLooks,
        names: NameCache | None,
        client: Client,
    ) -> None:
        """Initialise with the collaborators; `retention` is in seconds."""
        self._client = client
        self.name = context.name
        self._context = context
        self._settings = context.settings
        self._health = context.health
        self._clock = context.clock
        self._retention = retention
        self._budget = budget
        self._head = head
        self._ingester = ingester
        self._counts = counts
        self._absences = absences
        self._sweep_runner = sweep_runner
        self._looks = looks
        self._names = names
        self._polling = asyncio.Lock()
        self._polls: set[asyncio.Task[Any] | None] = set()
        self._age = UnexplainedAge()
        self._looks_not_before = 0.0
        self._observations = Observations()
        self._tasks = BackgroundTasks(
            context, search, sweep_runner, names, self._observations, self._ensure_first_contact
        )

    @property
    def state(self) -> SourceState:
        """The current state of the source."""
        return self._health.state

    @property
    def memory(self) -> SourceMemory:
        """The source's stored state, cached here. The cached last success may be newer than the stored one."""
        return self._health.memory

    @property
    def poll_interval(self) -> float:
        """The time between two polls, in seconds."""
        return self._settings.poll_interval

    @property
    def usage(self) -> Usage:
        """The source's request budget and its current use."""
        return self._budget.usage()

    @property
    def requests(self) -> int:
        """The number of requests sent so far."""
        return self._budget.requests

    @property
    def is_sweeping(self) -> bool:
        """Whether a sweep is running."""
        return self._tasks.is_sweeping

    @property
    def is_searching(self) -> bool:
        """Whether a search is running."""
        return self._tasks.is_searching

    @property
    def second_looks(self) -> SecondLooks:
        """The second looks: changes that are not yet confirmed."""
        return self._looks

    def unready(self) -> str | None:
        """Return why the source is not ready, or None if a poll succeeded within the last three poll intervals."""
        return self._health.unready()

    def report(self) -> SourceReport:
        """Return the current state of this source, for the alert rules."""
        limits = self._context.limits
        self._observations.note_budget(
            self._budget.usage(),
            searching=self.is_searching,
            now=self._clock.monotonic(),
            seconds=limits.exhausted_seconds,
        )
        seen = self._observations.with_looks(
            self._looks.contradicted(limits.min_flips, round(limits.flips_seconds * 1000)),
            [look for look in self._looks.by_key.values() if look.since_ms is not None],
        )
        untried = self._health.unsent_categories() - {RequestCategory.NAMES}
        return SourceReport(
            self.memory, self._settings, limits, self._health.polls(), seen, self.request_failures(), untried
        )

    def request_failures(self) -> Mapping[RequestCategory, RequestFailure]:
        """Return the categories of requests that fail now, each with the reason."""
        found = dict(self._health.request_failures())
        if self._names is not None and (reason := self._names.failure):
            found[RequestCategory.NAMES] = RequestFailure(reason, MEANINGS[reason].advice, 0.0, reason.remedy)
        return found

    async def employee_status(self, number: int, limit: int) -> StatusPage:
        """Return a page of the account's employee status list, within the request budget. Raises ApiError."""
        return await self._client.employee_status(number, limit=limit)

    def silence_seconds(self) -> float:
        """Return for how many more seconds the source gets no requests."""
        return self._health.silence_seconds()

    def binding_silence_reason(self) -> str | None:
        """Return why even a poll that an operator requests has to wait; None if it may begin."""
        return self._health.binding_silence_reason()

    def wake(self, slept: float) -> None:
        """Continue the requests whose waits ended while the machine slept for `slept` seconds."""
        self._health.wake(slept)
        self._budget.wake()

    async def start(self) -> None:
        """Load the state of the previous run, before the first poll. Raises StoreError."""
        await self._health.recall()
        view = View.from_settings(self._settings)
        self._health.remember(await self._context.store.run(apply_view, self.name, view, self._clock.now_ms()))
        await self._looks.recall()
        if self._names is not None:
            await self._names.recall()
        self._age.restore(self.memory.unexplained, self.memory.unexplained_since_ms)
        latest = await self._sweep_runner.latest()
        self._observations.has_incomplete_pages = latest is not None and not latest.whole

    async def stop(self) -> None:
        """Stop all tasks; the next run reads again whatever was not written."""
        if self._polls:
            await cancel_and_wait([task for task in self._polls if task is not None])
        # Tasks are stopped last, because a poll may have started them.
        await self._tasks.stop()
        if self._names is not None:
            await self._names.stop()
        await self._health.stop()

    async def latest_sweep(self) -> Sweep | None:
        """Return the newest sweep with its progress; None before the first one. Raises StoreError."""
        return await self._sweep_runner.latest()

    async def poll(self, *, by_hand: bool = False) -> Round:
        """Read the newest records down to a known one, check the API's count, and do the second looks that are due.

        During a pause, nothing is read. A poll `by_hand` obeys only binding pauses, such as that of a rate limit.
        Failures are recorded and reported, not raised. To stop a poll, cancel it; `stop` cancels the calling task.
        """
        self._polls.add(task := asyncio.current_task())
        try:
            async with self._polling:
                silence = self.binding_silence_reason() if by_hand else self._health.silence_reason()
                return Round(RoundResult.SILENT, message=silence) if silence else await self._run_round()
        finally:
            self._polls.discard(task)

    async def release(self, what: Direction, *, silently: bool) -> int:
        """Announce the held-back arrivals, removals or changes (`what`); if `silently`, accept them without events.

        Removals and changes are released by a sweep that begins now. Returns how many are released. Raises StoreError.
        """
        if what is Direction.ARRIVALS:
            return await self._ingester.release_arrivals(silently=silently)
        memory = self.memory
        held = memory.held if what is Direction.REMOVALS else memory.held_changes
        if held:
            word = Release.LEARN if silently else Release.TELL
            await self._tasks.stop_sweep()
            self._health.remember(await self._context.store.run(holds.begin_release, self.name, what, word))
            await self.begin_sweep()
        return held

    async def _run_round(self) -> Round:
        found_before = self._ingester.events_at_head
        try:
            # To save a transaction, the one that writes the newest records also looks up the place for a probe.
            fraction = self._context.random() if self._can_compare_places() else None
            head = await self._head.read(self._retention, fraction)
            await self._head.check_first_contact(head.first)
        except ApiError as failure:
            await self._health.record_failure(failure)
            return Round(RoundResult.FAILED, message=failure.message)
        except StoreError as error:
            self._health.record_store_failure(error)
            return Round(RoundResult.FAILED, message=error.message)
        except Exception as fault:  # noqa: BLE001 - it is reported, and the work is tried again after a pause
            return await self._record_internal_error("poll", fault)
        self._health.clear_internal_error("poll")
        message = ""
        try:
            await self._check_count(head)
            await self._run_second_looks()
        except ApiError as failure:
            await self._health.record_failure(failure, RequestCategory.COUNT)
            message = failure.message
        except StoreError as error:
            self._health.record_store_failure(error)
            return Round(RoundResult.FAILED, message=error.message)
        except Exception as fault:  # noqa: BLE001 - it is reported, and the work is tried again after a pause
            return await self._record_internal_error("count check", fault)
        else:
            self._health.record_answer(RequestCategory.COUNT)
        self._health.clear_internal_error("count check")
        return Round(RoundResult.DONE, self._ingester.events_at_head - found_before, message)

    async def _record_internal_error(self, work: str, fault: Exception) -> Round:
        await self._health.record_internal_error(work, fault)
        self._health.begin_silence(self._context.limits.retry_seconds)
        return Round(RoundResult.FAILED, message="an internal error; see the log")

    async def wait_for_search(self) -> None:
        """Wait until no search is running."""
        await self._tasks.wait_for_search()

    async def run_followups(self) -> None:
        """Do the work that follows a round: fetch due lists of names, and start or continue a sweep if needed."""
        if not self._health.is_answering:
            return
        try:
            if self._names is not None:
                await self._names.refresh()
            await self._looks.forget_old(self._context.limits)
            await self._tasks.begin_due_sweep()
        except StoreError as error:
            self._health.record_store_failure(error)

    async def begin_sweep(self) -> None:
        """Start a sweep or continue an interrupted one; do nothing if one is running. Raises StoreError."""
        await self._tasks.begin_sweep()

    async def _ensure_first_contact(self) -> bool:
        """Poll now if the source has never answered. Return whether it has answered, now or before.

        The first answer decides what is history. Only a head poll can record that decision, so no sweep may come first.
        """
        return self.memory.first_contact_ms is not None or (await self.poll(by_hand=True)).is_done

    async def _check_count(self, head: HeadPollResult) -> None:
        """Compare the API's count with the number of known records, and start a search if they differ."""
        if self._is_before_first_sweep() and not self.is_sweeping:
            return
        first = head.first
        counted = await self._counts.count_of_page(first)
        # If the page contains the whole list, there is no other place to probe.
        if counted.count is None or (not first.is_last and self._may_send_extra_probe()):
            counted = await (
                self._counts.probe(head.probe_boundary) if self._can_compare_places() else self._counts.fetch_count()
            )
        await self._sweep_runner.note_count(counted.count)
        if counted.count is None or self._counts.is_stale(counted):
            if counted.moved_place is not None:
                self._tasks.begin_search(counted.moved_place)
            return
        if self._is_before_first_sweep():
            return
        await self._evaluate_count(counted)

    def _is_before_first_sweep(self) -> bool:
        """Return whether no sweep has read the whole list yet, so that the API's count cannot be checked."""
        memory = self.memory
        return memory.swept_at_ms is None and (self.is_sweeping or memory.left_over is None)

    def _may_send_extra_probe(self) -> bool:
        """Return whether to probe even if the first page states the count: a probe also shows moves in the list."""
        return self._can_compare_places() and self._budget.used_share() < _BUDGET_FOR_PROBES

    async def _evaluate_count(self, counted: ApiCount) -> None:
        balance = self._counts.balance(counted)
        if balance.difference == 0 and self.memory.held:
            await self._absences.clear_removal_hold()
        unexplained = balance.unexplained
        await self._note_unexplained(unexplained)
        if unexplained == 0:
            self._tasks.note_count_explained()
            if not self.is_sweeping:
                await self._mark_last_sweep_complete()
        if self._observations.unsorted_since is not None:
            if unexplained:
                await self.begin_sweep()
        elif self._tasks.search_is_due(unexplained):
            self._tasks.begin_search(None)
        elif unexplained == 0 and counted.moved_place is not None and self._tasks.can_probe:
            self._tasks.begin_search(counted.moved_place)

    async def _mark_last_sweep_complete(self) -> None:
        """Record that the last sweep has seen all records, if it is finished and all its pages were complete.

        This is called only when the API's count has no unexplained difference.
        """
        latest = await self._sweep_runner.latest()
        if latest is None or latest.finished_ms is None or not latest.whole:
            return
        if (self.memory.swept_at_ms or 0) < latest.finished_ms:
            await self._sweep_runner.mark_complete()

    async def _note_unexplained(self, unexplained: int) -> None:
        """Store the unexplained count difference, and when it began. A difference of 0 clears both."""
        memory = self.memory
        found = self._ingester.found_missing if unexplained < 0 else self._ingester.found_without_head_poll
        since_ms = self._age.note(unexplained, found, self._clock.now_ms())
        unchanged = (memory.unexplained, memory.unexplained_since_ms) == (unexplained, since_ms)
        if unchanged and (unexplained or memory.left_over is None):
            return
        left_over = memory.left_over if unexplained else None
        await self._health.write(unexplained=unexplained, unexplained_since_ms=since_ms, left_over=left_over)

    def _can_compare_places(self) -> bool:
        """Return whether a probe could show now that the list has moved.

        For that, the list must be sorted, and every record that the API counts must be known.
        """
        memory = self.memory
        is_all_known = memory.swept_at_ms is not None and memory.unexplained == 0
        is_all_known = is_all_known and memory.count_offset == 0 and memory.unreadable == 0 and not memory.held
        searchable = self._observations.unsorted_since is None
        return is_all_known and searchable and self._tasks.can_probe

    async def _run_second_looks(self) -> None:
        """Send the requests of the second looks that are due."""
        if self._clock.monotonic() < self._looks_not_before or not self._looks.due():
            return
        try:
            # While sweeps get incomplete pages, a record that seems to be missing may only have been left out.
            if await self._absences.run_second_looks(include_removals=not self._observations.has_incomplete_pages):
                await self._tasks.begin_sweep_if_affordable()
        except ApiError:
            self._looks_not_before = self._clock.monotonic() + self._context.limits.retry_seconds
            raise
