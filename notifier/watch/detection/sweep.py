"""Runs sweeps: reads the whole list page by page while it may change, and finds known records that no page shows."""

import asyncio
import logging
from array import array

from msgspec import Struct
from msgspec.structs import replace

from notifier.events import DetectedBy
from notifier.kpa.client import Page
from notifier.kpa.errors import ApiError, ApiErrorReason
from notifier.kpa.rate_limiter import Priority
from notifier.store.tables import holds, left_out, records_by_date, sweeps
from notifier.store.tables.sources import Release
from notifier.store.tables.sweeps import Sweep, SweptPage
from notifier.watch.count_check import ApiCount, CountCheck
from notifier.watch.detection.absences import Absences, SeenRecords
from notifier.watch.detection.balance import SweepCheckpoint, accepted_offset, page_cap, page_to_repeat
from notifier.watch.detection.number_set import NumberSet
from notifier.watch.detection.sweep_pages import SweepPageLimiter
from notifier.watch.detection.view import View
from notifier.watch.ingest import PageIngester
from notifier.watch.ingest_transaction import PageMetadata
from notifier.watch.source_context import SourceContext
from notifier.watch.source_reader import PageFault, SourceReader, page_fault

_log = logging.getLogger(__name__)

_PAGES_AT_ONCE = 20
"""Number of pages whose record ids are loaded at once, which takes some milliseconds."""
_RECORDS_AT_ONCE = 20_000
_PAGES_PER_PROGRESS_LOG = 100


class SweepResult(Struct, frozen=True):
    """The result of a sweep."""

    is_whole: bool
    """Every page was complete, so missing records could be judged."""
    is_sorted: bool
    """The list was in the order of completion dates."""


class SweepRunner:
    """Reads the whole list of one source, one sweep at a time. Raises ApiError and StoreError."""

    def __init__(
        self,
        context: SourceContext,
        reader: SourceReader,
        ingester: PageIngester,
        counts: CountCheck,
        absences: Absences,
        pages: SweepPageLimiter,
    ) -> None:
        """Initialise with the collaborators; `pages` counts the pages of all sources' sweeps."""
        self._pages = pages
        self._context = context
        self._reader = reader
        self._ingester = ingester
        self._counts = counts
        self._absences = absences
        self._sweep: Sweep | None = None
        self._page = 0
        self._checkpoint: SweepCheckpoint | None = None
        self._repeat_from: int | None = None
        self._oldest_day = ""
        self._is_sorted = True
        self._last_page: tuple[int, int] | None = None
        self._same_difference_since: float | None = None
        self._has_parsed_all = False
        self._finished: Sweep | None = None

    async def latest(self) -> Sweep | None:
        """Return the newest sweep with its progress; None before the first one.

        Every round calls this. A finished sweep does not change any more, so the store is asked for it only once.
        """
        if self._finished is None:
            found = await self._context.store.run(sweeps.latest, self._context.name)
            if found is None or found.finished_ms is None:
                return found
            self._finished = found
        return self._finished

    async def begin(self) -> Sweep:
        """Start a sweep, or resume the unfinished one; return it."""
        sweep = await self._context.store.run(sweeps.resume_or_start, self._context.name, self._context.clock.now_ms())
        self._finished = None
        message = "sweep begins" if sweep.next_page == 1 else "sweep continues"
        _log.info(message, extra={"source": self._context.name, "page": sweep.next_page})
        return sweep

    async def read(self, sweep: Sweep) -> SweepResult:
        """Read the remaining pages of a sweep. After an exception, call this again to continue."""
        counted = await self._counts.fetch_count()
        self._page = sweep.next_page - 1
        self._repeat_from = None
        self._is_sorted = True
        self._forget_last_page()
        # The sweep may have been interrupted by a restart; the stored count shows how the list has changed since then.
        self._checkpoint = (
            None if sweep.counted is None else self._checkpoint_at(sweep.counted, sweep.counted_page or 0)
        )
        self._sweep = sweep
        is_from_the_beginning = sweep.next_page == 1
        self._ingester.begin_sweep()
        try:
            with SeenRecords(self._ingester, self._context.clock.monotonic()) as seen:
                await self.note_count(counted.count)
                following: int | None = self._take_page_to_repeat() or sweep.next_page
                while following is not None:
                    following = await self._read_from(following, sweep)
                result = await self._finish(sweep, seen)
                self._has_parsed_all |= is_from_the_beginning
                return result
        finally:
            self._sweep = None

    async def note_count(self, count: int | None) -> None:
        """Record the API's current count; if it shows a deletion, the running sweep reads some pages again."""
        if count is None or self._sweep is None:
            return
        before, now = self._checkpoint, self._checkpoint_at(count, self._page)
        self._checkpoint = now
        page = None if before is None else page_to_repeat(before, now, self._reader.large_page)
        if page is not None and page <= self._page:
            await self._rewind(self._sweep, page)
        if self._checkpoint != before:
            await self._context.store.run(
                sweeps.store_count, self._sweep.id, self._checkpoint.count, self._checkpoint.page
            )

    async def _rewind(self, sweep: Sweep, page: int) -> None:
        self._repeat_from = min(page, self._repeat_from or page)
        self._rewind_to(self._repeat_from)
        await self._context.store.run(sweeps.step_back, sweep.id, self._repeat_from)
        _log.info(
            "records were deleted during the sweep; some pages are read again",
            extra={"source": self._context.name, "page": self._repeat_from},
        )

    def _rewind_to(self, page: int) -> None:
        """Set the sweep and its checkpoint back, so that the sweep reads `page` next."""
        self._page = page - 1
        if self._checkpoint is not None:
            self._checkpoint = replace(self._checkpoint, page=page - 1)

    def _checkpoint_at(self, count: int, page: int) -> SweepCheckpoint:
        return SweepCheckpoint(count, page, self._ingester.found_at_head)

    def _take_page_to_repeat(self) -> int | None:
        page, self._repeat_from = self._repeat_from, None
        if page is not None:
            # A page that was being written when the sweep was set back has moved the checkpoint forward again.
            self._rewind_to(page)
            self._forget_last_page()
        return page

    def _forget_last_page(self) -> None:
        """Forget the previous page, because the next page does not follow it."""
        self._last_page, self._oldest_day = None, ""

    async def _read_from(self, first: int, sweep: Sweep) -> int | None:
        """Read the pages from `first` on; return None at the end, or the page to go back to if the list moves."""
        page = await self._fetch(first, sweep)
        while True:
            # The next page is fetched while this one is written.
            is_last = page.is_last and not (page.last_page is None and page.size)
            ahead = None if is_last else asyncio.create_task(self._fetch(page.number + 1, sweep, page.last_page or 0))
            try:
                if page.size or page.number == 1:
                    await self._write_page(page, sweep)
                if (repeat := self._take_page_to_repeat()) is not None or ahead is None:
                    return repeat
                page = await ahead
            finally:
                if ahead is not None:
                    ahead.cancel()

    async def _fetch(self, number: int, sweep: Sweep, last_page: int = 0) -> Page:
        """Fetch a page, several times if it is incomplete; if it stays incomplete, mark the sweep as incomplete.

        `last_page` is the number of the last page according to the page before; 0 if unknown.
        """
        if number == 1 and self._context.health.memory.page_cap is not None:
            # The API's own page limit may no longer apply.
            await self._context.health.write(page_cap=None)
        # Until one sweep of this run has parsed all records, none is skimmed: an earlier version of this program may
        # have read them differently.
        skim = bool(sweep.marks) and self._has_parsed_all
        try:
            async with self._pages.requesting():
                page = await self._reader.fetch_whole(number, Priority.SWEEP, skim=skim)
            if page.size == 0 and number <= max(last_page, (page.last_page or 0) - 1):  # the list should not end here
                page = await self._reader.fetch_whole(number, Priority.SWEEP, skim=skim)
        except ApiError as failure:
            if failure.reason is not ApiErrorReason.PAGE_NOT_WHOLE:
                raise
            if number == 1 and await self._detect_page_cap():
                page = await self._reader.fetch_whole(number, Priority.SWEEP)
            else:
                page = await self._fetch_broken(number, sweep, failure)
        try:
            self._check_page(page)
        except ApiError:
            # Read both pages again: it is unclear which of the two numbers this content belongs to.
            await self._context.store.run(sweeps.step_back, sweep.id, page.number - 1)
            raise
        return page

    async def _fetch_broken(self, number: int, sweep: Sweep, failure: ApiError) -> Page:
        """Fetch a page although it is incomplete; note that this sweep cannot prove a record to be missing."""
        _log.warning(failure.message, extra={"source": self._context.name, "page": number})
        await self._context.store.run(sweeps.mark_incomplete, sweep.id)
        page = await self._reader.fetch(number, Priority.SWEEP)
        if page_fault(page) is PageFault.LONG:
            raise failure
        return page

    def _check_page(self, page: Page) -> None:
        """Raise ApiError if a page is the same as the previous one; record whether the list is sorted."""
        records: tuple[str | bytes, ...] = tuple(page.raws if self._context.settings.api == "v1" else page.keys)
        content = hash(records)
        # Without ids, many equal records may fill several pages, which then are the same.
        if page.number > 1 and self._last_page == (page.number - 1, content) and len(set(records)) > 1:
            raise ApiError(ApiErrorReason.PAGE_NOT_WHOLE, f"page {page.number} is the same as page {page.number - 1}")
        self._last_page = (page.number, content)
        if page_fault(page) is PageFault.UNSORTED:
            self._is_sorted = False

    async def _detect_page_cap(self) -> bool:
        """Store the API's page limit if it is lower than the requested one; return whether it is."""
        page = await self._reader.fetch(1, Priority.SWEEP)
        counted = await self._counts.fetch_count()
        cap = page_cap(page, counted.count)
        if cap is None:
            return False
        _log.info(
            "the API returns fewer records per page than requested",
            extra={"source": self._context.name, "records": cap, "limit": page.limit},
        )
        await self._context.health.write(page_cap=cap)
        return True

    async def _write_page(self, page: Page, sweep: Sweep) -> None:
        above = (page.number - 1) * page.limit + page.size
        swept = SweptPage(sweep.id, page.number, page.last_page, above, len(page.bad), bool(sweep.marks))
        self._note_order(page)
        with self._pages.writing():
            await self._ingester.ingest(page, DetectedBy.SWEEP, PageMetadata(swept=swept))
        self._page = page.number
        await self.note_count((await self._counts.count_of_page(page)).count)
        if page.number % _PAGES_PER_PROGRESS_LOG == 0:
            _log.info(
                "sweep continues", extra={"source": self._context.name, "page": page.number, "of": page.last_page}
            )

    def _note_order(self, page: Page) -> None:
        """Record whether this page continues the order of the previous one."""
        listed = [day or "" for day in page.days]
        if listed and page.number > 1 and self._oldest_day and listed[-1] > self._oldest_day:
            # New entries above may move records of the previous page to the top of this one, but never to all of its
            # places.
            self._is_sorted = False
        self._oldest_day = listed[-1] if listed else self._oldest_day

    async def _finish(self, sweep: Sweep, seen: SeenRecords) -> SweepResult:
        done = await self.latest() or sweep
        shows_missing = done.marks and done.whole
        missing = await self._missing_ids(done, seen) if shows_missing else []
        await self._context.store.run(left_out.correct_after_sweep, done, len(missing))
        await self._context.health.refresh()
        if missing and self._context.health.memory.count_offset < 0:
            # These missing records may be the reason why the count seemed to be wrong.
            await self._context.health.write(count_offset=0)
        # Otherwise held-back removals, and the request to release them, wait for a sweep that shows what is missing.
        events = await self._examine_or_release_missing(missing) if shows_missing else 0
        await self._context.store.run(sweeps.add_changes, sweep.id, events)
        self._context.health.remember(await self._context.store.run(holds.end_release_of_changes, self._context.name))
        # If this request fails, the sweep is not finished yet, so that it is tried again soon.
        counted = await self._counts.fetch_count()
        await self._context.store.run(sweeps.finish, sweep, self._context.clock.now_ms())
        await self._update_count_offset(done, counted, missing=len(missing))
        _log.info(
            "sweep has read the whole list",
            extra={"source": self._context.name, "records": done.records, "changes": done.changes + events},
        )
        return SweepResult(done.whole, self._is_sorted)

    async def _examine_or_release_missing(self, missing: list[int]) -> int:
        """Examine the missing known records; return the number of events.

        If an operator has released the held-back removals, the records are not examined. Their removals are then
        announced or accepted silently, as the operator has requested.
        """
        release = self._context.health.memory.release_removals
        if release is not None:
            return await self._absences.release_held_removals(missing, silently=release == Release.LEARN)
        examined = await self._absences.examine(missing, DetectedBy.SWEEP, Priority.SWEEP)
        if not examined.held:
            await self._absences.clear_removal_hold()
        return examined.events

    async def _missing_ids(self, sweep: Sweep, elsewhere: SeenRecords) -> list[int]:
        """Return the ids of the known records that no answer has contained since the sweep began."""
        seen = NumberSet()
        after: int | None = 0
        while after is not None:
            pages, after = await self._context.store.run(sweeps.read_page_ids, sweep.id, after, _PAGES_AT_ONCE)
            for ids in pages:
                seen.add(array("q", ids))
        missing: list[int] = []
        place: records_by_date.DatePosition | None = records_by_date.BEFORE_ALL
        first_new = sweep.first_new_id
        while place is not None:
            known, place = await self._context.store.run(
                records_by_date.ids_after, self._context.name, place, _RECORDS_AT_ONCE
            )
            missing += [
                id_ for id_ in seen.absent(known) if id_ not in elsewhere and (first_new is None or id_ < first_new)
            ]
        return missing

    async def _update_count_offset(self, sweep: Sweep, counted: ApiCount, *, missing: int) -> None:
        """Compare the count with the known records after a sweep, and store the API's own error if one is proven.

        While records are `missing`, a count that is too low is not taken for an error. A sweep that has seen
        everything that the API counts is marked as complete.
        """
        memory = self._context.health.memory
        balance = self._counts.balance(counted)
        unexplained = balance.unexplained
        # If the API counts more records than are known, its count can be wrong only if the pages showed fewer records.
        # If it counts fewer, its count can be wrong only if no record was found missing, which only a sweep with marks
        # can tell.
        pages_show_count = sweep.records >= (counted.count or 0)
        # Held-back or returning records are not the API's error, so nothing is judged while there are any. Records that
        # wait for their removal do not prevent a judgement: if the count never allows the removal, only an accepted
        # error ends their wait.
        nothing_is_pending = not (balance.held or balance.returning)
        can_judge = (
            sweep.whole
            and nothing_is_pending
            and (not pages_show_count if unexplained > 0 else bool(sweep.marks and not missing))
        )
        is_left_again = unexplained != 0 and unexplained == memory.left_over
        now = self._context.clock.monotonic()
        self._same_difference_since = (
            self._same_difference_since if is_left_again and self._same_difference_since is not None else now
        )
        has_lasted = now - self._same_difference_since >= self._context.limits.offset_seconds
        offset = (
            accepted_offset(unexplained, memory.left_over, memory.count_offset, has_lasted=has_lasted)
            if can_judge
            else None
        )
        if (
            nothing_is_pending
            and not balance.leaving
            and sweep.whole
            and not missing
            and counted.count == memory.records + memory.unreadable_unknown
        ):
            # Every counted record is known and none is missing, so the count has no error any more.
            offset = 0
        if offset is not None and offset != memory.count_offset:
            _log.warning(
                "from now on, the API's count is assumed to be wrong by this number of records",
                extra={"source": self._context.name, "records": offset},
            )
            await self._context.health.write(
                count_offset=offset, left_over=None, unexplained=0, unexplained_since_ms=None
            )
            unexplained = 0
        elif sweep.whole:
            # Before the first proof, the next sweeps are compared with this value, even if records are held back or
            # returning.
            counts = nothing_is_pending or memory.swept_at_ms is None
            await self._context.health.write(left_over=unexplained or None if counts else None)
        # If the API counts fewer than are known, the sweep has missed none. Before the first proof this is not certain:
        # deleted records among the known ones may make up for missed ones.
        seen_all = unexplained == 0 or is_left_again or (unexplained < 0 and memory.swept_at_ms is not None)
        if sweep.whole and seen_all:
            await self.mark_complete()

    async def mark_complete(self) -> None:
        """Record that the newest finished sweep has seen everything that the API counts."""
        sweep = await self.latest()
        if sweep is None or sweep.finished_ms is None or not sweep.whole:
            return
        await self._context.store.run(sweeps.store_proof, sweep)
        memory = await self._context.health.refresh()
        view = None if memory.view is None else View.from_text(memory.view)
        if view is not None and view.renumbers:
            await self._context.health.write(view=replace(view, renumbers=False).to_text())
