"""Watches one source with three nets: head polls, the count check with its locations, and sweeps."""

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from notifier.clock import Clock
from notifier.completions import Net
from notifier.conditions import Condition, Key
from notifier.config import SourceSettings
from notifier.kpa.budget import RequestBudget, Urgency, Usage
from notifier.kpa.client import Page
from notifier.kpa.failures import ApiFailure
from notifier.ledger.errors import LedgerError
from notifier.ledger.sources import SourceMemory
from notifier.ledger.sweeps import Sweep
from notifier.watch.count import told_by
from notifier.watch.health import SourceHealth, SourceState
from notifier.watch.locating import Location
from notifier.watch.names import NameBook
from notifier.watch.page import Along
from notifier.watch.reader import Reader
from notifier.watch.schedule import SEARCH_AGAIN_AFTER, SearchedInVain, search_is_due, sweep_is_due
from notifier.watch.spots import Look, SpotCheck
from notifier.watch.sweeping import Sweeping
from notifier.watch.troubles import conditions
from notifier.watch.verdicts import meeting

_log = logging.getLogger(__name__)

_TRY_AGAIN = 60.0
"""Seconds between two tries of a sweep or a location that failed."""


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

    @property
    def is_done(self) -> bool:
        """Whether the head was read."""
        return self.result is RoundResult.DONE


class Watcher:
    """Looks after one source. Its rounds never overlap; a sweep and a location run beside them and yield to them."""

    def __init__(
        self,
        name: str,
        settings: SourceSettings,
        retention: float,
        budget: RequestBudget,
        health: SourceHealth,
        reader: Reader,
        location: Location,
        spots: SpotCheck,
        sweeping: Sweeping,
        names: NameBook | None,
        clock: Clock,
    ) -> None:
        """Take the source's name and settings, and what it works with; `retention` is in seconds."""
        self.name = name
        self._settings = settings
        self._retention = retention
        self._budget = budget
        self._health = health
        self._reader = reader
        self._location = location
        self._spots = spots
        self._sweeping = sweeping
        self._names = names
        self._clock = clock
        self._polling = asyncio.Lock()
        self._polls: set[asyncio.Task[Round]] = set()
        self._sweep_task: asyncio.Task[None] | None = None
        self._search_task: asyncio.Task[None] | None = None
        self._sweep_not_before = 0.0
        self._search_not_before = 0.0
        self._spots_not_before = 0.0
        self._sweep_for_count_not_before = 0.0
        self._in_vain: SearchedInVain | None = None

    @property
    def state(self) -> SourceState:
        """How the source is doing."""
        return self._health.state

    @property
    def memory(self) -> SourceMemory:
        """What the last round left: last success, last error."""
        return self._health.memory

    @property
    def poll_interval(self) -> float:
        """How often it is polled, in seconds."""
        return self._settings.poll_interval

    @property
    def usage(self) -> Usage:
        """What this source may use of the API's requests, and uses."""
        return self._budget.usage()

    @property
    def is_sweeping(self) -> bool:
        """Whether a sweep is under way."""
        return self._sweep_task is not None and not self._sweep_task.done()

    @property
    def is_searching(self) -> bool:
        """Whether a change out of sight is being located."""
        return self._search_task is not None and not self._search_task.done()

    def unready(self) -> str | None:
        """Say why this source cannot be relied on now; None when it was polled successfully within three intervals."""
        return self._health.unready()

    def conditions(self, firing: Collection[Key]) -> tuple[Condition, ...]:
        """Return what people must be told of this source; `firing` is what was wrong until now."""
        polls = self._health.polls()
        return tuple(conditions(self.name, self.memory, self._settings, polls, firing, self._clock.now_ms()))

    def quiet_for(self) -> float:
        """Return the seconds during which this source is still left alone."""
        return self._health.quiet_for()

    def binding_silence(self) -> str | None:
        """Say why not even an operator's wish may cause a request now; None when it may."""
        return self._health.binding_silence()

    def wake(self, slept: float) -> None:
        """Let requests go whose waits are over, after the machine has slept for so many seconds."""
        self._health.wake(slept)
        self._budget.wake()

    async def start(self) -> None:
        """Take up where the last run stopped. Raises LedgerError."""
        await self._health.recall()

    async def stop(self) -> None:
        """End what is under way; whatever was not written down is read again by the next run."""
        if self._polls:
            await _cancelled(self._polls)
        # What a poll had begun, last.
        if begun := {task for task in (self._sweep_task, self._search_task) if task is not None}:
            await _cancelled(begun)
        if self._names is not None:
            await self._names.stop()

    async def latest_sweep(self) -> Sweep | None:
        """Return how far the newest sweep has come. Raises LedgerError."""
        return await self._sweeping.latest()

    async def poll(self, *, by_hand: bool = False) -> Round:
        """Read the first page, and on to known ground, and compare the API's count with what is known.

        By hand it does not wait out the pause between tries that only an operator can help; a rate limit binds always.
        Failures of the API and of the ledger are remembered and told, not raised. Who stops the watcher cancels it.
        """
        poll = asyncio.ensure_future(self._poll(by_hand=by_hand))
        self._polls.add(poll)
        poll.add_done_callback(self._polls.discard)
        return await poll

    async def _poll(self, *, by_hand: bool) -> Round:
        async with self._polling:
            if silence := self.binding_silence() or (None if by_hand else self._health.silence()):
                return Round(RoundResult.SILENT, message=silence)
            found_before = self._reader.events_at_head
            try:
                first = await (self._meet() if self.memory.met_at_ms is None else self._read_head())
                await self._health.succeed(self._retention)
                await self._check_count(first)
            except ApiFailure as failure:
                await self._health.fail(failure)
                return Round(RoundResult.FAILED, message=failure.message)
            except LedgerError as error:
                self._health.fail_to_write(error)
                return Round(RoundResult.FAILED, message=error.message)
        return Round(RoundResult.DONE, self._reader.events_at_head - found_before)

    async def searched(self) -> None:
        """Wait until no change out of sight is being located any more."""
        if self._search_task is not None:
            await asyncio.wait([self._search_task])

    async def see_to_the_rest(self) -> None:
        """After a round: begin or go on with a sweep that is due, refresh names that are old."""
        if self.state is not SourceState.OK:
            return
        try:
            if self._names is not None:
                await self._names.refresh()
            latest = await self._sweeping.latest()
            rested = self._clock.monotonic() >= self._sweep_not_before
            if rested and sweep_is_due(latest, self._settings.sweep_interval, self._clock.now_ms()):
                await self.begin_sweep()
        except LedgerError as error:
            self._health.fail_to_write(error)

    async def begin_sweep(self) -> None:
        """Begin a sweep, or go on with the unfinished one, unless one is under way. Raises LedgerError."""
        if self.is_sweeping:
            return
        sweep = await self._sweeping.begin()
        if not self.is_sweeping:
            self._sweep_task = asyncio.create_task(self._sweep(sweep), name=f"sweep {self.name}")

    async def _meet(self) -> Page:
        """Read the first page for the first time: what stands there is history."""
        page = await self._reader.fetch(1, Urgency.HEAD, self._settings.page_size)
        met_at_ms = meeting(page.served_at_ms, page.seconds, self._clock.now_ms())
        await self._reader.take(page, Net.HEAD, Along(meet_at_ms=met_at_ms))
        self._health.remember(replace(self.memory, met_at_ms=met_at_ms))
        return page

    async def _read_head(self) -> Page:
        """Read to known ground, and at least as far as the last poll meant to, if that one broke off."""
        first = page = await self._reader.fetch(1, Urgency.HEAD, self._settings.page_size)
        while True:
            # What is more than a head poll's page is read in the largest pages, this one included.
            following = page.number + 1 if page.limit == self._reader.large_page else 1
            head_until = max(following, self.memory.head_until or 0)
            taken = await self._reader.take(page, Net.HEAD, Along(head_until=head_until))
            if taken.holds_fresh:
                self._health.remember(replace(self.memory, head_until=head_until))
            if page.is_last or following > (self.memory.head_until or 0):
                return first
            page = await self._reader.fetch(following, Urgency.HEAD)

    async def _check_count(self, first: Page) -> None:
        """Compare the API's count with what is known, and begin to search for what makes them differ."""
        swept = self.memory.swept_at_ms is not None
        if not swept and not self.is_sweeping:
            return
        told = told_by(first)
        look = Look(told.exactly)
        if look.count is None and (self.is_sweeping or self._in_vain or told.admits(self.memory.expected)):
            look = await (self._spots.look() if self._spots_tell() else self._look_at_the_top())
        await self._sweeping.note_count(look.count)
        memory = await self._health.refresh()
        if not swept or (look.count is None and told.admits(memory.expected)):
            return
        if memory.held and look.count == memory.records:
            await self._sweeping.all_back()
            return
        difference = (told.least if look.count is None else look.count) - memory.expected
        if difference == 0 and look.moved_at is None:
            self._in_vain = None
            return
        now = self._clock.monotonic()
        if self.is_searching or now < self._search_not_before:
            return
        if difference == 0 or search_is_due(difference, self._in_vain, now):
            self._search_task = asyncio.create_task(self._search(look, difference), name=f"location {self.name}")

    def _spots_tell(self) -> bool:
        """Tell whether a record's place says anything: only while all that the API counts is known."""
        whole = self.memory.swept_at_ms is not None and self.memory.uncounted == 0 and self._in_vain is None
        return whole and self._clock.monotonic() >= self._spots_not_before

    async def _look_at_the_top(self) -> Look:
        return Look(await self._reader.count())

    async def _search(self, look: Look, difference: int) -> None:
        try:
            if difference:
                # The count is asked for again, with the top of the list: what came in since the poll is found there.
                explained = await self._location.run(None)
            else:
                page = (look.moved_at or 1) - 1
                explained = await self._location.run(look.count, page // self._reader.large_page + 1)
            if not explained:
                await self._sweep_instead(difference)
        except ApiFailure as failure:
            self._search_not_before = self._clock.monotonic() + _TRY_AGAIN
            await self._health.fail(failure)
        except LedgerError as error:
            self._search_not_before = self._clock.monotonic() + _TRY_AGAIN
            self._health.fail_to_write(error)

    async def _sweep_instead(self, difference: int) -> None:
        """Read the whole list for what a search could not explain, but not again and again."""
        now = self._clock.monotonic()
        self._spots_not_before = now + SEARCH_AGAIN_AFTER
        if difference:
            self._in_vain = SearchedInVain(difference, now)
        if now >= self._sweep_for_count_not_before:
            self._sweep_for_count_not_before = now + SEARCH_AGAIN_AFTER
            _log.info("a search has not explained the API's count; a sweep will", extra={"source": self.name})
            await self.begin_sweep()

    async def _sweep(self, sweep: Sweep) -> None:
        # The first answer, which tells history from news, is a head poll's.
        if self.memory.met_at_ms is None and (await self.poll(by_hand=True)).result is not RoundResult.DONE:
            return
        try:
            # Requests for names come last in the budget: a long sweep would leave every message without them.
            if self._names is not None:
                await self._names.fetched()
            await self._sweeping.read(sweep)
        except ApiFailure as failure:
            self._sweep_not_before = self._clock.monotonic() + _TRY_AGAIN
            await self._health.fail(failure)
        except LedgerError as error:
            self._sweep_not_before = self._clock.monotonic() + _TRY_AGAIN
            self._health.fail_to_write(error)


async def _cancelled(tasks: Collection[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
