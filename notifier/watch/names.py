"""Names for ids: fetched rarely, kept in the ledger, waited for a moment only."""

import asyncio
import logging
import math
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass

from notifier.clock import Clock
from notifier.completions import Completion, Names
from notifier.kpa.budget import Urgency
from notifier.kpa.client import Client
from notifier.kpa.failures import ApiFailure
from notifier.ledger import names as ledger_names
from notifier.ledger.errors import LedgerError
from notifier.ledger.ledger import Ledger
from notifier.ledger.names import NameList, PersonName

_log = logging.getLogger(__name__)

REFRESH_AFTER = 86_400.0
"""Seconds after which the lists of names are fetched again anyway."""

ASK_AGAIN_AFTER = 600.0
"""Seconds that must pass before an unknown id, or anything else, may cause another fetch."""

PATIENCE = 3.0
"""Seconds from the beginning of a fetch during which events wait for its names."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The ids whose names a message would show."""

    people: frozenset[str]
    trainings: frozenset[str]


def wanted(completions: Iterable[Completion]) -> Wanted:
    """Collect the ids of people (instructors too) and trainings."""
    people: set[str] = set()
    trainings: set[str] = set()
    for completion in completions:
        people.add(completion.user_id)
        trainings.add(completion.training_id)
        if completion.instructor_id:
            people.add(completion.instructor_id)
    return Wanted(frozenset(people), frozenset(trainings))


def lists_to_fetch(fetched_ms: dict[NameList, int], missing: Wanted, now_ms: int) -> tuple[NameList, ...]:
    """Decide which lists to fetch: those that are old, and those that might tell a missing name. Pure."""
    missing_of = {NameList.PEOPLE: missing.people, NameList.TRAININGS: missing.trainings}

    def is_due(names: NameList) -> bool:
        if names not in fetched_ms:
            return True
        age = (now_ms - fetched_ms[names]) / 1000
        return not 0 <= age < (ASK_AGAIN_AFTER if missing_of[names] else REFRESH_AFTER)

    return tuple(names for names in NameList if is_due(names))


class NameBook:
    """The names of one source's people and trainings."""

    def __init__(
        self,
        source: str,
        client: Client,
        ledger: Ledger,
        clock: Clock,
        on_failure: Callable[[str, str], None] = lambda _source, _reason: None,
    ) -> None:
        """Keep the names of `source` in `ledger`, asking `client` for them.

        `on_failure` hears of each failure: the source's name, and the reason.
        """
        self._source = source
        self._client = client
        self._ledger = ledger
        self._clock = clock
        self._on_failure = on_failure
        self._fetching: asyncio.Task[None] | None = None
        self._patient_until = 0.0
        self._asked_at: dict[NameList, float] = {}

    async def of(self, completions: Iterable[Completion]) -> Names:
        """Return the names for these completions, waiting a few seconds at most for ones not known yet.

        Raises LedgerError.
        """
        ids = wanted(completions)
        names = await self._find(ids)
        missing = Wanted(ids.people - names.people.keys(), ids.trainings - names.trainings.keys())
        if not missing.people and not missing.trainings:
            return names
        await self.refresh(missing)
        if self._fetching is None:
            return names
        patience = self._patient_until - asyncio.get_running_loop().time()
        await asyncio.wait([self._fetching], timeout=max(0.0, patience))
        return await self._find(ids)

    async def refresh(self, missing: Wanted = Wanted(frozenset(), frozenset())) -> None:
        """Begin to fetch the lists that are due, unless that is under way already. Raises LedgerError."""
        if self._fetching is not None:
            return
        fetched_ms = await self._ledger.run(ledger_names.fetched, self._source)
        due = self._rested(lists_to_fetch(fetched_ms, missing, self._clock.now_ms()))
        # A name that an event waits for is as urgent as the event.
        urgency = Urgency.HEAD if missing.people or missing.trainings else Urgency.NAMES
        if due and self._fetching is None:
            self._patient_until = asyncio.get_running_loop().time() + PATIENCE
            self._fetching = asyncio.create_task(self._fetch(due, urgency), name=f"names of {self._source}")

    async def fetched(self) -> None:
        """Wait for a fetch under way, if there is one."""
        if self._fetching is not None:
            await asyncio.wait([self._fetching])

    async def stop(self) -> None:
        """End a fetch under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    def _rested(self, lists: tuple[NameList, ...]) -> tuple[NameList, ...]:
        """Leave out what this process has just asked for, whatever became of it.

        The ledger would tell that, too, but not while the wall clock is being set or the disk is full.
        """
        now = self._clock.monotonic()
        return tuple(names for names in lists if now - self._asked_at.get(names, -math.inf) >= ASK_AGAIN_AFTER)

    async def _find(self, ids: Wanted) -> Names:
        return await self._ledger.run(ledger_names.find, self._source, ids.people, ids.trainings)

    async def _fetch(self, lists: tuple[NameList, ...], urgency: Urgency) -> None:
        try:
            for names in lists:
                await self._fetch_one(names, urgency)
        except LedgerError as error:
            _log.error(error.message, extra={"source": self._source, "reason": error.reason})
        finally:
            self._fetching = None

    async def _fetch_one(self, names: NameList, urgency: Urgency) -> None:
        """Fetch one list; what came of one that breaks off stays, for a name that is known is better than none."""
        self._asked_at[names] = self._clock.monotonic()
        try:
            match names:
                case NameList.PEOPLE:
                    await self._fetch_people(urgency)
                case NameList.TRAININGS:
                    await self._fetch_trainings(urgency)
        except ApiFailure as failure:
            self._on_failure(self._source, failure.reason)
            before = await self._note(names, failure.reason)
            if before != failure.reason:
                _log.warning(
                    "names cannot be fetched; messages show ids where they are not known",
                    extra={"source": self._source, "list": names, "reason": failure.reason},
                )
        else:
            await self._note(names, "ok")

    async def _fetch_people(self, urgency: Urgency) -> None:
        async with aclosing(self._client.people(urgency)) as batches:
            async for people in batches:
                rows = [PersonName(id_, person.name, person.employee_number) for id_, person in people.items()]
                await self._ledger.run(ledger_names.learn_people, self._source, rows)

    async def _fetch_trainings(self, urgency: Urgency) -> None:
        async with aclosing(self._client.trainings(urgency)) as batches:
            async for titles in batches:
                await self._ledger.run(ledger_names.learn_trainings, self._source, titles.items())

    async def _note(self, names: NameList, outcome: str) -> str | None:
        """Write the outcome of a fetch down; return that of the time before."""
        return await self._ledger.run(ledger_names.note_fetch, self._source, names, self._clock.now_ms(), outcome)
