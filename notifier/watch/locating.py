"""Locates what the count check has noticed: inserts and deletions out of sight, in a handful of requests."""

import logging
from itertools import chain
from typing import TYPE_CHECKING

from notifier.completions import Net
from notifier.kpa.budget import Urgency
from notifier.kpa.client import Page
from notifier.ledger import days
from notifier.ledger.ledger import Ledger
from notifier.watch.count import told_by
from notifier.watch.health import SourceHealth
from notifier.watch.reader import Reader
from notifier.watch.removals import Removals
from notifier.watch.stretches import Day, KnownDays, Locator, NotSortedError, Stretch, day_of

if TYPE_CHECKING:
    from array import array

_log = logging.getLogger(__name__)

_MOST_TRIES = 3
"""Searches through a list that keeps moving, before a sweep has to do."""

_LATEST: Day = 9999_12_31


class Location:
    """Searches one source's list for changes out of sight."""

    def __init__(self, source: str, reader: Reader, removals: Removals, ledger: Ledger, health: SourceHealth) -> None:
        self._source = source
        self._reader = reader
        self._removals = removals
        self._ledger = ledger
        self._health = health

    async def run(self, total: int | None, look_first: int | None = None) -> bool:
        """Search until the known records account for the API's count; `total` is that count where it is exact.

        `look_first` is a page on which the list is known to have moved, whatever its count says. Returns False where
        the count stays unexplained, or nothing was found. Raises ApiFailure and LedgerError; what was found until then
        stays.
        """
        found = False
        for _ in range(_MOST_TRIES):
            if total is None:
                total = await self._reader.count()
            if total is None or (look_first is None and await self._is_accounted_for(total)):
                return total is not None
            try:
                found |= await self._search(total, look_first)
            except NotSortedError:
                _log.warning(
                    "places tell nothing: the list is not sorted by date, or its pages are not full",
                    extra={"source": self._source},
                )
                return False
            look_first = None
            if await self._is_accounted_for(total):
                return found
            before, total = total, await self._reader.count()
            if total == before:
                return await self._is_accounted_for(total)
        return False

    async def _is_accounted_for(self, total: int) -> bool:
        return (await self._health.refresh()).expected == total

    async def _search(self, total: int, look_first: int | None) -> bool:
        """Search once; tell whether there was anything to be found."""
        counts = await self._ledger.run(days.counts, self._source)
        known = KnownDays({day_of(completed_on): count for completed_on, count in counts.items()})
        locator = Locator(known, total, self._reader.large_page)
        ids: dict[int, array[int]] = {}
        found = 0
        while (number := look_first or locator.next_page()) is not None:
            look_first = None
            page = await self._reader.fetch(number, Urgency.LOCATION)
            locator.observe_page(number, _days_on(page), moved=_moved_since(total, page))
            taken = await self._reader.take(page, Net.COUNT)
            locator.learn(taken.moved())
            ids[number] = taken.ids
            found += len(taken.learned) + len(taken.changes)
        suspects: list[int] = []
        for stretch in locator.changed():
            suspects += await self._missing(stretch, ids)
        _log.info(
            "searched for changes out of sight",
            extra={"source": self._source, "pages": len(ids), "found": found, "missing": len(suspects)},
        )
        if suspects:
            await self._removals.settle(suspects, Net.COUNT, Urgency.LOCATION)
        return found > 0 or len(suspects) > 0

    async def _missing(self, stretch: Stretch, ids: "dict[int, array[int]]") -> list[int]:
        """Return the known records that should stand in a stretch and were on none of its pages."""
        older, newer = _iso(stretch.older), _iso(min(stretch.newer, _LATEST))
        between = await self._ledger.run(days.ids_between, self._source, older, newer or "")
        pages = range(stretch.first_page, stretch.last_page + 1)
        present = frozenset(chain.from_iterable(ids[number] for number in pages if number in ids))
        return [id_ for id_ in between if id_ not in present]


def _days_on(page: Page) -> list[Day | None]:
    """Return the days of a page's records in order. Raises NotSortedError where their places cannot be told."""
    if page.size < page.limit and not page.is_last:
        raise NotSortedError
    return [None if record is None else day_of(record.completed_on) for record in page.in_order()]


def _moved_since(total: int, page: Page) -> int:
    """Tell by how many the list has grown since the search began, where a page says so: at its head, most likely."""
    now = told_by(page).exactly
    return 0 if now is None else now - total


def _iso(day: Day) -> str | None:
    """Return the day as the ledger has it: empty before all dates, None where undated records are meant too."""
    if day <= 0:
        return None if day < 0 else ""
    return f"{day // 10000:04}-{day // 100 % 100:02}-{day % 100:02}"
