"""The head poll: reads the newest records of the list, until it reaches known ones."""

import logging
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from notifier.events import DetectedBy
from notifier.kpa.client import Page
from notifier.kpa.errors import ApiError
from notifier.kpa.rate_limiter import Priority
from notifier.store.tables import record_lookups
from notifier.store.tables.records_by_date import DayBoundary
from notifier.watch.detection.first_contact import ContactEstimate, first_contact
from notifier.watch.detection.news import NewsReason
from notifier.watch.ingest import PageIngester
from notifier.watch.ingest_transaction import PageMetadata, RoundEnd
from notifier.watch.source_context import SourceContext
from notifier.watch.source_reader import SourceReader, unreadable_page_error

_log = logging.getLogger(__name__)

_ANNOUNCED_AT_ONCE: Final = 200


class HeadPollResult(Struct, frozen=True):
    """The result of a head poll: the first page, and a place in the list for a probe (None if none was looked up).

    `refused` is the error if too many records of the first page are unreadable.
    """

    first: Page
    refused: ApiError | None = None
    probe_boundary: DayBoundary | None = None


class HeadPoll:
    """Reads the newest records of one source's list. Raises ApiError and StoreError."""

    def __init__(self, context: SourceContext, reader: SourceReader, ingester: PageIngester) -> None:
        self._context = context
        self._reader = reader
        self._ingester = ingester
        self._contact: ContactEstimate | None = None
        self._has_parsed = False

    async def read(self, longest_outage_seconds: float, probe_fraction: float | None) -> HeadPollResult:
        """Read pages from the first on until known records are reached, and record the success of the round.

        `RoundEnd` explains `probe_fraction`. Raises ApiError `records_unreadable` if more than half of the first page
        cannot be read.
        """
        if self._context.health.memory.first_contact_ms is None:
            first = await self._make_first_contact()
            head, recorded = HeadPollResult(first, unreadable_page_error(first)), False
        else:
            head, recorded = await self._read_to_known_records(longest_outage_seconds, probe_fraction)
        if head.refused is not None:
            raise head.refused
        if recorded:
            self._context.health.note_success()
        else:
            await self._context.health.record_success(longest_outage_seconds)
        return head

    async def _make_first_contact(self) -> Page:
        """Read the first page of a new source, store the moment of this first contact, and return the page."""
        now_ms = self._context.clock.now_ms()
        page = await self._reader.fetch(1, Priority.HEAD, self._context.settings.page_size)
        contact_ms = first_contact(page, self._context.clock.now_ms())
        self._contact = ContactEstimate(page.requested_at, now_ms)
        await self._ingester.ingest(page, DetectedBy.HEAD, PageMetadata(first_contact_ms=contact_ms))
        return page

    async def check_first_contact(self, page: Page) -> None:
        """Correct the moment of the first contact if a page shows that it is wrong.

        After the first sweep, nothing is corrected any more.
        """
        contact_ms = self._context.health.memory.first_contact_ms
        if self._contact is None or contact_ms is None:
            return
        if self._context.health.memory.swept_at_ms is not None:
            self._contact = None
            return
        self._contact.add(page)
        corrected_ms = self._contact.correction(contact_ms)
        if corrected_ms is None:
            return
        _log.warning(
            "the server's clock was fast in its first answer; the time of the first contact is corrected",
            extra={"source": self._context.name, "seconds": (contact_ms - corrected_ms) // 1000},
        )
        store = self._context.store
        await self._context.health.write(first_contact_ms=corrected_ms)
        while keys := await store.run(
            record_lookups.learned_since,
            self._context.name,
            NewsReason.ENTERED_BEFORE,
            corrected_ms,
            _ANNOUNCED_AT_ONCE,
        ):
            await self._ingester.announce(keys, NewsReason.ENTERED_SINCE, DetectedBy.HEAD)

    async def _read_to_known_records(
        self, longest_outage_seconds: float, probe_fraction: float | None
    ) -> tuple[HeadPollResult, bool]:
        """Read pages until known records are reached.

        If the previous poll was interrupted, read at least as far as that poll had read. The second value says whether
        the round is a success.
        """
        memory = self._context.health.memory
        until_key, until_day = memory.head_key, memory.head_day
        # The first poll of a run parses all records, because an earlier version of this program may have read them
        # differently.
        skim = self._has_parsed
        first = page = await self._reader.fetch(1, Priority.HEAD, self._context.settings.page_size, skim=skim)
        self._has_parsed = True
        refused = unreadable_page_error(first)
        while True:
            # If one page of the usual size is not enough, read pages of the largest size, again from the first one on.
            following = page.number + 1 if page.limit == self._reader.large_page else 1
            # An interrupted poll has made the records down to `until_key` known, but has not read the records below it.
            may_end = page.is_last or until_key is None
            metadata = (
                PageMetadata(head_key=until_key, head_day=until_day) if until_key is not None else _read_down_to(page)
            )
            if may_end and refused is None:
                metadata = replace(metadata, end=RoundEnd(page.is_last, longest_outage_seconds, probe_fraction))
            result = await self._ingester.ingest(page, DetectedBy.HEAD, metadata)
            if page.is_last or (may_end and not result.has_new_records):
                return HeadPollResult(first, refused, result.probe_boundary), result.ends_round
            if until_key is not None and _reaches(page, until_key, until_day):
                until_key = until_day = None
            page = await self._reader.fetch(following, Priority.HEAD, skim=skim)


def _read_down_to(page: Page) -> PageMetadata:
    """Return metadata for a head poll that has read down to the last record of this page."""
    if not page.keys:
        return PageMetadata()
    return PageMetadata(head_key=page.keys[-1], head_day=page.days[-1])


def _reaches(page: Page, key: str, day: str | None) -> bool:
    """Return whether a page reaches down to the last record that an interrupted poll has read.

    `key` is that record's key, and `day` its completion date.
    """
    days = page.days
    return key in page.keys or (bool(days) and (days[-1] or "") < (day or ""))
