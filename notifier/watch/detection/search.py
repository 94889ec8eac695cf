"""Finds the entries and deletions of older records that explain a count difference, with few requests."""

import logging
import math
from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING

from msgspec import Struct

from notifier.events import Completion, DetectedBy, EventType
from notifier.kpa.client import Page
from notifier.kpa.rate_limiter import Priority
from notifier.store.tables import records_by_date
from notifier.watch.count_check import ApiCount, CountCheck
from notifier.watch.detection.absences import Absences, SeenRecords
from notifier.watch.detection.bisection import (
    Bisection,
    CountChange,
    Day,
    KnownCounts,
    NotSortedError,
    Range,
    day_of,
)
from notifier.watch.detection.v1_records import V1Records
from notifier.watch.ingest import IngestResult, PageIngester
from notifier.watch.source_context import SourceContext
from notifier.watch.source_reader import SourceReader

if TYPE_CHECKING:
    from array import array

_log = logging.getLogger(__name__)

_LATEST: Day = 9999_12_31


class SearchOutcome(StrEnum):
    """How a search ended; `GAVE_UP` means that it reached a limit and left pages or records unread."""

    FOUND = "found"
    NOTHING = "nothing"
    UNSORTED = "unsorted"
    GAVE_UP = "gave_up"


class SearchResult(Struct, frozen=True):
    """The result of a search.

    `pages` is the number of pages read, and `found` the number of new, changed and missing records. `left` is the
    number of missing records that were left to a sweep.
    """

    outcome: SearchOutcome
    pages: int
    found: int = 0
    left: int = 0


class DiscrepancySearch:
    """Searches one source's list for the cause of a count difference. Raises ApiError and StoreError."""

    def __init__(
        self,
        context: SourceContext,
        reader: SourceReader,
        ingester: PageIngester,
        counts: CountCheck,
        absences: Absences,
        v1_records: V1Records | None,
    ) -> None:
        self._context = context
        self._reader = reader
        self._ingester = ingester
        self._counts = counts
        self._absences = absences
        self._v1_records = v1_records
        self._pages_read = 0

    async def run(self, moved_place: int | None = None) -> SearchResult:
        """Request the count, and search once. If the search fails, the records that it has found are kept.

        `moved_place` is a place in the list (from 1) where an unexpected record was seen. Its page is read first, even
        if the count shows no difference.
        """
        if self._v1_records is not None:
            self._v1_records.uncertain.clear()
        counted = await self._counts.fetch_count()
        if counted.count is None:
            return SearchResult(SearchOutcome.NOTHING, 0)
        with SeenRecords(self._ingester, counted.requested_at) as seen:
            found = _FoundRecords()
            self._ingester.observers.append(found.observe)
            try:
                return await self._search(counted, moved_place, seen, found)
            except NotSortedError:
                return SearchResult(SearchOutcome.UNSORTED, 0)
            finally:
                self._ingester.observers.remove(found.observe)

    async def _search(
        self, counted: ApiCount, moved_place: int | None, seen: SeenRecords, found: "_FoundRecords"
    ) -> SearchResult:
        counts = await self._context.store.run(records_by_date.count_by_day, self._context.name)
        known = KnownCounts({day_of(completed_on): count for completed_on, count in counts.items()})
        total, size = counted.count or 0, self._reader.large_page
        bisection = Bisection(known, total, size, counted.served_at_ms, self._context.random)
        first = None if moved_place is None else (moved_place - 1) // size + 1
        max_pages = self._page_limit(total, size)
        ids: dict[int, array[int]] = {}
        self._pages_read = 0
        while (number := first or bisection.next_page()) is not None and len(ids) < max_pages:
            first = None
            page = await self._fetch(number)
            result = await self._ingester.ingest(page, DetectedBy.COUNT)
            bisection.add_changes(found.take())
            bisection.observe_page(number, _days_on(page), page.served_at_ms)
            ids[number] = result.ids
        gave_up = bisection.next_page() is not None
        missing: list[int] = []
        for changed in bisection.changed_ranges():
            if changed.excess < 0 and all(page in ids for page in _page_numbers(changed)):
                missing += await self._missing_ids(changed, ids, seen)
        examined = await self._absences.examine(
            missing, DetectedBy.COUNT, Priority.SEARCH, max_questions=self._context.limits.max_questions
        )
        if self._v1_records is not None and found.total == 0 and not missing:
            await self._request_equals_of_ends(self._v1_records)
        _log.info(
            "searched for changes of older records",
            extra={
                "source": self._context.name,
                "pages": self._pages_read,
                "found": found.total,
                "missing": len(missing),
            },
        )
        outcome = SearchOutcome.FOUND if found.total or missing else SearchOutcome.NOTHING
        if gave_up or examined.left:
            outcome = SearchOutcome.GAVE_UP
        return SearchResult(outcome, self._pages_read, found.total + len(missing), examined.left)

    async def _fetch(self, number: int) -> Page:
        """Fetch a page; fetch it again if it is not sorted, and raise NotSortedError if it still is not."""
        self._pages_read += 1
        page = await self._reader.fetch_whole(number, Priority.SEARCH)
        if _is_sorted(page):
            return page
        page = await self._reader.fetch_whole(number, Priority.SEARCH)
        if _is_sorted(page):
            return page
        raise NotSortedError

    def _page_limit(self, total: int, size: int) -> int:
        """Return how many pages a search may read: twice the binary logarithm of the page count, and some more."""
        return 2 * math.ceil(math.log2(max(2, total // size + 1))) + self._context.limits.spare_search_pages

    async def _missing_ids(self, changed: Range, ids: "dict[int, array[int]]", seen: SeenRecords) -> list[int]:
        """Return the ids of the known records in a range that no answer has contained since the search began."""
        older, newer = _stored_day(changed.older), _stored_day(min(changed.newer, _LATEST))
        between = await self._context.store.run(records_by_date.ids_between, self._context.name, older, newer or "")
        present = frozenset(chain.from_iterable(ids[number] for number in _page_numbers(changed)))
        missing = [id_ for id_ in between if id_ not in present and id_ not in seen]
        if not missing or (len(missing) <= -changed.excess and changed.first_page == changed.last_page):
            return missing
        # A record that moved from one page to another between two requests may be on neither.
        for number in _page_numbers(changed):
            await self._ingester.ingest(await self._fetch(number), DetectedBy.COUNT)
        return [id_ for id_ in missing if id_ not in seen]

    async def _request_equals_of_ends(self, v1_records: V1Records) -> None:
        """For the first and the last record of each page that was read, request all records with the same content.

        Some of these records may be on pages that were not read.
        """
        uncertain = [*v1_records.uncertain.values()][: self._context.limits.max_questions]
        for user_id, training_id in dict.fromkeys(uncertain):
            answer = await self._reader.ask_precise_question(
                Priority.SEARCH, user_id=user_id, training_id=training_id, all_pages=True
            )
            if answer is not None:
                await self._ingester.ingest_precise(answer, (), None, DetectedBy.COUNT)


class _FoundRecords:
    """Collects the records that become known, change or are gone during a search, whichever request shows this."""

    def __init__(self) -> None:
        self.total = 0
        self._changes: list[CountChange] = []

    def observe(self, result: IngestResult) -> None:
        self.total += len(result.learned) + len(result.changes)
        for learned in result.learned:
            self._changes.append(_arrival(learned.completion))
        for change in result.changes:
            match change.type:
                case EventType.CREATED:
                    self._changes.append(_arrival(change.completion))
                case EventType.REMOVED:
                    self._changes.append(CountChange(day_of(change.completion.completed_on), None, -1))
                case EventType.UPDATED if change.previous is not None:
                    self._changes.append(CountChange(day_of(change.completion.completed_on), None))
                    self._changes.append(CountChange(day_of(change.previous.completed_on), None, -1))

    def take(self) -> Sequence[CountChange]:
        """Return the changes since the previous call.

        An updated record counts as gone from its previous date, and as new on its present date.
        """
        taken, self._changes = self._changes, []
        return taken


def _arrival(completion: Completion) -> CountChange:
    return CountChange(day_of(completion.completed_on), completion.recorded_at)


def _page_numbers(changed: Range) -> Iterable[int]:
    return range(changed.first_page, changed.last_page + 1)


def _days_on(page: Page) -> list[Day | None]:
    """Return the days of a page's records in their order, with None for each unreadable record."""
    return [None if record is None else day_of(record.completed_on) for record in page.in_order()]


def _is_sorted(page: Page) -> bool:
    dated = [day for day in _days_on(page) if day is not None]
    return dated == sorted(dated, reverse=True)


def _stored_day(day: Day) -> str | None:
    """Return an end of a range in the form that the store's queries use.

    This is a date, "" for the place after all dates, or None for the end of the list.
    """
    if day <= 0:
        return None if day < 0 else ""
    return f"{day // 10000:04}-{day // 100 % 100:02}-{day % 100:02}"
