"""Where in the list did it change? Bisection over a list that is sorted by completion date. Pure decisions.

The API says how many records there are; the ledger knows how many there should be. When the two differ and the head
of the list does not explain it, something was entered or deleted out of sight. The list is sorted by completion date,
newest first, in any order within a date. So on a page that was read, wherever one date follows another, the number of
records above that place is known exactly, and so is how many the ledger would have there: their difference, the
*surplus*, is the net change above. Where the surplus differs at both ends of a stretch, the change is inside it.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

Day = int
"""A completion date as the number `yyyymmdd`, so that comparing is cheap."""

UNDATED: Day = 0
"""Stands for a missing completion date, which sorts after all dates."""

_TOP: Day = 100_000_000
_END: Day = -1


class NotSortedError(Exception):
    """The list is not in the order that the documentation promises: nothing can be concluded from places in it."""


def day_of(completed_on: str | None) -> Day:
    """Return the day of a completion date as `Completion` has it (`YYYY-MM-DD` or None)."""
    return UNDATED if completed_on is None else int(completed_on.replace("-", ""))


@dataclass(frozen=True, slots=True)
class Stretch:
    """The records between two places: those completed after `older` and up to `newer`.

    `surplus` is by how many more (or, below zero, fewer) the API has than are known. `first_page` and `last_page` are
    the pages that hold its records.
    """

    newer: Day
    older: Day
    surplus: int
    first_page: int
    last_page: int


class KnownDays:
    """How many known records each completion date has."""

    def __init__(self, counts: Mapping[Day, int]) -> None:
        self._counts = dict(counts)
        self._sort()

    @property
    def records(self) -> int:
        """How many there are in all."""
        return self._above[-1]

    def change(self, moved: Mapping[Day, int]) -> None:
        """Take note of records that became known (more than zero) or ceased to be (less)."""
        if not any(moved.values()):
            return
        for day, more in moved.items():
            self._counts[day] = self._counts.get(day, 0) + more
        self._sort()

    def newer_than(self, day: Day) -> int:
        """Count those that were completed after a day."""
        return self._above[bisect_left(self._newest_first, -day)]

    def _sort(self) -> None:
        days = sorted(self._counts, reverse=True)
        self._newest_first = [-day for day in days]
        self._above = list(accumulate((self._counts[day] for day in days), initial=0))


class Locator:
    """One search through a list of `total` records on pages of `size`.

    Ask `next_page`, read it, tell `observe_page` and `learn`, until there is none; then `changed` names the stretches
    that were read whole and still differ. The day of a record that cannot be read is None.
    """

    def __init__(self, known: KnownDays, total: int, size: int) -> None:
        self._known = known
        self._size = size
        self._pages: set[int] = set()
        # For each day the number of records above the first one of that day or, where it has none, above its place.
        self._above: dict[Day, int] = {_TOP: 0, _END: total}

    def observe_page(self, number: int, days: Sequence[Day | None], *, moved: int = 0) -> None:
        """Take note of page `number` (from 1), read when the list had moved down by so many records.

        Raises NotSortedError.
        """
        self._pages.add(number)
        self._observe((number - 1) * self._size - moved, days)

    def _observe(self, above: int, days: Sequence[Day | None]) -> None:
        dated = [day for day in days if day is not None]
        if any(newer < older for newer, older in pairwise(dated)):
            raise NotSortedError
        for place, (newer, older) in enumerate(pairwise(days), start=above + 1):
            if newer is not None and older is not None and newer != older:
                self._above[older] = place

    def learn(self, moved: Mapping[Day, int]) -> None:
        """Take note of what the ledger learned from the pages that were read."""
        self._known.change(moved)

    def next_page(self) -> int | None:
        """Return the page to read next, the middle one of what is not read of a stretch that changed, or None."""
        for stretch in self.changed():
            unread = [page for page in range(stretch.first_page, stretch.last_page + 1) if page not in self._pages]
            if unread:
                return unread[len(unread) // 2]
        return None

    def changed(self) -> Iterable[Stretch]:
        """Yield the stretches that hold a net change, the newest first."""
        places = sorted(self._above.items(), reverse=True)
        surpluses = [above - self._known.newer_than(day) for day, above in places]
        for ((newer, upper), (older, lower)), (before, after) in zip(
            pairwise(places), pairwise(surpluses), strict=True
        ):
            if before != after:
                # Where the list moved between two readings, the lower place may have come to stand above the upper.
                last = max(lower, upper + 1) - 1
                first = max(0, upper) // self._size + 1
                yield Stretch(newer, older, after - before, first, max(first, last // self._size + 1))
