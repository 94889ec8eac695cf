"""Fetches lists of names and stores them, once a day and when a name is missing.

Events wait at most a few seconds for their names.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import aclosing
from typing import Final

from msgspec import Struct

from notifier.clock import Clock
from notifier.config import SourceSettings
from notifier.events import Completion, Names
from notifier.facts import PersonField, fields_to_look_up
from notifier.kpa.client import Client
from notifier.kpa.errors import ApiError, ApiErrorReason
from notifier.kpa.rate_limiter import Priority
from notifier.store.database import Database
from notifier.store.errors import StoreError
from notifier.store.store import Store
from notifier.store.tables import erasure
from notifier.store.tables import names as name_table
from notifier.store.tables.names import NameList, PersonName

_log = logging.getLogger(__name__)

REFRESH_AFTER_SECONDS = 86_400.0
"""Seconds after which the lists of names are fetched again in any case."""

RETRY_AFTER_SECONDS = 600.0
"""Seconds after which a list is fetched again if it lacks an id or if its last fetch failed."""

MAX_WAIT_SECONDS = 3.0
"""Seconds that events wait for names, counted from the beginning of a fetch."""


_TRAINING_FACTS: Final = "schedule"
"""The names of the facts that are read from the list of trainings, in the form that `wanted_facts` describes."""


class WantedIds(Struct, frozen=True):
    """The ids whose names and facts an event shows; `fields` are the kinds of facts about each person."""

    people: frozenset[str]
    trainings: frozenset[str]
    job_titles: frozenset[str] = frozenset()
    fields: frozenset[PersonField] = frozenset()

    def without(self, names: Names) -> "WantedIds":
        """Return the ids for which `names` lacks the name or a wanted fact."""
        in_the_list = self.fields - {PersonField.JOB_TITLE}
        known = {id_ for id_ in names.people if in_the_list <= names.person_facts.get(id_, {}).keys()}
        read = names.trainings.keys() & names.training_facts.keys()
        return WantedIds(self.people - known, self.trainings - read, self._missing_job_titles(names), self.fields)

    def _missing_job_titles(self, names: Names) -> frozenset[str]:
        """Return the ids of wanted job titles that `names` lacks."""
        if PersonField.JOB_TITLE not in self.fields:
            return frozenset()
        people = (names.person_facts.get(id_, {}) for id_ in self.people)
        return frozenset(
            str(facts[PersonField.JOB_TITLE_ID])
            for facts in people
            if facts.get(PersonField.JOB_TITLE_ID) and PersonField.JOB_TITLE not in facts
        )

    def __bool__(self) -> bool:
        """Return whether at least one id is wanted."""
        return bool(self.people or self.trainings or self.job_titles)


def wanted_ids(completions: Iterable[Completion], fields: frozenset[PersonField] = frozenset()) -> WantedIds:
    """Return the ids of the people (including instructors) and trainings of these completions."""
    people: set[str] = set()
    trainings: set[str] = set()
    for completion in completions:
        people.add(completion.user_id)
        trainings.add(completion.training_id)
        if completion.instructor_id:
            people.add(completion.instructor_id)
    return WantedIds(frozenset(people), frozenset(trainings), fields=fields)


def stored_names(
    db: Database, source: str, completions: Iterable[Completion], fields: frozenset[PersonField]
) -> Names | None:
    """Return the stored names and facts for these completions; None if at least one of them has to be fetched."""
    ids = wanted_ids(completions, fields_to_look_up(fields))
    names = name_table.find_names(db, source, ids.people, ids.trainings, ids.fields)
    return None if ids.without(names) else names.with_person_fields(fields)


REQUIRED_LISTS: Final = (NameList.PEOPLE, NameList.TRAININGS)
"""The lists that every source with names fetches; job titles are fetched only where they are wanted."""


def wanted_facts(settings: SourceSettings) -> dict[NameList, str]:
    """Return the names of the facts to read, joined by commas, for each list that a source fetches. Pure."""
    stored = settings.stored_person_fields()
    found = {NameList.PEOPLE: ",".join(sorted(stored)), NameList.TRAININGS: _TRAINING_FACTS}
    return found | ({NameList.JOB_TITLES: ""} if PersonField.JOB_TITLE in stored else {})


def lists_to_fetch(
    fetched_ms: Mapping[NameList, int],
    missing: WantedIds,
    now_ms: int,
    failed: Collection[NameList] = (),
    lists: Collection[NameList] = REQUIRED_LISTS,
) -> tuple[NameList, ...]:
    """Return which `lists` to fetch: those never fetched, and those whose last fetch is too long ago. Pure.

    A list is fetched again sooner if its last fetch has failed or if it lacks a `missing` id.
    """
    missing_of = {
        NameList.PEOPLE: missing.people,
        NameList.TRAININGS: missing.trainings,
        NameList.JOB_TITLES: missing.job_titles,
    }

    def is_due(names: NameList) -> bool:
        if names not in fetched_ms:
            return True
        age = (now_ms - fetched_ms[names]) / 1000
        return not 0 <= age < (RETRY_AFTER_SECONDS if missing_of[names] or names in failed else REFRESH_AFTER_SECONDS)

    return tuple(names for names in NameList if names in lists and is_due(names))


async def _report(names: NameList, fault: Exception | None) -> None:
    if fault is not None:
        _log.error("internal error while fetching names", extra={"list": names}, exc_info=fault)


_NOTHING: Final = WantedIds(frozenset(), frozenset())


class NameCache:
    """Fetches, stores and finds the names of one source's people, trainings and job titles."""

    def __init__(
        self,
        source: str,
        settings: SourceSettings,
        client: Client,
        store: Store,
        clock: Clock,
        on_failure: Callable[[str, str], None] = lambda _source, _reason: None,
        on_fault: Callable[[NameList, Exception | None], Awaitable[None]] = _report,
    ) -> None:
        """Initialise with the `store` that stores the names of `source`, and the `client` that fetches them.

        `settings` choose the facts about people. `on_failure` gets the source's name and the reason of each failure.
        After each fetch of a list, `on_fault` gets the list and the internal error that ended the fetch (None: no
        error).
        """
        self._source = source
        self._stored_fields = settings.stored_person_fields()
        self._shown_fields = settings.shown_person_fields()
        self._facts = wanted_facts(settings)
        self._client = client
        self._store = store
        self._clock = clock
        self._on_failure = on_failure
        self._on_fault = on_fault
        self._fetching: asyncio.Task[None] | None = None
        self._is_stopped = False
        self._names_awaited_until = 0.0
        self._fetched_ms: dict[NameList, int] | None = None
        self._requested_at: dict[NameList, float] = {}
        self._failures: dict[NameList, ApiErrorReason] = {}

    @property
    def failure(self) -> ApiErrorReason | None:
        """The reason why the last fetch of one of the lists failed; None if the last fetch of each list succeeded."""
        return next(iter(self._failures.values()), None)

    async def recall(self) -> None:
        """Load the results of the previous run's fetches; erase facts that are no longer wanted. Raises StoreError."""
        await self._store.run(name_table.erase_other_facts, self._source, self._stored_fields)
        outcomes = await self._store.run(name_table.last_outcomes, self._source)
        known = {reason.value: reason for reason in ApiErrorReason}
        self._failures = {
            names: known[word] for names, word in outcomes.items() if word in known and names in self._facts
        }

    async def names_for(self, completions: Iterable[Completion]) -> Names:
        """Return the names and facts for these completions; wait a few seconds at most for unknown ones.

        Raises StoreError.
        """
        ids = wanted_ids(completions, fields_to_look_up(self._shown_fields))
        names = await self._find(ids)
        missing = ids.without(names)
        if not missing:
            return names.with_person_fields(self._shown_fields)
        await self.refresh(missing)
        if self._fetching is None:
            return names.with_person_fields(self._shown_fields)
        left_seconds = self._names_awaited_until - asyncio.get_running_loop().time()
        await asyncio.wait([self._fetching], timeout=max(0.0, left_seconds))
        return (await self._find(ids)).with_person_fields(self._shown_fields)

    async def refresh(self, missing: WantedIds = _NOTHING) -> None:
        """Start to fetch the lists that are due, unless a fetch is running. Raises StoreError."""
        if self._fetching is not None:
            return
        if self._fetched_ms is None:
            fetched = await self._store.run(name_table.last_fetches, self._source)
            # A list that was read for other facts has to be read again.
            self._fetched_ms = {names: at for names, (at, facts) in fetched.items() if facts == self._facts.get(names)}
        due = lists_to_fetch(self._fetched_ms, missing, self._clock.now_ms(), self._failures, self._facts)
        due = self._not_recently_fetched(due)
        # A name that an event waits for is as urgent as the event.
        priority = Priority.HEAD if missing else Priority.NAMES
        if due and not self._is_stopped and self._fetching is None:
            self._names_awaited_until = asyncio.get_running_loop().time() + MAX_WAIT_SECONDS
            self._fetching = asyncio.create_task(self._fetch(due, priority), name=f"names of {self._source}")

    async def wait_for_fetch(self) -> None:
        """Wait until no fetch is running."""
        if self._fetching is not None:
            await asyncio.wait([self._fetching])

    async def stop(self) -> None:
        """Stop the fetch, if one is running; no other begins after that."""
        self._is_stopped = True
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    def _not_recently_fetched(self, lists: tuple[NameList, ...]) -> tuple[NameList, ...]:
        """Return the lists without those that this process has requested recently, successfully or not.

        The store also has the times of the requests, but these are unreliable if the wall clock was set or the disk is
        full.
        """
        now = self._clock.monotonic()
        return tuple(names for names in lists if now - self._requested_at.get(names, -math.inf) >= RETRY_AFTER_SECONDS)

    async def _find(self, ids: WantedIds) -> Names:
        return await self._store.run(name_table.find_names, self._source, ids.people, ids.trainings, ids.fields)

    async def _fetch(self, lists: tuple[NameList, ...], priority: Priority) -> None:
        try:
            for names in lists:
                await self._fetch_guarded(names, priority)
        except StoreError as error:
            _log.error(error.message, extra={"source": self._source, "reason": error.reason})
        finally:
            self._fetching = None

    async def _fetch_guarded(self, names: NameList, priority: Priority) -> None:
        """Fetch one list; an internal error is reported but not raised, so that the other lists are fetched, too."""
        try:
            await self._fetch_one(names, priority)
        except StoreError:
            raise
        except Exception as fault:  # noqa: BLE001 - it is reported, and the work is tried again after a pause
            await self._on_fault(names, fault)
        else:
            await self._on_fault(names, None)

    async def _fetch_one(self, names: NameList, priority: Priority) -> None:
        """Fetch one list; if the fetch is interrupted, the names received so far are kept."""
        self._requested_at[names] = self._clock.monotonic()
        try:
            match names:
                case NameList.PEOPLE:
                    await self._fetch_people(priority)
                case NameList.TRAININGS:
                    await self._fetch_trainings(priority)
                case NameList.JOB_TITLES:
                    await self._fetch_job_titles(priority)
        except ApiError as failure:
            self._on_failure(self._source, failure.reason)
            self._failures[names] = failure.reason
            before = await self._store_outcome(names, failure.reason)
            if before != failure.reason:
                _log.warning(
                    "names cannot be fetched; messages show ids instead of unknown names",
                    extra={"source": self._source, "list": names, "reason": failure.reason},
                )
        else:
            self._failures.pop(names, None)
            if await self._store_outcome(names, "ok") not in (None, "ok"):
                _log.warning("fetching names works again", extra={"source": self._source, "list": names})

    async def _fetch_people(self, priority: Priority) -> None:
        users: list[str] = []
        async with aclosing(self._client.people(priority)) as batches:
            async for people in batches:
                users += people
                rows = [
                    PersonName(id_, person.name, person.employee_number, person.facts) for id_, person in people.items()
                ]
                await self._store.run(name_table.store_people, self._source, rows)
        if users:
            await self._store.run(erasure.delete_names, self._source, users)

    async def _fetch_trainings(self, priority: Priority) -> None:
        async with aclosing(self._client.trainings(priority)) as batches:
            async for trainings in batches:
                titles = [(id_, training.title) for id_, training in trainings.items()]
                facts = {id_: training.facts for id_, training in trainings.items()}
                await self._store.run(name_table.store_trainings, self._source, titles, facts)

    async def _fetch_job_titles(self, priority: Priority) -> None:
        async with aclosing(self._client.job_titles(priority)) as batches:
            async for titles in batches:
                await self._store.run(name_table.store_job_titles, self._source, titles.items())

    async def _store_outcome(self, names: NameList, outcome: str) -> str | None:
        """Store the outcome of a fetch; return the previous outcome, None if there was none."""
        self._fetched_ms = None
        return await self._store.run(
            name_table.store_fetch, self._source, names, self._clock.now_ms(), outcome, self._facts.get(names, "")
        )
