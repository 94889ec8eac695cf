"""The background tasks of a source: at most one sweep and one search at a time.

A search looks for the cause of a count difference.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from notifier.kpa.errors import ApiError, ApiErrorReason
from notifier.store.errors import StoreError
from notifier.store.tables.sweeps import Sweep
from notifier.watch.detection.balance import SearchTiming, sweep_is_affordable
from notifier.watch.detection.search import DiscrepancySearch, SearchOutcome, SearchResult
from notifier.watch.detection.sweep import SweepRunner
from notifier.watch.name_cache import NameCache
from notifier.watch.observations import Observations, RequestCategory
from notifier.watch.source_context import SourceContext
from notifier.watch.timing import sweep_is_due

_log = logging.getLogger(__name__)


class BackgroundTasks:
    """Starts sweeps and searches, and decides from each result when the next sweep or search may start."""

    def __init__(
        self,
        context: SourceContext,
        search: DiscrepancySearch,
        sweep_runner: SweepRunner,
        names: NameCache | None,
        observations: Observations,
        ensure_first_contact: Callable[[], Awaitable[bool]],
    ) -> None:
        """Initialise with the collaborators.

        `ensure_first_contact` polls the source if it has never answered, and returns whether it has answered now.
        """
        self._context = context
        self._clock = context.clock
        self._search_runner = search
        self._sweep_runner = sweep_runner
        self._names = names
        self._observations = observations
        self._ensure_first_contact = ensure_first_contact
        self._sweep_task: asyncio.Task[None] | None = None
        self._search_task: asyncio.Task[None] | None = None
        limits = context.limits
        self._timing = SearchTiming(limits.first_search_retry_seconds, limits.longest_search_retry_seconds)
        self._sweep_not_before = 0.0
        self._probes_not_before = 0.0
        self._is_stopped = False

    @property
    def is_sweeping(self) -> bool:
        """Whether a sweep is running."""
        return self._sweep_task is not None and not self._sweep_task.done()

    @property
    def is_searching(self) -> bool:
        """Whether a search is running."""
        return self._search_task is not None and not self._search_task.done()

    @property
    def can_probe(self) -> bool:
        """Whether probes may be sent; False for a while after a search that found nothing or had an internal error."""
        return self._clock.monotonic() >= self._probes_not_before

    async def stop(self) -> None:
        """Stop the sweep and the search, if they are running; no other begins after that."""
        self._is_stopped = True
        if begun := [task for task in (self._sweep_task, self._search_task) if task is not None]:
            await cancel_and_wait(begun)

    async def stop_sweep(self) -> None:
        """Stop the sweep, if one is running."""
        if self._sweep_task is not None and self.is_sweeping:
            await cancel_and_wait([self._sweep_task])

    async def wait_for_search(self) -> None:
        """Wait until no search is running."""
        if self._search_task is not None:
            await asyncio.wait([self._search_task])

    def note_count_explained(self) -> None:
        """Forget the results of earlier searches, because the API's count is explained."""
        self._timing.clear()
        self._observations.gave_up_searching_at = None

    def search_is_due(self, unexplained: int) -> bool:
        """Return whether to search now; `unexplained` is the count difference whose cause is unknown."""
        return self._timing.is_due(unexplained, self._clock.monotonic())

    def begin_search(self, moved_place: int | None) -> None:
        """Start a search if none is running; `moved_place` is where the list seems to have moved, None if unknown."""
        if not self.is_searching and not self._is_stopped:
            self._search_task = asyncio.create_task(self._search(moved_place), name=f"search {self._context.name}")

    async def begin_due_sweep(self) -> None:
        """Start or continue a sweep if one is due. Raises StoreError."""
        if self._clock.monotonic() < self._sweep_not_before:
            return
        latest, memory = await self._sweep_runner.latest(), self._context.health.memory
        # No sweep has read the source's present view yet, so the API's count cannot be compared.
        is_unread = memory.swept_at_ms is None and memory.left_over is None
        if sweep_is_due(latest, self._context.settings.sweep_interval, self._clock.now_ms()):
            await self.begin_sweep()
        elif is_unread or self._observations.has_incomplete_pages or self._observations.unsorted_since is not None:
            # In these cases only sweeps find changes of older records, and only another sweep can show that the problem
            # is over.
            await self.begin_sweep_if_affordable()

    async def begin_sweep(self) -> None:
        """Start a sweep or continue an interrupted one; do nothing if one is running. Raises StoreError."""
        if self.is_sweeping:
            return
        sweep = await self._sweep_runner.begin()
        # A reload may have stopped this watcher in the meantime, and begun another one for the same source.
        if not self._is_stopped and not self.is_sweeping:
            self._sweep_task = asyncio.create_task(self._sweep(sweep), name=f"sweep {self._context.name}")

    async def begin_sweep_if_affordable(self) -> None:
        """Start a sweep unless the last one is too recent. Raises StoreError."""
        latest = await self._sweep_runner.latest()
        if latest is not None and latest.finished_ms is not None:
            since = max(0, self._clock.now_ms() - latest.finished_ms) / 1000
            pages = latest.last_page or 1
            if not sweep_is_affordable(pages, since, self._context.limits.sweep_seconds_a_page):
                return
        await self.begin_sweep()

    async def _search(self, moved_place: int | None) -> None:
        try:
            result = await self._search_runner.run(moved_place)
            self._context.health.clear_internal_error("search")
            self._context.health.record_answer(RequestCategory.SEARCH)
            self._apply_result(result)
            if result.outcome is not SearchOutcome.FOUND:
                await self.begin_sweep_if_affordable()
        except ApiError as failure:
            self._timing.note_search_end(self._clock.monotonic(), found=False)
            await self._context.health.record_failure(failure, RequestCategory.SEARCH)
        except StoreError as error:
            self._timing.note_search_end(self._clock.monotonic(), found=False)
            self._context.health.record_store_failure(error)
        except Exception as fault:  # noqa: BLE001 - it is reported, and the work is tried again after a pause
            now = self._clock.monotonic()
            self._timing.note_search_end(now, found=False)
            self._probes_not_before = now + self._context.limits.first_search_retry_seconds
            await self._context.health.record_internal_error("search", fault)

    def _apply_result(self, result: SearchResult) -> None:
        self._observations.has_read_list = True
        now, limits = self._clock.monotonic(), self._context.limits
        self._timing.note_search_end(
            now, found=result.found > 0, rest_seconds=result.pages * limits.search_seconds_a_page
        )
        match result.outcome:
            case SearchOutcome.FOUND:
                self._observations.gave_up_searching_at = None
            case SearchOutcome.UNSORTED:
                self._note_unsorted()
            case SearchOutcome.GAVE_UP:
                self._observations.gave_up_searching_at = self._observations.gave_up_searching_at or now
                _log.info(
                    "a search has reached its page limit; the next sweep finds the rest",
                    extra={"source": self._context.name, "pages": result.pages, "left": result.left},
                )
            case SearchOutcome.NOTHING:
                self._probes_not_before = now + limits.first_search_retry_seconds

    def _note_unsorted(self) -> None:
        if self._observations.unsorted_since is None:
            self._observations.unsorted_since = self._clock.monotonic()
            _log.warning(
                "the list is not sorted by completion date; searches are replaced by sweeps",
                extra={"source": self._context.name},
            )

    async def _sweep(self, sweep: Sweep) -> None:
        # The first answer separates history from news, so it has to come from a head poll.
        if not await self._ensure_first_contact():
            return
        try:
            # Requests for names have the lowest priority. If the sweep did not wait for them, all messages would be
            # without names during a long sweep.
            if self._names is not None:
                await self._names.wait_for_fetch()
            result = await self._sweep_runner.read(sweep)
            self._context.health.clear_internal_error("sweep")
            self._context.health.record_answer(RequestCategory.SCAN)
            if not result.is_sorted:
                self._note_unsorted()
            else:
                self._observations.unsorted_since = None
            self._observations.has_incomplete_pages = not result.is_whole
            self._observations.has_read_list = True
            self._observations.gave_up_searching_at = None
        except ApiError as failure:
            self._sweep_not_before = self._clock.monotonic() + self._context.limits.retry_seconds
            if failure.reason is ApiErrorReason.PAGE_NOT_WHOLE:
                self._observations.has_incomplete_pages = True
            await self._context.health.record_failure(failure, RequestCategory.SCAN)
        except StoreError as error:
            self._sweep_not_before = self._clock.monotonic() + self._context.limits.retry_seconds
            self._context.health.record_store_failure(error)
        except Exception as fault:  # noqa: BLE001 - it is reported, and the work is tried again after a pause
            self._sweep_not_before = self._clock.monotonic() + self._context.limits.retry_seconds
            await self._context.health.record_internal_error("sweep", fault)


async def cancel_and_wait(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
