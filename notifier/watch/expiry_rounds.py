"""Announces completions that expire, in a daily round over the store.

A round examines all pairs of a person and a training; the newest completion of a pair counts. There is also a round
after each start. After an event about a pair with an announced end, that pair is examined again within seconds.

An announcement is made exactly once: one transaction writes it, its deliveries and the note that it was made. Usually,
no request to the API is needed. Only with `expiry_dates = "employee_status"`, a separate task reads the account's list,
which can take minutes.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, date, datetime
from typing import Final

import orjson
from msgspec import Struct
from msgspec.structs import replace

from notifier.clock import Clock
from notifier.config import Settings, SourceSettings
from notifier.config.source_settings import ExpiryDates
from notifier.events import Event, EventType
from notifier.kpa.errors import ApiError
from notifier.store.database import Database
from notifier.store.errors import StoreError
from notifier.store.store import Store
from notifier.store.subscriptions import Subscription
from notifier.store.tables import expiries, known_ids
from notifier.store.tables import names as name_table
from notifier.store.tables.expiries import ExpiryRow, PresentRecord
from notifier.store.tables.names import NameList
from notifier.watch.background_tasks import cancel_and_wait
from notifier.watch.employee_statuses import StatusPageReader, read_employee_statuses
from notifier.watch.expiry_announcements import ExpiryOutcome, ExpiryRequest, Pair, announce_due, retract_outdated
from notifier.watch.name_cache import wanted_facts

_log = logging.getLogger(__name__)

EVERY_SECONDS: Final = 30.0
"""Seconds between two checks for due rounds and for pairs to be examined again."""

_LONGEST_OFFSET_SECONDS: Final = 86_400.0
"""If this machine's clock differs from its peers' clocks by this many seconds or more, no round is run."""

_PEERS_AWAITED_SECONDS: Final = 600.0
"""Maximum seconds after the start that rounds wait for a peer to report its time; after that, they run anyway."""

_AT_ONCE: Final = 500
"""Maximum number of records that one transaction examines."""

_EXPIRY_EVENTS: Final = (EventType.EXPIRING, EventType.EXPIRED, EventType.RENEWED)


def local_day(ms: int) -> date:
    """Return the day of a moment (Unix ms) in the machine's time zone."""
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone().date()


class _Reading(Struct, frozen=True):
    """A round that is reading an employee status list: its task, and the source's settings at its start."""

    settings: SourceSettings
    task: asyncio.Task[None]


class ExpiryRounds:
    """Runs the daily rounds of all sources for which the setting `expiry` is on."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: Callable[[], Settings],
        subscriptions: Callable[[], Sequence[Subscription]],
        on_events: Callable[[Sequence[Event]], None],
        on_dequeued: Callable[[Collection[str]], None],
        status_list: Callable[[str], StatusPageReader | None] = lambda _source: None,
        clock_offset_seconds: Callable[[], float | None] = lambda: 0.0,
    ) -> None:
        """Initialise with functions that return the present settings and subscriptions.

        `on_events` gets new events, `on_dequeued` the names of destinations whose waiting deliveries were deleted.
        `status_list` returns the function that reads a source's employee status list; None if the source is not
        watched. `clock_offset_seconds` returns how far the clocks of the called servers are ahead (negative: behind;
        None: unknown).
        """
        self._status_list = status_list
        self._clock_offset_seconds = clock_offset_seconds
        self._started_at = clock.monotonic()
        self._readings: dict[str, _Reading] = {}
        self._unreadable_lists: set[str] = set()
        self._store = store
        self._clock = clock
        self._settings = settings
        self._subscriptions = subscriptions
        self._on_events = on_events
        self._on_taken_back = on_dequeued
        self._done_on: dict[str, date] = {}
        self._changed_pairs: dict[str, set[Pair]] = {}
        self._waiting_sources: set[str] = set()

    def note_events(self, events: Iterable[Event]) -> None:
        """Remember the pairs of a person and a training in these events, to examine them again."""
        sources = self._settings().sources
        for event in events:
            if event.type in _EXPIRY_EVENTS or event.source not in sources or not sources[event.source].expiry:
                continue
            data = orjson.loads(event.data)
            completion, old = data["completion"], data["previous"] or {}
            pairs = self._changed_pairs.setdefault(event.source, set())
            pairs.add((completion["user_id"], completion["training_id"]))
            pairs.add((old.get("user_id", completion["user_id"]), old.get("training_id", completion["training_id"])))

    async def run_due_rounds(self) -> None:
        """Run the rounds that are due; after a failed write, the next call continues.

        A round that reads a status list is only started here. While this machine's clock seems to be wrong, nothing is
        done: an end that is announced too early cannot be announced again.
        """
        if not self.clock_seems_right():
            return
        sources = {name: source for name, source in self._settings().sources.items() if source.expiry}
        self._done_on = {name: day for name, day in self._done_on.items() if name in sources}
        try:
            await self._store.run(expiries.delete_other_sources, list(sources))
            await self._clean_up_readings(sources)
            for name, source in sources.items():
                await self._process_source(name, source)
        except StoreError as error:
            # Other parts, which use the store all the time, report the same error.
            _log.debug(error.message, extra={"reason": error.reason})

    def clock_seems_right(self) -> bool:
        """Return whether this machine's clock and its peers' clocks differ by less than a day.

        While no peer has reported its time, return whether _PEERS_AWAITED_SECONDS have passed since the start.
        """
        offset = self._clock_offset_seconds()
        if offset is None:
            return self._clock.monotonic() - self._started_at >= _PEERS_AWAITED_SECONDS
        return abs(offset) < _LONGEST_OFFSET_SECONDS

    async def stop(self) -> None:
        """Stop the rounds that are reading a status list; the next run of the program repeats them."""
        if tasks := [reading.task for reading in self._readings.values()]:
            await cancel_and_wait(tasks)

    async def wait_for_readings(self) -> None:
        """Wait until all rounds that are reading a status list have ended."""
        if tasks := [reading.task for reading in self._readings.values()]:
            await asyncio.wait(tasks)

    async def _clean_up_readings(self, sources: Mapping[str, SourceSettings]) -> None:
        """Forget finished rounds, and stop rounds whose settings have changed. Raises the error of a failed round."""
        for name, reading in [*self._readings.items()]:
            if reading.task.done():
                del self._readings[name]
                await reading.task
            elif sources.get(name) != reading.settings:
                del self._readings[name]
                await cancel_and_wait([reading.task])

    async def _process_source(self, name: str, source: SourceSettings) -> None:
        if name in self._readings:
            return
        now_ms = self._clock.now_ms()
        today = local_day(now_ms)
        since, last = await self._store.run(expiries.read_or_start, name, today.isoformat())
        request = ExpiryRequest(name, source, self._subscriptions(), today, date.fromisoformat(since), now_ms)
        if self._done_on.get(name) != today:
            if last is None and not await self._store.run(_is_ready, name, source):
                if name not in self._waiting_sources:
                    self._waiting_sources.add(name)
                    _log.info(
                        "the first check for completions that run out waits for the first sweep and the lists of names",
                        extra={"source": name},
                    )
                return
            if source.expiry_dates is ExpiryDates.RECORDS:
                await self._do_round(request)
            elif (page := self._status_list(name)) is not None:
                task = asyncio.create_task(self._do_round(request, page), name=f"expiry {name}")
                self._readings[name] = _Reading(source, task)
        elif pairs := self._changed_pairs.pop(name, None):
            try:
                await self._retract_and_announce_pairs(request, pairs)
            except StoreError:
                self._changed_pairs.setdefault(name, set()).update(pairs)
                raise

    async def _do_round(self, request: ExpiryRequest, page: StatusPageReader | None = None) -> None:
        """Examine the newest completion of each person and training.

        `page` is the function that reads a page of the employee status list; None if the list is not used. For the
        people in the list, the list decides until when completions are valid.
        """
        name = request.source
        read: set[str] = set()
        changed_pairs: set[Pair] = set()
        if page is not None:
            self._changed_pairs.pop(name, None)
            read = await self._announce_listed(request, page, await self._retract_outdated(request))
            request = self._brought_up_to_date(request)
            # Pairs that have changed while the list was read are examined again.
            changed_pairs = self._changed_pairs.get(name, set())
        self._changed_pairs.pop(name, None)
        newest = await self._retract_outdated(request)
        rest = [record.id for pair, record in newest.items() if pair[0] not in read or pair in changed_pairs]
        await self._announce_ids(request, rest)
        await self._store.run(expiries.store_round, name, request.today.isoformat())
        self._done_on[name] = request.today

    async def _retract_outdated(self, request: ExpiryRequest) -> dict[Pair, PresentRecord]:
        """Withdraw announcements about completions that are not the newest of their pair.

        Returns the newest completions, by pair. If a completion now belongs to another person, its old announcement is
        withdrawn here. The same round can then announce it for that person.
        """
        newest = await self._newest(request.source)
        await self._retract(request, await self._store.run(expiries.standing_announcements, request.source), newest)
        return newest

    async def _announce_listed(
        self, request: ExpiryRequest, page: StatusPageReader, newest: Mapping[Pair, PresentRecord]
    ) -> set[str]:
        """Examine the completions of the people in the status list, page by page.

        Returns the ids of these people. If a page cannot be read, return the ids of the people on the pages before.
        """
        name = request.source
        numbers: dict[str, list[tuple[Pair, int]]] = {}
        for pair, record in newest.items():
            numbers.setdefault(pair[0], []).append((pair, record.id))
        read: set[str] = set()
        try:
            async with aclosing(read_employee_statuses(page)) as statuses:
                async for people in statuses:
                    changed_pairs = self._changed_pairs.get(name, set())
                    theirs = [numbered for user in people for numbered in numbers.pop(user, ())]
                    listed = {(user, training): end for user in people for training, end in people[user].items()}
                    await self._announce_ids(
                        replace(self._brought_up_to_date(request), listed=listed),
                        [number for pair, number in theirs if pair not in changed_pairs],
                    )
                    read.update(people)
            if name in self._unreadable_lists:
                self._unreadable_lists.remove(name)
                _log.info("the employee status list can be read again", extra={"source": name})
        except ApiError as failure:
            if name not in self._unreadable_lists:
                self._unreadable_lists.add(name)
                _log.warning(
                    "the employee status list cannot be read; for people not read, the records' own dates count, and"
                    " what was announced by the list stays; it is read again tomorrow",
                    extra={"source": name, "reason": failure.reason, "people": len(read), "detail": failure.message},
                )
        return read

    def _brought_up_to_date(self, request: ExpiryRequest) -> ExpiryRequest:
        """Return the request with the present time and subscriptions, because reading a list takes a while."""
        return replace(request, subscriptions=self._subscriptions(), now_ms=self._clock.now_ms())

    async def _newest(self, name: str) -> dict[Pair, PresentRecord]:
        """Return the newest completion of each pair of a person and a training, without removed records."""
        found: dict[Pair, PresentRecord] = {}
        after = 0
        while records := await self._store.run(expiries.present_records, name, after):
            _keep_newest(found, records)
            after = records[-1].id
            if len(records) < expiries.EXAMINED_AT_ONCE:
                break
            await asyncio.sleep(0)
        return found

    async def _announce_ids(self, request: ExpiryRequest, numbers: Iterable[int]) -> None:
        ids = sorted(numbers)
        for first in range(0, len(ids), _AT_ONCE):
            self._report_outcome(await self._store.run(announce_due, request, ids[first : first + _AT_ONCE]))

    async def _retract_and_announce_pairs(self, request: ExpiryRequest, pairs: set[Pair]) -> None:
        rows = await self._store.run(expiries.standing_announcements, request.source)
        # Only announcements about these pairs may have to be withdrawn. Completions that newly run out are found by
        # the next round.
        affected = [row for row in rows if (row.user_id, row.training_id) in pairs]
        if not affected:
            return
        affected_pairs = {(row.user_id, row.training_id) for row in affected}
        newest: dict[Pair, PresentRecord] = {}
        _keep_newest(newest, await self._store.run(expiries.present_records_of, request.source, affected_pairs))
        await self._retract(request, affected, newest)
        self._report_outcome(
            await self._store.run(announce_due, request, sorted(record.id for record in newest.values()))
        )

    async def _retract(
        self, request: ExpiryRequest, rows: Sequence[ExpiryRow], newest: Mapping[Pair, PresentRecord]
    ) -> None:
        ids = {pair: record.id for pair, record in newest.items()}
        for first in range(0, len(rows), _AT_ONCE):
            chunk = [(row, ids.get((row.user_id, row.training_id))) for row in rows[first : first + _AT_ONCE]]
            self._report_outcome(await self._store.run(retract_outdated, request, chunk))

    def _report_outcome(self, outcome: ExpiryOutcome) -> None:
        if outcome.dequeued_destinations:
            self._on_taken_back(outcome.dequeued_destinations)
        if outcome.events:
            self._on_events(outcome.events)


def _keep_newest(found: dict[Pair, PresentRecord], records: Iterable[PresentRecord]) -> None:
    for record in records:
        pair = record.user_id, record.training_id
        if pair not in found or record.order > found[pair].order:
            found[pair] = record


def _is_ready(db: Database, source: str, settings: SourceSettings) -> bool:
    """Return whether a sweep has read all completions, and the lists of trainings and people were fetched.

    The list of people is needed because it says who has left.
    """
    row = db.execute("SELECT swept_at FROM sources WHERE name = ?", [source]).fetchone()
    if row is None or row[0] is None:
        return False
    fetched = name_table.last_fetches(db, source)
    facts = wanted_facts(settings)
    return all(
        fetched.get(names, (0, None))[1] == facts[names] and known_ids.names_are_fetched(db, [source], names)
        for names in (NameList.PEOPLE, NameList.TRAININGS)
    )
