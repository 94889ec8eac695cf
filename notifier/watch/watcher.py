"""Watches one source: head polls that follow pages to known ground, and sweeps of the whole list."""

import asyncio
import logging
from dataclasses import dataclass, replace
from enum import StrEnum

from notifier.clock import Clock
from notifier.completions import Net
from notifier.config import SourceSettings
from notifier.kpa.budget import RequestBudget, Urgency
from notifier.kpa.client import Client, Page
from notifier.kpa.failures import ApiFailure, Reason, Remedy
from notifier.ledger import sources, sweeps
from notifier.ledger.errors import LedgerError
from notifier.ledger.ledger import Ledger
from notifier.ledger.sources import SourceError, SourceMemory
from notifier.ledger.sweeps import Sweep
from notifier.watch.names import NameBook
from notifier.watch.page import PageTaker, SweepStep
from notifier.watch.schedule import OPERATOR_PAUSE, pause_after, silence_left, sweep_is_due
from notifier.watch.verdicts import Baseline, meeting

_log = logging.getLogger(__name__)

LARGE_PAGE = 1000
"""Records on a page of a sweep, the most that the API gives."""

_SOON = 1.0
_UNREADY_INTERVALS = 3
_SWEEP_RETRY = 60.0


class SourceState(StrEnum):
    """How a source is doing, as `/v1/status` says it."""

    STARTING = "starting"
    OK = "ok"
    FAILING = "failing"
    RATE_LIMITED = "rate_limited"


class RoundResult(StrEnum):
    """What a round came to."""

    DONE = "done"
    SILENT = "silent"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Round:
    """What one head poll came to: how many new events, and in a sentence why there was none."""

    result: RoundResult
    events: int = 0
    message: str = ""


class Watcher:
    """Looks after one source. Its rounds never overlap; a sweep runs beside them and yields to them."""

    def __init__(
        self,
        name: str,
        settings: SourceSettings,
        client: Client,
        budget: RequestBudget,
        ledger: Ledger,
        names: NameBook | None,
        taker: PageTaker,
        clock: Clock,
    ) -> None:
        """Take the source's name and settings, and what it works with."""
        self.name = name
        self._settings = settings
        self._client = client
        self._budget = budget
        self._ledger = ledger
        self._names = names
        self._taker = taker
        self._clock = clock
        self._memory = SourceMemory()
        self._state = SourceState.STARTING
        self._succeeded_at: float | None = None
        self._quiet_until = 0.0
        self._quiet_is_binding = False
        self._polling = asyncio.Lock()
        self._sweeping: asyncio.Task[None] | None = None
        self._sweep_not_before = 0.0

    @property
    def state(self) -> SourceState:
        """How the source is doing."""
        return self._state

    @property
    def memory(self) -> SourceMemory:
        """What the last round left: last success, last error."""
        return self._memory

    @property
    def requests(self) -> int:
        """How many requests this source has made since the daemon started."""
        return self._budget.requests

    def unready(self) -> str | None:
        """Say why this source cannot be relied on now; None when it was polled successfully within three intervals."""
        limit = _UNREADY_INTERVALS * self._settings.poll_interval
        if self._succeeded_at is not None and self._clock.monotonic() - self._succeeded_at <= limit:
            return None
        if self._memory.error is not None and self._state is not SourceState.STARTING:
            return f"{self._memory.error.reason}: {self._memory.error.message}"
        return "not polled successfully yet" if self._succeeded_at is None else "no successful poll for three intervals"

    def quiet_for(self) -> float:
        """Return the seconds during which this source is still left alone."""
        return max(0.0, self._quiet_until - self._clock.monotonic(), self._budget.silent_for())

    async def start(self) -> None:
        """Take up where the last run stopped, a pause that the API had asked for included. Raises LedgerError."""
        self._memory = await self._ledger.run(sources.recall, self.name)
        longest = max(self._settings.rate_limit_pause, OPERATOR_PAUSE)
        left = silence_left(self._memory.silent_until_ms, longest, self._clock.now_ms())
        # A restart is what follows a mended configuration: only the rate limit's pause outlives it.
        if left and self._memory.silent_reason == Reason.RATE_LIMIT_EXCEEDED:
            self._budget.silence(left)
            self._state = SourceState.RATE_LIMITED

    async def stop(self) -> None:
        """End what is under way; whatever was not written down is read again by the next run."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait([self._sweeping])
        if self._names is not None:
            await self._names.stop()

    async def poll(self, *, by_hand: bool = False) -> Round:
        """Read the first page, and on to known ground; then see to what else is due.

        By hand it does not wait out the pause between tries that only an operator can help; a rate limit binds always.
        Failures of the API and of the ledger are remembered and told, not raised.
        """
        async with self._polling:
            if silence := self.binding_silence() or (None if by_hand else self._silence()):
                return Round(RoundResult.SILENT, message=silence)
            try:
                events = await (self._meet() if self._memory.met_at_ms is None else self._read_head())
                await self._note_success()
            except ApiFailure as failure:
                await self._note_failure(failure)
                return Round(RoundResult.FAILED, message=failure.message)
            except LedgerError as error:
                self._note_ledger_trouble(error)
                return Round(RoundResult.FAILED, message=error.message)
        return Round(RoundResult.DONE, events)

    async def see_to_the_rest(self) -> None:
        """After a round: begin or go on with a sweep that is due, refresh names that are old."""
        if self._state is not SourceState.OK:
            return
        try:
            if self._names is not None:
                await self._names.refresh()
            latest = await self._ledger.run(sweeps.latest, self.name)
            rested = self._clock.monotonic() >= self._sweep_not_before
            if rested and sweep_is_due(latest, self._settings.sweep_interval, self._clock.now_ms()):
                await self.begin_sweep()
        except LedgerError as error:
            self._note_ledger_trouble(error)

    async def begin_sweep(self) -> None:
        """Begin a sweep, or go on with the unfinished one, unless one is under way. Raises LedgerError."""
        if self.is_sweeping:
            return
        sweep = await self._current_sweep()
        if not self.is_sweeping:
            self._sweeping = asyncio.create_task(self._sweep(sweep), name=f"sweep {self.name}")

    def binding_silence(self) -> str | None:
        """Say why not even an operator's wish may cause a request now; None when it may."""
        return self._silence() if self._quiet_is_binding or self._budget.silent_for() else None

    @property
    def is_sweeping(self) -> bool:
        """Whether a sweep is under way."""
        return self._sweeping is not None and not self._sweeping.done()

    async def latest_sweep(self) -> Sweep | None:
        """Return how far the newest sweep has come. Raises LedgerError."""
        return await self._ledger.run(sweeps.latest, self.name)

    def _silence(self) -> str | None:
        quiet = self.quiet_for()
        return f"left alone for {quiet:.0f} more seconds" if quiet else None

    def _baseline(self) -> Baseline:
        return Baseline(self._memory.met_at_ms, self._memory.swept_at_ms is not None, self._settings.first_run)

    async def _meet(self) -> int:
        """Read the first page for the first time: what stands there is history."""
        page = await self._client.page(1, limit=self._settings.page_size, urgency=Urgency.HEAD)
        met_at_ms = meeting(page.served_at_ms, page.seconds, self._clock.now_ms())
        taken = await self._taker.take(page, self._baseline(), Net.HEAD, meet_at_ms=met_at_ms)
        self._memory = replace(self._memory, met_at_ms=met_at_ms)
        return len(taken.events)

    async def _read_head(self) -> int:
        """Read to known ground, and at least as far as the last poll meant to, if that one broke off."""
        number, limit = 1, self._settings.page_size
        found = 0
        while True:
            page = await self._client.page(number, limit=limit, urgency=Urgency.HEAD)
            # What is more than a head poll's page is read in the largest pages, this one included.
            following = number + 1 if limit == LARGE_PAGE else 1
            head_until = max(following, self._memory.head_until or 0)
            taken = await self._taker.take(page, self._baseline(), Net.HEAD, head_until=head_until)
            found += len(taken.events)
            if taken.holds_fresh:
                self._memory = replace(self._memory, head_until=head_until)
            if is_last(page) or following > (self._memory.head_until or 0):
                return found
            number, limit = following, LARGE_PAGE

    async def _sweep(self, sweep: Sweep) -> None:
        # The first answer, which tells history from news, is a head poll's.
        if self._memory.met_at_ms is None and (await self.poll(by_hand=True)).result is not RoundResult.DONE:
            return
        # Requests for names come last in the budget: a long sweep would leave every message without them.
        if self._names is not None:
            await self._names.fetched()
        try:
            page = await self._sweep_page(sweep.next_page)
            while True:
                ends = is_last(page)
                # The next page is on its way while this one is being written.
                ahead = None if ends else asyncio.create_task(self._sweep_page(page.number + 1))
                try:
                    step = SweepStep(sweep.id, page.number + 1, page.last_page)
                    await self._taker.take(page, self._baseline(), Net.SWEEP, step=step)
                    if ahead is None:
                        break
                    page = await ahead
                finally:
                    if ahead is not None:
                        ahead.cancel()
            await self._finish_sweep(sweep)
        except ApiFailure as failure:
            self._sweep_not_before = self._clock.monotonic() + _SWEEP_RETRY
            await self._note_failure(failure)
        except LedgerError as error:
            self._sweep_not_before = self._clock.monotonic() + _SWEEP_RETRY
            self._note_ledger_trouble(error)

    async def _current_sweep(self) -> Sweep:
        sweep = await self._ledger.run(sweeps.resume, self.name, self._clock.now_ms())
        message = "sweep begins" if sweep.next_page == 1 else "sweep goes on"
        _log.info(message, extra={"source": self.name, "page": sweep.next_page})
        return sweep

    async def _sweep_page(self, number: int) -> Page:
        return await self._client.page(number, limit=LARGE_PAGE, urgency=Urgency.SWEEP)

    async def _finish_sweep(self, sweep: Sweep) -> None:
        await self._ledger.run(sweeps.finish, sweep, self._clock.now_ms())
        self._memory = await self._ledger.run(sources.recall, self.name)
        done = await self._ledger.run(sweeps.latest, self.name)
        if done is not None:
            facts = {"source": self.name, "records": done.records, "changes": done.changes}
            _log.info("sweep has read the whole list", extra=facts)

    async def _note_success(self) -> None:
        # A sweep beside this round may have been told, meanwhile, to be silent.
        silent = self.binding_silence() is not None
        self._memory = await self._ledger.run(sources.succeed, self.name, self._clock.now_ms(), ends_silence=not silent)
        self._succeeded_at = self._clock.monotonic()
        if silent:
            return
        self._quiet_until = 0.0
        if self._state in (SourceState.FAILING, SourceState.RATE_LIMITED):
            _log.info("source works again", extra={"source": self.name})
        self._state = SourceState.OK

    async def _note_failure(self, failure: ApiFailure) -> None:
        pause = pause_after(failure, self._settings.rate_limit_pause)
        limited = failure.reason is Reason.RATE_LIMIT_EXCEEDED
        if pause:
            self._stay_quiet(pause, binding=failure.remedy is not Remedy.OPERATOR)
        if not self._is_known(failure.reason):
            level = logging.ERROR if failure.remedy is not Remedy.WAIT else logging.WARNING
            _log.log(level, failure.message, extra={"source": self.name, "reason": failure.reason})
        self._state = SourceState.RATE_LIMITED if limited else SourceState.FAILING
        now_ms = self._clock.now_ms()
        error = SourceError(failure.reason, failure.message, now_ms)
        silent_until_ms = now_ms + round(pause * 1000) if pause else None
        try:
            self._memory = await self._ledger.run(sources.fail, self.name, error, silent_until_ms)
        except LedgerError as trouble:
            self._note_ledger_trouble(trouble)

    def _note_ledger_trouble(self, error: LedgerError) -> None:
        """Nothing was written, so nothing is known that was not told: the next round finds it all again."""
        if not self._is_known(error.reason):
            _log.error(error.message, extra={"source": self.name, "reason": error.reason})
        self._state = SourceState.FAILING
        self._memory = replace(self._memory, error=SourceError(error.reason, error.message, self._clock.now_ms()))
        self._stay_quiet(_SOON, binding=False)

    def _is_known(self, reason: str) -> bool:
        """Tell whether this trouble goes on and has been logged."""
        troubled = self._state in (SourceState.FAILING, SourceState.RATE_LIMITED)
        return troubled and self._memory.error is not None and self._memory.error.reason == reason

    def _stay_quiet(self, seconds: float, *, binding: bool) -> None:
        """Leave the source alone for so long; a longer pause that is on already goes on."""
        until = self._clock.monotonic() + seconds
        if until >= self._quiet_until:
            self._quiet_until = until
            self._quiet_is_binding = binding


def is_last(page: Page) -> bool:
    """Tell whether a page is the list's last: by what the API says, or where it does not, by not being full."""
    if page.size == 0:
        return True
    if page.last_page is not None:
        return page.number >= page.last_page
    return page.size < page.limit
