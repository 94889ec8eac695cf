"""Reads pages of one source's list, and asks precise questions: for all records of a person or a training."""

import asyncio
import logging
from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from typing import Final, Protocol

from msgspec import Struct

from notifier.events import Completion
from notifier.kpa.client import Client, Page
from notifier.kpa.errors import ApiError, ApiErrorReason
from notifier.kpa.rate_limiter import Priority
from notifier.kpa.versions import InvalidRecord
from notifier.watch.page_parts import join_parts, larger_size, smaller_size, too_large_record_page
from notifier.watch.source_context import SourceContext

_log = logging.getLogger(__name__)


class PageFault(StrEnum):
    """Problems of a page that weaken its evidence about missing records, or about the places of records."""

    SHORT = "short"
    LONG = "long"
    REPEATED_RECORD = "record_twice"
    UNSORTED = "not_sorted_by_date"


def page_fault(page: Page) -> PageFault | None:
    """Return the first problem that weakens the evidence of a page; None if there is no such problem."""
    if page.size > page.limit:
        return PageFault.LONG
    if page.size < page.limit and not page.is_last:
        return PageFault.SHORT
    if any(bad.is_repeated for bad in page.bad):
        return PageFault.REPEATED_RECORD
    days = [day or "" for day in page.days]
    if days != sorted(days, reverse=True):
        return PageFault.UNSORTED
    return None


_UNUSABLE: Final = (PageFault.SHORT, PageFault.LONG, PageFault.REPEATED_RECORD)
"""A page with one of these problems cannot prove that a record is missing. A page that is only unsorted can."""

_SAYS: Final = {
    PageFault.SHORT: "it has {page.size} of {page.limit} records and is not the last",
    PageFault.LONG: "it has {page.size} records where {page.limit} were asked for",
    PageFault.REPEATED_RECORD: "it has a record twice",
    PageFault.UNSORTED: "it is not in the order of completion dates",
}


def page_not_whole_error(page: Page, fault: PageFault) -> ApiError:
    """Return the ApiError `page_not_whole` that describes this problem of a page."""
    return ApiError(ApiErrorReason.PAGE_NOT_WHOLE, f"page {page.number}: {_SAYS[fault].format(page=page)}")


def unreadable_page_error(page: Page) -> ApiError | None:
    """Return an ApiError if more than half of the page's records are unreadable, else None."""
    bad = [record for record in page.bad if not record.is_repeated]
    if 2 * len(bad) <= page.size:
        return None
    return ApiError(ApiErrorReason.RECORDS_UNREADABLE, f"{len(bad)} of {page.size}, the first: {bad[0].problem}")


class PreciseAnswer(Struct, frozen=True):
    """The answer to a precise question: all records of a person, a training, or both.

    The question was for the records of `user_id` and `training_id` (None: any).
    """

    completions: Sequence[Completion]
    bad: Sequence[InvalidRecord]
    requested_at: float
    """When the first page was requested."""
    is_whole: bool = True
    """Whether the list stayed the same while its pages were read. If it changed, missing records may still exist."""
    user_id: str | None = None
    training_id: str | None = None

    @property
    def size(self) -> int:
        """The number of records, including the unreadable ones."""
        return len(self.completions) + len(self.bad)

    def unreadable_keys(self) -> set[str]:
        """Return the keys of the unreadable records in the answer."""
        return {bad.key for bad in self.bad if bad.key is not None}

    @property
    def has_unidentified_record(self) -> bool:
        """Whether the answer has an unreadable record without a key, which may be any of the known records."""
        return any(bad.key is None for bad in self.bad)


class SourceReader:
    """Reads pages of one source's list. Raises ApiError."""

    def __init__(self, context: SourceContext, client: Client) -> None:
        self._context = context
        self._client = client
        self._working_sizes: dict[int, _WorkingSize] = {}
        self._timed_out: set[int] = set()
        self._too_large: set[int] = set()

    @property
    def large_page(self) -> int:
        """The number of records on a page of a sweep or a search, which is the API's maximum."""
        return self._context.health.memory.page_cap or self._context.limits.large_page

    async def fetch(self, number: int, priority: Priority, limit: int | None = None, *, skim: bool = False) -> Page:
        """Return a page of at most `limit` records (None: the API's maximum), even an incomplete or unsorted one.

        With `skim`, only the keys and days of the records are read, if that is possible.
        """
        return await self._page(number, limit or self.large_page, priority, skim=skim)

    async def fetch_whole(self, number: int, priority: Priority, *, skim: bool = False) -> Page:
        """Return a page as `fetch` does, but retry if it is incomplete.

        Raises ApiError `page_not_whole` if the page is incomplete in every attempt.
        """
        for _ in range(self._context.limits.page_tries - 1):
            page = await self.fetch(number, priority, skim=skim)
            if page_fault(page) not in _UNUSABLE:
                return page
        page = await self.fetch(number, priority, skim=skim)
        fault = page_fault(page)
        if fault in _UNUSABLE:
            raise page_not_whole_error(page, fault)
        return page

    async def ask_precise_question(
        self, priority: Priority, *, user_id: str | None = None, training_id: str | None = None, all_pages: bool = False
    ) -> PreciseAnswer | None:
        """Return all records of a person, a training, or both, from all pages.

        Without `all_pages`, returns None if there are more than `max_question_pages` pages. If the list changes while
        its pages are read, all pages are read again, in at most `page_tries` attempts. If the list changed in every
        attempt, the answer has the records of all attempts. For v1, it has only those of the last attempt.
        """
        readings: list[list[Page]] = []
        fit = False
        for _ in range(self._context.limits.page_tries):
            pages = [await self._precise_page(1, priority, user_id, training_id)]
            if not all_pages and (pages[0].last_page or 1) > self._context.limits.max_question_pages:
                return None
            while not pages[-1].is_last:
                pages.append(await self._precise_page(len(pages) + 1, priority, user_id, training_id))
            fit = self._is_consistent(pages, readings[-1] if readings else None)
            readings = [pages] if fit or self._is_v1 else [*readings, pages]
            if fit:
                break
        read = [page for pages in readings for page in pages]
        completions = [completion for page in read for completion in page.completions]
        if not fit and not self._is_v1:
            completions = [*{completion.key: completion for completion in completions}.values()]
        bad = [record for page in read for record in page.bad]
        return PreciseAnswer(completions, bad, read[0].requested_at, fit, user_id, training_id)

    async def count_omitted(self, answer: PreciseAnswer, priority: Priority) -> int | None:
        """Return how many records are missing from this `answer`, according to the API's count for the same question.

        The request is for pages of one record, because the number of the last page is then the count. Returns None if
        the API states no count.
        """
        page = await self._page(1, 1, priority, answer.user_id, answer.training_id)
        if page.last_page is None:
            return None
        # An empty list has a page, too.
        count = 0 if page.last_page == 1 and page.size == 0 else page.last_page
        return count - answer.size

    def _is_consistent(self, pages: Sequence[Page], before: Sequence[Page] | None) -> bool:
        """Return whether the list stayed the same while these pages were read.

        One attempt does not show this if a page was read in parts, or if a record without an id occurs twice. In these
        cases, the previous attempt (`before`) must have had the same keys.
        """
        if len({page.last_page for page in pages}) > 1:
            return False
        keys = _keys(pages)
        may_have_moved = self._is_v1 and len(pages) > 1 and len(keys) > len(set(keys))
        must_be_repeated = may_have_moved or any(page.parts > 1 for page in pages)
        if must_be_repeated and (before is None or _keys(before) != keys):
            return False
        return self._is_v1 or len(keys) == len(set(keys))

    @property
    def _is_v1(self) -> bool:
        """Whether the API version is v1, which has no record ids."""
        return self._context.settings.api == "v1"

    async def _precise_page(
        self, number: int, priority: Priority, user_id: str | None, training_id: str | None
    ) -> Page:
        page = await self._page(number, self.large_page, priority, user_id, training_id)
        fault = page_fault(page)
        if fault in _UNUSABLE:
            raise page_not_whole_error(page, fault)
        return page

    async def _page(
        self,
        number: int,
        limit: int,
        priority: Priority,
        user_id: str | None = None,
        training_id: str | None = None,
        *,
        skim: bool = False,
    ) -> Page:
        """Return a page. If one answer would be too large or too slow, the page is read in smaller parts.

        The size of the parts is remembered: for hours if answers were too large, for minutes if answers were late. A
        record that is too large even on a page of its own counts as unreadable.
        """
        fitting = self._working_sizes.get(limit)
        size = limit if fitting is None else fitting.size
        if fitting is not None and self._context.clock.monotonic() >= fitting.until:
            size = larger_size(limit, size)
        fetch = partial(self._client.page, priority=priority, user_id=user_id, training_id=training_id, skim=skim)
        page, worked = await self._fetch_in_parts(number, limit, size, fetch)
        if page.parts > 1 and self._is_v1:
            # Without ids, a record that moved from one part to the next looks like two equal records.
            again, _ = await self._fetch_in_parts(number, limit, min(worked, size), fetch)
            if _keys([again]) != _keys([page]):
                raise page_not_whole_error(page, PageFault.REPEATED_RECORD)
        if worked < size or (fitting is not None and size != fitting.size):
            self._remember_size(limit, min(worked, size))
        return page

    async def _fetch_in_parts(self, number: int, limit: int, size: int, fetch: "_Fetch") -> tuple[Page, int]:
        """Return a page read in parts of at most `size` records, and the largest size that worked."""
        if size == limit:
            requested_at = asyncio.get_running_loop().time()
            try:
                page = await fetch(number, limit=limit)
            except ApiError as failure:
                seconds = asyncio.get_running_loop().time() - requested_at
                if failure.reason is ApiErrorReason.ANSWER_TOO_LARGE and limit == 1:
                    return too_large_record_page(number, requested_at, seconds), 0
                await self._check_smaller_pages_can_help(failure, number, limit, fetch)
            else:
                self._timed_out.discard(limit)
                self._too_large.discard(limit)
                return page, limit
            size = smaller_size(limit)
        parts: list[Page] = []
        worked = 0
        ratio = limit // size
        for part in range((number - 1) * ratio + 1, number * ratio + 1):
            page, fits = await self._fetch_in_parts(part, size, size, fetch)
            parts.append(page.parsed())
            worked = max(worked, fits)
            if page.is_last:
                break
        return join_parts(number, limit, parts, has_ids=self._context.settings.api != "v1"), worked

    async def _check_smaller_pages_can_help(self, failure: ApiError, number: int, limit: int, fetch: "_Fetch") -> None:
        """Record that a page of `limit` records failed. If smaller pages are unlikely to help, raise the failure."""
        if failure.reason not in _TOO_MUCH or limit == 1:
            raise failure
        if failure.reason is ApiErrorReason.ANSWER_TOO_LARGE:
            self._too_large.add(limit)
            return
        if limit not in self._timed_out:
            # One late answer may be caused by the network. Only a second one in a row shows that the page is too large.
            self._timed_out.add(limit)
            raise failure
        # If not even one record arrives in time, smaller pages do not help.
        await self._require_one_record(fetch, (number - 1) * limit + 1, failure)

    async def _require_one_record(self, fetch: "_Fetch", place: int, failure: ApiError) -> None:
        try:
            await fetch(place, limit=1)
        except ApiError as second:
            if second.reason is ApiErrorReason.TIMEOUT:
                raise failure from second
            if second.reason is not ApiErrorReason.ANSWER_TOO_LARGE:
                raise

    def _remember_size(self, limit: int, size: int) -> None:
        before = self._working_sizes.get(limit)
        if size >= limit:
            self._working_sizes.pop(limit, None)
        else:
            limits = self._context.limits
            seconds = limits.smaller_pages_seconds if self._too_large else limits.slow_pages_seconds
            self._working_sizes[limit] = _WorkingSize(max(1, size), self._context.clock.monotonic() + seconds)
        if before is None or before.size != size:
            _log.warning(
                "answers are too large or too slow; smaller pages are asked for"
                if size < limit
                else "pages of the full size can be read again",
                extra={"source": self._context.name, "records": max(1, size), "limit": limit},
            )


def _keys(pages: Sequence[Page]) -> list[str]:
    return [completion.key for page in pages for completion in page.completions]


class _Fetch(Protocol):
    """Fetches one page of one size."""

    async def __call__(self, number: int, *, limit: int) -> Page: ...


class _WorkingSize(Struct, frozen=True):
    """A page size that works after a larger one failed. A larger size is tried from `until` on (monotonic seconds)."""

    size: int
    until: float


_TOO_MUCH: Final = (ApiErrorReason.ANSWER_TOO_LARGE, ApiErrorReason.TIMEOUT)
