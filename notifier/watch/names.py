"""Names for ids: fetched rarely, kept in the ledger, waited for a moment only."""

import asyncio
import logging
from collections.abc import Iterable
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
"""Seconds that must pass before an unknown id may cause another fetch."""

PATIENCE = 3.0
"""Seconds that an event waits for a name that is being fetched."""


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

    def __init__(self, source: str, client: Client, ledger: Ledger, clock: Clock) -> None:
        """Keep the names of `source` in `ledger`, asking `client` for them."""
        self._source = source
        self._client = client
        self._ledger = ledger
        self._clock = clock
        self._fetching: asyncio.Task[None] | None = None
        self._failing: set[NameList] = set()

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
        await asyncio.wait([self._fetching], timeout=PATIENCE)
        return await self._find(ids)

    async def refresh(self, missing: Wanted = Wanted(frozenset(), frozenset())) -> None:
        """Begin to fetch the lists that are due, unless that is under way already. Raises LedgerError."""
        if self._fetching is not None:
            return
        fetched_ms = await self._ledger.run(ledger_names.fetched, self._source)
        due = lists_to_fetch(fetched_ms, missing, self._clock.now_ms())
        # A name that an event waits for is as urgent as the event.
        urgency = Urgency.HEAD if missing.people or missing.trainings else Urgency.NAMES
        if due and self._fetching is None:
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
        try:
            match names:
                case NameList.PEOPLE:
                    people = await self._client.people(urgency)
                    rows = [PersonName(id_, person.name, person.employee_number) for id_, person in people.items()]
                    await self._ledger.run(ledger_names.replace_people, self._source, rows, self._clock.now_ms())
                case NameList.TRAININGS:
                    titles = await self._client.trainings(urgency)
                    await self._ledger.run(
                        ledger_names.replace_trainings, self._source, list(titles.items()), self._clock.now_ms()
                    )
            self._failing.discard(names)
        except ApiFailure as failure:
            if names not in self._failing:
                self._failing.add(names)
                _log.warning(
                    "names cannot be fetched; messages show ids where they are not known",
                    extra={"source": self._source, "list": names, "reason": failure.reason},
                )
            await self._ledger.run(ledger_names.note_fetch, self._source, names, self._clock.now_ms(), failure.reason)
