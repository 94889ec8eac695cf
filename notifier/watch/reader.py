"""Reads pages of one source into its ledger: what the nets have in common."""

from collections.abc import Collection

from notifier.completions import Net
from notifier.config import SourceSettings
from notifier.kpa.budget import Urgency
from notifier.kpa.client import Client, Page
from notifier.watch.count import told_by
from notifier.watch.health import SourceHealth
from notifier.watch.page import Along, PageTaker, Taken
from notifier.watch.verdicts import Baseline

LARGE_PAGE = 1000
"""Records on a page of a sweep or a location, the most that the API gives."""


class Reader:
    """One source's pages, each on its way from the API to the ledger. Raises ApiFailure and LedgerError."""

    def __init__(
        self,
        settings: SourceSettings,
        client: Client,
        taker: PageTaker,
        health: SourceHealth,
        large_page: int = LARGE_PAGE,
    ) -> None:
        """Take what a page passes through; `large_page` is the size of the pages of sweeps and locations."""
        self.large_page = large_page
        self._settings = settings
        self._client = client
        self._taker = taker
        self._health = health
        self._found_at_head = 0
        self._events_at_head = 0

    @property
    def found_at_head(self) -> int:
        """How many records head polls have made known since the daemon started."""
        return self._found_at_head

    @property
    def events_at_head(self) -> int:
        """How many events head polls have led to since the daemon started."""
        return self._events_at_head

    async def fetch(self, number: int, urgency: Urgency, limit: int | None = None) -> Page:
        """Ask for a page, a large one unless `limit` says otherwise."""
        return await self._client.page(number, limit=limit or self.large_page, urgency=urgency)

    async def take(self, page: Page, net: Net, along: Along | None = None) -> Taken:
        """Bring a page into the ledger, and what is to be written along with it."""
        taken = await self._taker.take(page, self._baseline(), net, along or Along())
        if net is Net.HEAD:
            self._found_at_head += taken.found()
            self._events_at_head += len(taken.events)
        return taken

    async def count(self) -> int | None:
        """Ask how many records there are; None when the API does not say.

        The last page of one-record pages has the number of the last record. The record at the top is taken, since it
        may be one that came in after the last head poll.
        """
        page = await self.fetch(1, Urgency.LOCATION, limit=1)
        await self.take(page, Net.HEAD)
        return told_by(page).exactly

    async def confirm(
        self, user_id: str, training_id: str, suspects: Collection[str], net: Net, urgency: Urgency
    ) -> Taken:
        """Ask for all records of a person and a training: those of the known `suspects` that are not there are gone."""
        answer = await self._client.page(1, limit=LARGE_PAGE, urgency=urgency, user_id=user_id, training_id=training_id)
        # Should they be more than fit on a page, the API has not understood the question.
        if not answer.is_last:
            return Taken()
        return await self._taker.confirm(answer, suspects, self._baseline(), net)

    def _baseline(self) -> Baseline:
        memory = self._health.memory
        swept = memory.swept_at_ms is not None
        return Baseline(memory.met_at_ms, swept, self._settings.first_run, memory.told_until_ms)
