"""Takes one page that was read all the way into the ledger: known, judged, named, written."""

import asyncio
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import orjson
from sqlite_utils import Database

from notifier.clock import Clock
from notifier.completions import Change, Completion, Event, EventType, Names, Net
from notifier.kpa.client import Page
from notifier.kpa.records import ApiVersion
from notifier.ledger import days, records, sources, sweeps
from notifier.ledger.ledger import Ledger
from notifier.ledger.records import Findings, Known, Learned
from notifier.ledger.subscriptions import Subscription
from notifier.ledger.sweeps import SweptPage
from notifier.watch.equals import EqualRecords, Recount, base_of
from notifier.watch.names import NameBook
from notifier.watch.stretches import Day, day_of
from notifier.watch.unreadable import UnreadableRecords
from notifier.watch.verdicts import Baseline, compare, in_order_of_entry, judge, removal


@dataclass(frozen=True, slots=True)
class Along:
    """What else is written in a page's own transaction.

    `meet_at_ms` fixes the first meeting. `head_until` notes, if the page holds fresh records, down to which page the
    head must be read: the records that are known from now on would pass for known ground if the poll broke off.
    `swept` advances a sweep.
    """

    meet_at_ms: int | None = None
    head_until: int | None = None
    swept: SweptPage | None = None


_ALONE: Final = Along()


@dataclass(frozen=True, slots=True)
class Taken:
    """What a page came to.

    `ids` are the ledger's numbers of the page's records that are known now, if `Along` did not make them unnecessary.
    """

    events: tuple[Event, ...] = ()
    holds_fresh: bool = False
    ids: "array[int]" = field(default_factory=lambda: array("q"))
    learned: Sequence[Learned] = ()
    changes: Sequence[Change] = ()

    def moved(self) -> Counter[Day]:
        """Tell by how many the known records of each day have become more or fewer."""
        moved = Counter(day_of(learned.completion.completed_on) for learned in self.learned)
        for change in self.changes:
            day = day_of(change.completion.completed_on)
            match change.type:
                case EventType.CREATED:
                    moved[day] += 1
                case EventType.REMOVED:
                    moved[day] -= 1
                case EventType.UPDATED if change.previous is not None:
                    moved[day] += 1
                    moved[day_of(change.previous.completed_on)] -= 1
        return moved

    def found(self) -> int:
        """Count the records that are known now and were not before."""
        return len(self.learned) + sum(change.type is EventType.CREATED for change in self.changes)


class PageTaker:
    """Writes pages of one source to the ledger, one at a time."""

    def __init__(
        self,
        source: str,
        id_namespace: str,
        version: ApiVersion,
        ledger: Ledger,
        names: NameBook | None,
        recount: Recount,
        clock: Clock,
        subscriptions: Callable[[], Sequence[Subscription]],
        on_events: Callable[[Sequence[Event]], None],
    ) -> None:
        """Take what a page needs on its way.

        `recount` asks for all records of a person and a training, `subscriptions` tells who wants events now,
        `on_events` hears of new ones.
        """
        self._source = source
        self._id_namespace = id_namespace
        self._version = version
        self._ledger = ledger
        self._names = names
        self._equals = EqualRecords(source, ledger, recount) if version.record_id is None else None
        self._clock = clock
        self._subscriptions = subscriptions
        self._on_events = on_events
        # Between looking a key up and writing it no other page of this source may do the same.
        self._turn = asyncio.Lock()
        self._unreadable = UnreadableRecords(source)

    async def take(self, page: Page, baseline: Baseline, net: Net, along: Along = _ALONE) -> Taken:
        """Bring a page's history, changes and events into the ledger, and `along` with it, in one transaction.

        Raises LedgerError and ApiFailure, with nothing written.
        """
        self._unreadable.report(page.bad)
        async with self._turn:
            completions = await self._equals.settle(page.completions) if self._equals else page.completions
            return await self._bring(completions, (), baseline, net, along)

    async def confirm(self, answer: Page, suspects: Collection[str], baseline: Baseline, net: Net) -> Taken:
        """Take the answer to a precise question, which holds all records of a person and a training.

        Those of the known records `suspects`, of that person and training, that it lacks are gone. Raises LedgerError,
        with nothing written.
        """
        self._unreadable.report(answer.bad)
        async with self._turn:
            completions = answer.completions
            if self._equals:
                completions = await self._equals.settle(completions, complete=True)
            present = {completion.key for completion in completions}
            gone = [key for key in suspects if key not in present and not self._may_be_bad(key, answer)]
            return await self._bring(completions, gone, baseline, net, _ALONE)

    async def _bring(
        self, completions: Sequence[Completion], gone: Sequence[str], baseline: Baseline, net: Net, along: Along
    ) -> Taken:
        keys = [completion.key for completion in completions]
        known = await self._ledger.run(records.known, self._source, [*keys, *gone])
        judgement = judge(completions, known, baseline, net)
        changes = judgement.changes
        if judgement.suspects or gone:
            updates = await self._updates(judgement.suspects, known, net)
            removals = await self._removals(gone, known, net)
            changes = (*in_order_of_entry([*changes, *updates]), *removals)
        nothing_new = not changes and not judgement.learned
        known_ids = array("q", (known[key].id for key in keys)) if nothing_new else None
        if known_ids is not None and along == _ALONE:
            return Taken(ids=known_ids)
        names = await self._names.of(change.completion for change in changes) if self._names and changes else Names()
        events, ids = await self._ledger.run(
            _write,
            Findings(self._source, self._id_namespace, judgement.learned, changes, names),
            self._subscriptions(),
            self._clock.now_ms(),
            along if judgement.holds_fresh else replace(along, head_until=None),
            keys,
            known_ids,
        )
        if events:
            self._on_events(events)
        return Taken(tuple(events), judgement.holds_fresh, ids, judgement.learned, changes)

    async def _updates(self, suspects: Sequence[Completion], known: dict[str, Known], net: Net) -> list[Change]:
        before = await self._last_known([suspect.key for suspect in suspects])
        return [
            change
            for suspect in suspects
            if suspect.key in before
            and (change := compare(suspect, before[suspect.key], known[suspect.key].revision, net))
        ]

    async def _removals(self, gone: Sequence[str], known: dict[str, Known], net: Net) -> list[Change]:
        existing = [key for key in gone if key in known and not known[key].removed]
        before = await self._last_known(existing)
        return [removal(before[key], known[key].revision, net) for key in existing if key in before]

    async def _last_known(self, keys: Sequence[str]) -> dict[str, Completion]:
        """Read records back from the ledger, without those that this version of the program cannot read."""
        if not keys:
            return {}
        stored = await self._ledger.run(records.stored, self._source, keys)
        read = {key: read_stored(self._version, key, raw) for key, raw in stored.items()}
        return {key: completion for key, completion in read.items() if completion is not None}

    def _may_be_bad(self, key: str, answer: Page) -> bool:
        """Tell whether a record that cannot be read may be the one of this key."""
        alike = base_of if self._equals else str
        return any(bad.key is None or alike(bad.key) == alike(key) for bad in answer.bad)


def read_stored(version: ApiVersion, key: str, raw: bytes) -> Completion | None:
    """Read a record back from the ledger, under the key that it was given when it was met."""
    completions, _ = version.parse([orjson.loads(raw)])
    return replace(completions[0], key=key) if completions else None


def _write(
    db: Database,
    findings: Findings,
    subscriptions: Sequence[Subscription],
    now_ms: int,
    along: Along,
    keys: Sequence[str],
    ids: "array[int] | None",
) -> "tuple[list[Event], array[int]]":
    if along.meet_at_ms is not None:
        sources.meet(db, findings.source, along.meet_at_ms)
    if along.head_until is not None:
        sources.read_head_until(db, findings.source, along.head_until)
    events = records.write(db, findings, subscriptions, now_ms)
    if ids is None:
        # A first sweep has no use for them, and they would cost it a tenth of its time.
        wanted = along.swept is None or along.swept.marks
        ids = days.ids_of(db, findings.source, keys if wanted else ())
    if along.swept is not None:
        sweeps.advance(db, along.swept, changes=len(events), ids=ids.tobytes())
    return events, ids
