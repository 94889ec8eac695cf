"""Gets the API's count of records, from a page that states it or with a request for a single record.

With one record per page, the number of the last page is the exact count. Such a request is also a probe: it asks for a
record where a day begins in the list. If the record has another day, the list has moved.

If one record was entered and another deleted, the count stays the same. Probes find some of these changes. Each probe
checks only one place, chosen at random. The next sweep finds the rest.
"""

import logging

from msgspec import Struct
from msgspec.structs import replace

from notifier.events import DetectedBy
from notifier.kpa.client import Page
from notifier.kpa.rate_limiter import Priority
from notifier.store.tables import records_by_date
from notifier.store.tables.records_by_date import DayBoundary
from notifier.store.tables.second_looks import LookKind
from notifier.watch.detection.balance import Balance, contradicts_total, count_bounds
from notifier.watch.detection.bisection import Day, day_of
from notifier.watch.ingest import PageIngester
from notifier.watch.second_looks import SecondLooks
from notifier.watch.source_context import SourceContext
from notifier.watch.source_reader import SourceReader

_log = logging.getLogger(__name__)


class ApiCount(Struct, frozen=True):
    """The number of records according to one answer of the API."""

    count: int | None
    """The number of records; None if the answer does not give the exact number."""
    requested_at: float
    """When the answer was requested (monotonic seconds)."""
    served_at_ms: int | None = None
    """When the server sent the answer (Unix ms of the server's clock)."""
    moved_place: int | None = None
    """The requested place, if the answer shows that the list has moved."""


class CountCheck:
    """Gets the API's count for one source, and compares it with the known records. Raises ApiError and StoreError."""

    def __init__(
        self, context: SourceContext, reader: SourceReader, ingester: PageIngester, looks: SecondLooks
    ) -> None:
        self._context = context
        self._reader = reader
        self._ingester = ingester
        self._looks = looks

    async def count_of_page(self, page: Page) -> ApiCount:
        """Return the count that a page states.

        If `paging.total` has ever contradicted the number of the last page, `paging.total` is ignored for this source.
        """
        if contradicts_total(page) and not self._context.health.memory.total_disbelieved:
            _log.warning(
                "the API's `paging.total` contradicts its last page; from now on only the last page is believed",
                extra={"source": self._context.name, "total": page.total, "last_page": page.last_page},
            )
            await self._context.health.write(total_disbelieved=1)
        bounds = count_bounds(page, believe_total=not self._context.health.memory.total_disbelieved)
        return ApiCount(bounds.exact, page.requested_at, page.served_at_ms)

    async def fetch_count(self) -> ApiCount:
        """Fetch the first record of the list, and return the count that the answer states."""
        page = await self._reader.fetch(1, Priority.COUNT, limit=1)
        if any(bad.is_too_large for bad in page.bad):
            # The first record does not fit into any answer, so a page with the second one is requested.
            page = await self._reader.fetch(2, Priority.COUNT, limit=1)
        await self._ingester.ingest(page, DetectedBy.HEAD)
        return await self.count_of_page(page)

    async def probe(self, probe_boundary: DayBoundary | None) -> ApiCount:
        """Fetch a record beside a boundary between two days; return the count and whether the list has moved.

        If `probe_boundary` is None, a random boundary is chosen.
        """
        boundary = probe_boundary or await self._context.store.run(
            records_by_date.random_day_boundary, self._context.name, self._context.random()
        )
        if boundary is None:
            return await self.fetch_count()
        probe = probe_at(boundary, self._context.random())
        page = await self._reader.fetch(probe.place, Priority.COUNT, limit=1, skim=True)
        if page.size == 0:
            # The list is now shorter than expected, and an empty page does not state its length.
            return await self.fetch_count()
        await self._ingester.ingest(page, DetectedBy.COUNT)
        counted = await self.count_of_page(page)
        moved = any(day_of(day) != probe.day for day in page.days)
        return replace(counted, moved_place=probe.place if moved else None)

    def balance(self, counted: ApiCount) -> Balance:
        """Return the balance: `counted` compared with the records that are known now."""
        memory = self._context.health.memory
        return Balance(
            memory.records,
            memory.unreadable_unknown,
            memory.count_offset,
            len(self._looks.waiting(LookKind.REMOVAL)),
            memory.held,
            len(self._looks.waiting(LookKind.RETURN)),
            counted.count,
        )

    def is_stale(self, counted: ApiCount) -> bool:
        """Return whether `counted` is outdated: a later request has changed the number of known records."""
        return counted.requested_at < self._ingester.existing_changed_at

    async def fetch_balance(self) -> Balance:
        """Request the count, and return the balance: the count compared with the known records."""
        return self.balance(await self.fetch_count())


class Probe(Struct, frozen=True):
    """A place in the list (from 1), and the completion date that is expected there.

    If the record there has another date, the list has moved.
    """

    place: int
    day: Day


def probe_at(boundary: DayBoundary, fraction: float) -> Probe:
    """Return a probe of the first record of a day, or of the record above it.

    The first record of the day shows whether the list has moved down, the record above it whether the list has moved
    up. `fraction`, in [0, 1), selects one of the two.
    """
    if fraction < 1 / 2:
        return Probe(boundary.above + 1, day_of(boundary.day))
    return Probe(boundary.above, day_of(boundary.day_above))
