"""Finds by bisection where the list has changed. Pure functions and values.

If the API's count differs from the known records, a record was entered or deleted somewhere. The list is sorted by
completion date, newest first. At each place where the date changes, two numbers are known: the API's records above that
place, and the known records that belong there. Their difference is the *excess*. If it differs between the two ends of
a range, the range contains a change. Records that polls find during the search count as known.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, pairwise

from msgspec import Struct

Day = int
"""A completion date as the number `yyyymmdd`, which is fast to compare."""

UNDATED: Day = 0
"""The day of a record without a completion date; such records come after all dates."""

_MANY = 3
_TOP: Day = 100_000_000
_END: Day = -1


class NotSortedError(Exception):
    """The list is not in the documented order, so places in it prove nothing."""


def day_of(completed_on: str | None) -> Day:
    """Return the day of a completion date as `Completion` has it (`YYYY-MM-DD` or None)."""
    return UNDATED if completed_on is None else int(completed_on.replace("-", ""))


class Range(Struct, frozen=True):
    """A range of the list: the records completed after `older`, and on or before `newer`.

    `excess` is the number of records that the API has, minus the number of known ones. The records are on the pages
    from `first_page` to `last_page`.
    """

    newer: Day
    older: Day
    excess: int
    first_page: int
    last_page: int


class CountChange(Struct, frozen=True):
    """A record that became known, or is gone, since the search began.

    `day` is its completion date, and `entered_ms` its time of entry (Unix ms; None: unknown). `count` is 1 for a record
    that became known, -1 for one that is gone.
    """

    day: Day
    entered_ms: int | None
    count: int = 1


class _Boundary(Struct, frozen=True):
    """A place in the list between two days.

    `above` is how many records were above the place at the moment `at_ms` (Unix ms of the server's clock).
    """

    above: int
    at_ms: int | None


class KnownCounts:
    """The number of known records for each completion date."""

    def __init__(self, counts: Mapping[Day, int]) -> None:
        self._counts = dict(counts)
        self._sort()

    @property
    def records(self) -> int:
        """The total number of known records."""
        return self._above[-1]

    def change(self, moved: Mapping[Day, int]) -> None:
        """Add the numbers in `moved` to the counts.

        A number is positive for records that became known, and negative for records that are gone.
        """
        if not any(moved.values()):
            return
        for day, more in moved.items():
            self._counts[day] = self._counts.get(day, 0) + more
        self._sort()

    def newer_than(self, day: Day) -> int:
        """Return the number of known records whose completion date is after `day`."""
        return self._above[bisect_left(self._newest_first, -day)]

    def _sort(self) -> None:
        days = sorted(self._counts, reverse=True)
        self._newest_first = [-day for day in days]
        self._above = list(accumulate((self._counts[day] for day in days), initial=0))


class Bisection:
    """One search through a list of `total` records on pages of `size`.

    `total` is what the API stated at `at_ms` (Unix ms). `random` returns a random number in [0, 1).

    While `next_page` returns a number, read that page, and call `add_changes` and `observe_page` (with None as the day
    of an unreadable record). Afterwards, `changed_ranges` yields the ranges with more or fewer records than are known.
    """

    def __init__(
        self,
        known: KnownCounts,
        total: int,
        size: int,
        at_ms: int | None = None,
        random: Callable[[], float] = lambda: 1 / 2,
    ) -> None:
        self._random = random
        self._known = known
        self._size = size
        self._pages: set[int] = set()
        self._changes: list[CountChange] = []
        # For each day, the place above its first record, or above where that record would be.
        self._places: dict[Day, _Boundary] = {_TOP: _Boundary(0, None), _END: _Boundary(total, at_ms)}

    def observe_page(self, number: int, days: Sequence[Day | None], at_ms: int | None = None) -> None:
        """Record where the days change on page `number` (from 1). Raises NotSortedError.

        The server sent the page at `at_ms` (Unix ms).
        """
        self._pages.add(number)
        dated = [day for day in days if day is not None]
        if any(newer < older for newer, older in pairwise(dated)):
            raise NotSortedError
        above = (number - 1) * self._size
        for place, (newer, older) in enumerate(pairwise(days), start=above + 1):
            if newer is not None and older is not None and newer != older:
                self._places[older] = _Boundary(place, at_ms)

    def add_changes(self, changes: Iterable[CountChange]) -> None:
        """Update the known counts with the `changes` since the previous call, whichever request has shown them."""
        moved: dict[Day, int] = {}
        for change in changes:
            self._changes.append(change)
            moved[change.day] = moved.get(change.day, 0) + change.count
        self._known.change(moved)

    def next_page(self) -> int | None:
        """Return the page to read next; None if all pages of the changed ranges were read.

        The page is in the range with the greatest change per unread page; of several such ranges, the newest is
        taken. Usually, the middle unread page of the range is returned. If the range has many changes, a random unread
        page is returned.
        """
        best: list[int] = []
        most, excess = 0.0, 0
        for changed in self.changed_ranges():
            unread = [page for page in range(changed.first_page, changed.last_page + 1) if page not in self._pages]
            if unread and abs(changed.excess) / len(unread) > most:
                best, most, excess = unread, abs(changed.excess) / len(unread), abs(changed.excess)
        if not best:
            return None
        # A random page helps if many records change all the time: the same middle pages would show nothing each time.
        place = self._random() if excess >= _MANY else 1 / 2
        return best[int(place * len(best))]

    def changed_ranges(self) -> Iterable[Range]:
        """Yield the ranges in which the list has more or fewer records than are known, newest first."""
        places = sorted(self._places.items(), reverse=True)
        excesses = [place.above - self._expected_above(day, place.at_ms) for day, place in places]
        for ((newer, upper), (older, lower)), (before, after) in zip(pairwise(places), pairwise(excesses), strict=True):
            if before != after:
                # If the list moved between two requests, the lower place may now be above the upper one.
                last = max(lower.above, upper.above + 1) - 1
                first = max(0, upper.above) // self._size + 1
                yield Range(newer, older, after - before, first, max(first, last // self._size + 1))

    def _expected_above(self, day: Day, at_ms: int | None) -> int:
        """Return how many known records that are newer than `day` were in the list at the moment `at_ms`.

        A record that was entered after `at_ms` is not counted, even if it is known by now.
        """
        later = 0
        if at_ms is not None:
            later = sum(
                change.count
                for change in self._changes
                if change.day > day and change.entered_ms is not None and change.entered_ms > at_ms
            )
        return self._known.newer_than(day) - later
