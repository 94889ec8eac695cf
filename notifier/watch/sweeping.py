"""Sweeps: the whole list is read, page by page, whatever it does meanwhile; what no page held may be gone."""

import asyncio
import logging
from array import array
from dataclasses import replace

from notifier.clock import Clock
from notifier.completions import Net
from notifier.kpa.budget import Urgency
from notifier.kpa.client import Page
from notifier.ledger import days, sources, sweeps
from notifier.ledger.ledger import Ledger
from notifier.ledger.sweeps import Sweep, SweptPage
from notifier.watch.count import Mark, page_to_repeat, told_by, uncounted
from notifier.watch.health import SourceHealth
from notifier.watch.page import Along
from notifier.watch.reader import Reader
from notifier.watch.removals import Removals

_log = logging.getLogger(__name__)

_PAGES_AT_ONCE = 20
"""Pages whose marks are looked at in one go: some milliseconds."""
_RECORDS_AT_ONCE = 20_000
_PAGES_A_REPORT = 100


class Sweeping:
    """Reads the whole list of one source. One sweep at a time."""

    def __init__(
        self, source: str, reader: Reader, removals: Removals, ledger: Ledger, health: SourceHealth, clock: Clock
    ) -> None:
        self._source = source
        self._reader = reader
        self._removals = removals
        self._ledger = ledger
        self._health = health
        self._clock = clock
        self._sweep: Sweep | None = None
        self._page = 0
        self._mark: Mark | None = None
        self._repeat_from: int | None = None

    async def latest(self) -> Sweep | None:
        """Return how far the newest sweep has come. Raises LedgerError."""
        return await self._ledger.run(sweeps.latest, self._source)

    async def begin(self) -> Sweep:
        """Begin a sweep, or take up the unfinished one. Raises LedgerError."""
        sweep = await self._ledger.run(sweeps.resume, self._source, self._clock.now_ms())
        message = "sweep begins" if sweep.next_page == 1 else "sweep goes on"
        _log.info(message, extra={"source": self._source, "page": sweep.next_page})
        return sweep

    async def read(self, sweep: Sweep) -> None:
        """Read what is left of a sweep, to the end.

        Raises ApiFailure and LedgerError; it can be taken up again then.
        """
        count = await self._reader.count() if self._mark is None else self._mark.count
        self._page = sweep.next_page - 1
        self._repeat_from = None
        # What happened to the list since a page was last read, be it before a restart.
        self._mark = None if sweep.counted is None else self._mark_of(sweep.counted, sweep.counted_page or 0)
        self._sweep = sweep
        try:
            await self.note_count(count)
            following: int | None = self._to_repeat() or sweep.next_page
            while following is not None:
                following = await self._read_on(following, sweep)
            await self._finish(sweep)
        finally:
            self._sweep = None

    async def note_count(self, count: int | None) -> None:
        """Take note of how many records the API has now: a sweep under way may have to step back.

        Raises LedgerError.
        """
        if count is None:
            return
        before, now = self._mark, self._mark_of(count, self._page)
        self._mark = now
        if self._sweep is None:
            return
        page = None if before is None else page_to_repeat(before, now, self._reader.large_page)
        if page is not None and page <= self._page:
            await self._step_back(self._sweep, page)
        if self._mark != before:
            await self._ledger.run(sweeps.count, self._sweep.id, self._mark.count, self._mark.page)

    async def _step_back(self, sweep: Sweep, page: int) -> None:
        self._repeat_from = min(page, self._repeat_from or page)
        self._mark_before(self._repeat_from)
        await self._ledger.run(sweeps.step_back, sweep.id, self._repeat_from)
        _log.info(
            "the list seems to have moved up while the sweep went on; it reads the place again",
            extra={"source": self._source, "page": self._repeat_from},
        )

    def _mark_before(self, page: int) -> None:
        """Count from here on what is deleted above the pages before this one: it and the next are read again."""
        self._page = page - 1
        if self._mark is not None:
            self._mark = replace(self._mark, page=page - 1)

    async def all_back(self) -> None:
        """Take note that the list holds everything that is known: no removal is held back. Raises LedgerError."""
        await self._removals.release()
        self._health.remember(await self._ledger.run(sources.settle_count, self._source, uncounted=0, left_over=0))

    def _mark_of(self, count: int, page: int) -> Mark:
        return Mark(count, page, self._reader.found_at_head)

    def _to_repeat(self) -> int | None:
        page, self._repeat_from = self._repeat_from, None
        if page is not None:
            # The page that was being written meanwhile has moved the mark.
            self._mark_before(page)
        return page

    async def _read_on(self, first: int, sweep: Sweep) -> int | None:
        """Read from a page to the end; return the page to go on from where the list has moved."""
        page = await self._reader.fetch(first, Urgency.SWEEP)
        while True:
            # The next page is on its way while this one is being written.
            ahead = None if page.is_last else asyncio.create_task(self._reader.fetch(page.number + 1, Urgency.SWEEP))
            try:
                await self._take(page, sweep)
                if (repeat := self._to_repeat()) is not None or ahead is None:
                    return repeat
                page = await ahead
            finally:
                if ahead is not None:
                    ahead.cancel()

    async def _take(self, page: Page, sweep: Sweep) -> None:
        # A first sweep only learns what there is: what it does not find has never been known.
        marks = self._health.memory.swept_at_ms is not None
        records = (page.number - 1) * page.limit + page.size
        swept = SweptPage(sweep.id, page.number, page.last_page, records, len(page.bad), marks)
        await self._reader.take(page, Net.SWEEP, Along(swept=swept))
        self._page = page.number
        await self.note_count(told_by(page).exactly)
        if page.number % _PAGES_A_REPORT == 0:
            _log.info("sweep goes on", extra={"source": self._source, "page": page.number, "of": page.last_page})

    async def _finish(self, sweep: Sweep) -> None:
        marked = self._health.memory.swept_at_ms is not None
        missing = await self._missing(sweep) if marked else []
        outcome = await self._removals.settle(missing, Net.SWEEP, Urgency.SWEEP, first_seen_before_ms=sweep.started_ms)
        if not outcome.held:
            await self._removals.release()
        await self._ledger.run(sweeps.add_changes, sweep.id, outcome.events)
        done = await self.latest() or sweep
        # Where it was asked for each missing record, the last page was read a while ago.
        count = await self._reader.count() if missing or self._mark is None else self._mark.count
        unreadable = await self._ledger.run(sweeps.unreadable, sweep.id)
        await self._settle_count(count, unreadable, held=outcome.held > 0)
        await self._ledger.run(sweeps.finish, sweep, self._clock.now_ms())
        await self._health.refresh()
        facts = {"source": self._source, "records": done.records, "changes": done.changes}
        _log.info("sweep has read the whole list", extra=facts)

    async def _missing(self, sweep: Sweep) -> list[int]:
        """Return the known records, by the ledger's numbers, that no page of the sweep held."""
        seen = bytearray()
        after: int | None = 0
        while after is not None:
            pages, after = await self._ledger.run(sweeps.marks, sweep.id, after, _PAGES_AT_ONCE)
            for ids in pages:
                _mark_seen(seen, array("q", ids))
        missing: list[int] = []
        place: days.Place | None = days.FIRST
        while place is not None:
            known, place = await self._ledger.run(days.ids_after, self._source, place, _RECORDS_AT_ONCE)
            missing += [id_ for id_ in known if id_ >= len(seen) or not seen[id_]]
        return missing

    async def _settle_count(self, count: int | None, unreadable: int, *, held: bool) -> None:
        if count is None:
            return
        memory = await self._health.refresh()
        left_over = count - memory.records
        for_good = uncounted(left_over, unreadable, memory.left_over, held=held)
        if for_good != memory.uncounted:
            _log.info(
                "the API counts records that are not known",
                extra={"source": self._source, "records": for_good, "unreadable": unreadable},
            )
        self._health.remember(
            await self._ledger.run(sources.settle_count, self._source, uncounted=for_good, left_over=left_over)
        )


def _mark_seen(seen: bytearray, ids: "array[int]") -> None:
    """Set the byte of each of these numbers."""
    if not ids:
        return
    highest = max(ids)
    if highest >= len(seen):
        seen.extend(bytes(highest + 1 - len(seen)))
    for id_ in ids:
        seen[id_] = 1
