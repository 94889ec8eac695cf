"""Takes one page that was read all the way into the ledger: known, judged, named, written."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import orjson
from sqlite_utils import Database

from notifier.clock import Clock
from notifier.completions import Change, Completion, Event, Names, Net
from notifier.kpa.client import Page
from notifier.kpa.records import ApiVersion
from notifier.ledger import records, sources, sweeps
from notifier.ledger.ledger import Ledger
from notifier.ledger.records import Findings, Known
from notifier.ledger.subscriptions import Subscription
from notifier.watch.equals import EqualRecords, Recount
from notifier.watch.names import NameBook
from notifier.watch.verdicts import Baseline, compare, in_order_of_entry, judge

_log = logging.getLogger(__name__)

_MOST_REPORTS = 100
"""Bad records that are named in the log; should the API change, all of them may be bad."""


@dataclass(frozen=True, slots=True)
class SweepStep:
    """How a page advances a sweep: written in the page's own transaction."""

    sweep: int
    next_page: int
    last_page: int | None


@dataclass(frozen=True, slots=True)
class Taken:
    """What a page came to."""

    events: tuple[Event, ...]
    holds_fresh: bool


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
        subscriptions: Sequence[Subscription],
        on_events: Callable[[Sequence[Event]], None],
    ) -> None:
        """Take what a page needs on its way.

        `recount` asks for all records of a person and a training, `subscriptions` tell who wants events, `on_events`
        hears of new ones.
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
        self._bad_reported: set[tuple[str | None, str]] = set()

    async def take(
        self,
        page: Page,
        baseline: Baseline,
        net: Net,
        *,
        meet_at_ms: int | None = None,
        head_until: int | None = None,
        step: SweepStep | None = None,
    ) -> Taken:
        """Bring a page's history, changes and events into the ledger in one transaction.

        In that same transaction `meet_at_ms` fixes the first meeting, `step` advances a sweep, and `head_until` notes,
        if the page holds fresh records, down to which page the head must be read: the records that are known from now
        on would pass for known ground if the poll broke off. Raises LedgerError and ApiFailure, with nothing written.
        """
        self._report_bad(page)
        async with self._turn:
            completions = await self._equals.settle(page.completions) if self._equals else page.completions
            keys = [completion.key for completion in completions]
            known = await self._ledger.run(records.known, self._source, keys)
            judgement = judge(completions, known, baseline, net)
            updates = await self._updates(judgement.suspects, known, net) if judgement.suspects else ()
            changes = in_order_of_entry([*judgement.changes, *updates]) if updates else judgement.changes
            nothing_new = not changes and not judgement.learned and meet_at_ms is None and step is None
            if nothing_new:
                return Taken((), holds_fresh=False)
            names = (
                await self._names.of(change.completion for change in changes) if self._names and changes else Names()
            )
            events = await self._ledger.run(
                _write,
                Findings(self._source, self._id_namespace, judgement.learned, changes, names),
                self._subscriptions,
                self._clock.now_ms(),
                meet_at_ms,
                head_until if judgement.holds_fresh else None,
                step,
                page.size,
            )
        if events:
            self._on_events(events)
        return Taken(tuple(events), judgement.holds_fresh)

    async def _updates(self, suspects: Sequence[Completion], known: dict[str, Known], net: Net) -> tuple[Change, ...]:
        stored = await self._ledger.run(records.stored, self._source, [suspect.key for suspect in suspects])
        updates = []
        for suspect in suspects:
            previous = read_stored(self._version, suspect.key, stored[suspect.key])
            if previous and (change := compare(suspect, previous, known[suspect.key].revision, net)):
                updates.append(change)
        return tuple(updates)

    def _report_bad(self, page: Page) -> None:
        for bad in page.bad:
            if (bad.key, bad.problem) in self._bad_reported or len(self._bad_reported) > _MOST_REPORTS:
                continue
            self._bad_reported.add((bad.key, bad.problem))
            if len(self._bad_reported) > _MOST_REPORTS:
                _log.warning("more records cannot be read; they are not named", extra={"source": self._source})
                continue
            _log.warning(
                "a record cannot be read and is left out",
                extra={"source": self._source, "record": bad.key, "problem": bad.problem},
            )


def read_stored(version: ApiVersion, key: str, raw: bytes) -> Completion | None:
    """Read a record back from the ledger, under the key that it was given when it was met."""
    completions, _ = version.parse([orjson.loads(raw)])
    return replace(completions[0], key=key) if completions else None


def _write(
    db: Database,
    findings: Findings,
    subscriptions: Sequence[Subscription],
    now_ms: int,
    meet_at_ms: int | None,
    head_until: int | None,
    step: SweepStep | None,
    size: int,
) -> list[Event]:
    if meet_at_ms is not None:
        sources.meet(db, findings.source, meet_at_ms)
    if head_until is not None:
        sources.read_head_until(db, findings.source, head_until)
    events = records.write(db, findings, subscriptions, now_ms)
    if step is not None:
        sweeps.advance(
            db, step.sweep, next_page=step.next_page, last_page=step.last_page, records=size, changes=len(events)
        )
    return events
