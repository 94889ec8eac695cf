"""Splits the API's count into existing records, unreadable ones, the API's own error, and a rest. Pure.

The notifier searches for the cause of the rest. If whole sweeps leave the same rest for long enough, the rest is taken
for the API's own error, and later count checks subtract it.
"""

from collections import deque

from msgspec import Struct, field

from notifier.kpa.client import Page


class CountBounds(Struct, frozen=True):
    """The number of records according to a page: at least `least`, at most `most`; None means no upper bound."""

    least: int
    most: int | None

    @property
    def exact(self) -> int | None:
        """The exact number; None if it is not certain."""
        return self.least if self.least == self.most else None


def count_bounds(page: Page, *, believe_total: bool = True) -> CountBounds:
    """Return the bounds that a page proves for the number of records in the list.

    `paging.total` is not documented for these lists. It is ignored if it contradicts the number of the last page, or
    the number of records up to this page's end.
    """
    above, last = (page.number - 1) * page.limit, page.last_page
    least = above + page.size if page.size else 0
    if believe_total and page.total is not None and page.total >= least and not contradicts_total(page):
        return CountBounds(page.total, page.total)
    if page.size == 0:
        return _bounds_of_empty_page(page.number, page.limit, last)
    if last == page.number or (last is None and page.size < page.limit):
        return CountBounds(least, least)
    if last is None:
        return CountBounds(least, None)
    return CountBounds(max((last - 1) * page.limit + 1, least), max(last * page.limit, least))


def contradicts_total(page: Page) -> bool:
    """Return whether a page states a `paging.total` and a number of the last page that contradict each other."""
    if page.total is None or page.last_page is None:
        return False
    return page.last_page != max(1, -(-page.total // page.limit))


def _bounds_of_empty_page(number: int, limit: int, last: int | None) -> CountBounds:
    """Return the bounds according to an empty page, for example one beyond the end of the list."""
    if number == 1 and (last is None or last <= 1):
        return CountBounds(0, 0)
    if last is None or last >= number:
        return CountBounds(0, None)
    # The list may have only one page, and that one may be empty.
    return CountBounds((last - 1) * limit + 1 if last > 1 else 0, last * limit)


def page_cap(page: Page, count: int | None) -> int | None:
    """Return the API's own limit of records per page; None if it is not proven to be below the requested limit.

    `count` is the exact number of records in the list. Together with the number of pages, it proves the limit.
    """
    if page.number != 1 or page.last_page is None or not 0 < page.size < page.limit or count is None:
        return None
    return page.size if page.last_page > 1 and page.last_page == -(-count // page.size) else None


class Balance(Struct, frozen=True):
    """The API's count compared with the known records."""

    existing: int
    """The number of known records that are not removed."""
    unreadable: int
    """The number of unreadable records that are not known, because they were never readable."""
    offset: int
    """The proven error of the API's count (positive: it is too high)."""
    leaving: int
    """The number of existing records whose removal waits for a second look."""
    held: int
    """The number of existing records whose removal is held back."""
    returning: int
    """The number of removed records that seem to be back."""
    count: int | None
    """The API's count; None if it is not exact."""

    @property
    def difference(self) -> int:
        """The API's count minus `existing`, `unreadable` and `offset`; 0 if the count is not exact."""
        return 0 if self.count is None else self.count - self.existing - self.unreadable - self.offset

    @property
    def unexplained(self) -> int:
        """The difference without the part that `leaving`, `held` and `returning` records explain."""
        if self.count is None:
            return 0
        return self.difference + self.leaving + self.held - self.returning

    @property
    def max_gone(self) -> int | None:
        """How many known records can be gone at most according to the count; None if the count is not exact."""
        return None if self.count is None else max(0, self.returning - self.difference)

    @property
    def max_newly_gone(self) -> int | None:
        """`max_gone` without the `leaving` records; None if `max_gone` is None."""
        return None if self.max_gone is None else max(0, self.max_gone - self.leaving)


def accepted_offset(unexplained: int, left_over: int | None, offset: int, *, has_lasted: bool) -> int:
    """Return the assumed error of the API's count, after a whole sweep that left a difference of `unexplained` records.

    `offset` is the error assumed so far. `left_over` is the difference that the previous whole sweep left; None if that
    difference has been explained. If both sweeps left the same difference, and it `has_lasted`, it is added to the
    assumed error. The difference has to last, because a list may lag behind the count for some minutes.
    """
    return offset + unexplained if has_lasted and unexplained and unexplained == left_over else offset


class SearchTiming(Struct):
    """Decides when to search for the cause of a count difference.

    The first search begins at once. After each one that finds nothing, the next waits longer: from `first_wait_seconds`
    up to `longest_wait_seconds`. If the difference changes, the wait is `first_wait_seconds` at most.
    """

    first_wait_seconds: float
    longest_wait_seconds: float
    _difference: int = 0
    _not_before: float = 0.0
    _wait_seconds: float = 0.0
    _rest_until: float = 0.0

    def is_due(self, difference: int, now: float) -> bool:
        """Return whether to search now for the cause of `difference`; `now` is in monotonic seconds."""
        if difference == 0:
            return False
        if difference != self._difference:
            # The difference has changed, so the wait is shortened to `first_wait_seconds` at most. It is not skipped: a
            # difference that keeps changing must not cause a search each time.
            self._wait_seconds = 0.0
            self._not_before = min(self._not_before, now + self.first_wait_seconds) if self._difference else 0.0
            self._difference = difference
        return now >= max(self._not_before, self._rest_until)

    def note_search_end(self, now: float, *, found: bool, rest_seconds: float = 0.0) -> None:
        """Record the end of a search; `found` says whether it has found anything.

        The next search waits for at least `rest_seconds`. If nothing was found, it waits for at least
        `first_wait_seconds`, doubled with each further search that finds nothing, up to `longest_wait_seconds`.
        """
        self._wait_seconds = (
            0.0 if found else min(self.longest_wait_seconds, max(self.first_wait_seconds, 2 * self._wait_seconds))
        )
        self._not_before, self._rest_until = now + self._wait_seconds, now + rest_seconds

    def clear(self) -> None:
        """Forget the difference and the wait before the next search, because the count is explained."""
        self._difference, self._not_before, self._wait_seconds = 0, 0.0, 0.0


def sweep_is_affordable(pages: int, since_last_seconds: float, seconds_a_page: float) -> bool:
    """Return whether another sweep may start `since_last_seconds` after the last one.

    It may start once `seconds_a_page` have passed for each of the last sweep's `pages`.
    """
    return since_last_seconds >= pages * seconds_a_page


class _Sample(Struct, frozen=True):
    """A count difference at one moment.

    `found` is the number of records that requests other than head polls had found until then.
    """

    at_ms: int
    difference: int
    found: int


class UnexplainedAge(Struct):
    """Measures for how long a count difference has been unexplained, even while the difference changes.

    A difference of n records is explained when it is gone, or when n suitable records were found since it was first
    seen. Missing records are suitable if the API counts too few, new records if the API counts too many.
    """

    _samples: deque[_Sample] = field(default_factory=deque)

    def note(self, difference: int, found: int, now_ms: int) -> int | None:
        """Return since when (Unix ms) the difference has been unexplained; None if the difference is 0.

        `found` counts what requests other than head polls have found so far: new records if `difference` is positive,
        missing records if it is negative.
        """
        if difference == 0:
            self._samples.clear()
            return None
        if self._samples and (self._samples[0].difference > 0) != (difference > 0):
            self._samples.clear()
        while self._samples and found - self._samples[0].found >= abs(self._samples[0].difference):
            self._samples.popleft()
        if not self._samples or self._samples[-1].difference != difference or self._samples[-1].found != found:
            self._samples.append(_Sample(now_ms, difference, found))
        return self._samples[0].at_ms

    def restore(self, difference: int, since_ms: int | None) -> None:
        """Restore the count difference that the previous run left, and since when (Unix ms) it has been unexplained."""
        self._samples.clear()
        if difference and since_ms is not None:
            self._samples.append(_Sample(since_ms, difference, 0))


class SweepCheckpoint(Struct, frozen=True):
    """The state of a sweep at one moment.

    It has the API's count, the last page that was read, and the number of records found by head polls.
    """

    count: int
    page: int
    found: int


def page_to_repeat(checkpoint: SweepCheckpoint, now: SweepCheckpoint, size: int) -> int | None:
    """Return the page (of `size` records) from which a sweep has to read again; None if it can continue.

    A deletion above the sweep's current page moves the first record of the next page to a page that was already read.
    Such a deletion shows in the count, which has then grown by less than the number of new records.
    """
    gone = (now.found - checkpoint.found) - (now.count - checkpoint.count)
    return max(1, checkpoint.page - (gone - 1) // size) if gone > 0 else None
