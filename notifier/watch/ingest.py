"""Ingests answers: looks up the known records, decides what has changed, fetches names, and writes to the store."""

import asyncio
from array import array
from collections.abc import Callable, Collection, Sequence
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from notifier.events import Change, Completion, DetectedBy, Event, EventType, Names
from notifier.kpa.client import Page
from notifier.kpa.versions import API_VERSIONS, InvalidRecord, SkimmedRecords, read_all_stored, read_missing
from notifier.store.subscriptions import Subscription
from notifier.store.tables import holds, record_lookups
from notifier.store.tables.outbox import Delivery
from notifier.store.tables.records import Findings, SilentRecord
from notifier.store.tables.records_by_date import DayBoundary
from notifier.store.tables.second_looks import LookKind
from notifier.watch.detection import renumbering
from notifier.watch.detection.balance import count_bounds
from notifier.watch.detection.evidence import AnswerContext, has_new_records, removal_change
from notifier.watch.detection.news import Baseline, NewsReason
from notifier.watch.detection.unreadable import UnreadableRecordLog, to_unreadable_records
from notifier.watch.detection.v1_records import V1Records
from notifier.watch.detection.view import View
from notifier.watch.ingest_transaction import (
    IngestRequest,
    PageMetadata,
    evaluate_and_write,
    learn_held,
    write_evaluated,
    write_only,
)
from notifier.watch.name_cache import NameCache
from notifier.watch.past_answers import PastAnswers
from notifier.watch.second_looks import SecondLooks
from notifier.watch.source_context import SourceContext
from notifier.watch.source_reader import PreciseAnswer

_NOTHING_ELSE: Final = PageMetadata()
_RELEASED_AT_ONCE: Final = 200


class IngestResult(Struct, frozen=True):
    """The result of writing an answer to the store."""

    requested_at: float
    """When the answer was requested (monotonic seconds)."""
    events: tuple[Event, ...] = ()
    has_new_records: bool = False
    """Whether the next page may have new records, too."""
    ids: "array[int]" = field(default_factory=lambda: array("q"))
    """The store's numbers of the known records of the answer."""
    learned: Sequence[SilentRecord] = ()
    changes: Sequence[Change] = ()
    ends_round: bool = False
    """Whether the round is a success. If the success had to be stored at once, it was stored with the answer."""
    probe_boundary: DayBoundary | None = None
    """A place in the list that can be probed after the round."""

    def new_records(self) -> int:
        """Return the number of records that became known with this answer."""
        return len(self.learned) + sum(change.type is EventType.CREATED for change in self.changes)


class _Answer(Struct, frozen=True):
    """The parts of an answer that are examined and written; `IngestRequest` explains the fields."""

    completions: Sequence[Completion]
    bad: Sequence[InvalidRecord]
    requested_at: float
    absent: Collection[str] = ()
    max_gone: int | None = None
    max_records: int | None = None
    is_precise: bool = False
    skimmed: SkimmedRecords | None = None

    def keys(self) -> list[str]:
        """Return the keys of the readable records, then the keys of the known records that the answer lacks."""
        shown = self.skimmed.keys if self.skimmed is not None else [it.key for it in self.completions]
        return [*shown, *self.absent]


Observer = Callable[[IngestResult], None]

OnDeliveries = Callable[[Sequence[Event], Sequence[Delivery]], None]
"""A function that gets newly stored events and the first of their deliveries."""


def ignore_deliveries(_events: Sequence[Event], _deliveries: Sequence[Delivery]) -> None:
    """Do nothing. With this default, the workers get new deliveries only from the store."""


class PageIngester:
    """Writes the answers of one source to the store, one at a time. Raises StoreError and ApiError."""

    def __init__(
        self,
        context: SourceContext,
        names: NameCache | None,
        v1_records: V1Records | None,
        looks: SecondLooks,
        subscriptions: Callable[[], Sequence[Subscription]],
        on_events: Callable[[Sequence[Event]], None],
        on_deliveries: OnDeliveries = ignore_deliveries,
    ) -> None:
        """Initialise with the collaborators.

        `subscriptions` returns the current subscriptions. `on_events` gets all new events. Before that, `on_deliveries`
        gets the events that an answer has caused, with their deliveries. `v1_records` determines the keys of records
        without ids; None if the API version has ids.
        """
        self._context = context
        self._version = API_VERSIONS[context.settings.api]
        self._names = names
        self._v1_records = v1_records
        self._subscriptions = subscriptions
        self._on_events = on_events
        self._on_deliveries = on_deliveries
        self._unreadable = UnreadableRecordLog(context.name)
        # Two answers of a source must not look up and write the same key at the same time.
        self._turn = asyncio.Lock()
        self._past = PastAnswers(context, looks)
        self.observers: list[Observer] = []
        """Callbacks that get the result of every answer."""
        self.found_at_head = 0
        """The number of records that became known by head polls, since the daemon started."""
        self.found_without_head_poll = 0
        """The number of records that became known by requests other than head polls, since the daemon started."""
        self.found_missing = 0
        """How many times a missing record began to wait for a second look, since the daemon started."""
        self.events_at_head = 0
        """The number of events that head polls have caused, since the daemon started."""

    @property
    def existing_changed_at(self) -> float:
        """The time of the latest request whose answer has changed the number of known records (monotonic seconds)."""
        return self._past.existing_changed_at

    async def ingest(self, page: Page, detected_by: DetectedBy, metadata: PageMetadata = _NOTHING_ELSE) -> IngestResult:
        """Write a page and its metadata to the store, in one transaction."""
        self._unreadable.report(page.bad)
        self._unreadable.report_fields(page.completions)
        async with self._turn:
            await self._past.note_unreadable(page.bad)
            completions: Sequence[Completion] = page.completions
            if self._v1_records is not None:
                completions = await self._v1_records.assign_page_keys(page)
            max_records = count_bounds(page, believe_total=not self._context.health.memory.total_disbelieved).most
            answer = _Answer(completions, page.bad, page.requested_at, max_records=max_records, skimmed=page.skimmed)
            result = await self._ingest(answer, detected_by, metadata)
        if detected_by is DetectedBy.HEAD:
            self.found_at_head += result.new_records()
            self.events_at_head += len(result.events)
        if result.events:
            # Let the destinations send their requests before this source sends its next one.
            await asyncio.sleep(0)
        return result

    async def ingest_precise(
        self, answer: PreciseAnswer, suspects: Collection[str], max_gone: int | None, detected_by: DetectedBy
    ) -> IngestResult:
        """Write the answer to a precise question (for all records of a person or a training) to the store.

        `suspects` are the keys of known records that the answer should contain. At most `max_gone` of the missing ones
        can be gone (None: any number).
        """
        self._unreadable.report(answer.bad)
        async with self._turn:
            completions: Sequence[Completion] = answer.completions
            if self._v1_records is not None:
                completions = await self._v1_records.assign_answer_keys(answer)
            present = {completion.key for completion in completions} | answer.unreadable_keys()
            absent = (
                ()
                if answer.has_unidentified_record or not answer.is_whole
                else tuple(key for key in suspects if key not in present)
            )
            whole = _Answer(
                completions, answer.bad, answer.requested_at, absent=absent, max_gone=max_gone, is_precise=True
            )
            return await self._ingest(whole, detected_by, _NOTHING_ELSE)

    def begin_sweep(self) -> None:
        """Set the sweep's counts of arrivals and changes to zero; these counts are compared with the hold limits."""
        self._past.begin_sweep()

    async def announce(self, keys: Sequence[str], reason: NewsReason, detected_by: DetectedBy) -> int:
        """Announce known records that had no event; return the number of events."""
        async with self._turn:
            contents = read_all_stored(self._version, await self._stored_json(keys))
            changes = tuple(
                Change(EventType.CREATED, completion, 1, detected_by, reason) for completion in contents.values()
            )
            names = await self._names_for(changes)
            findings = self._empty_findings(announced=changes, names=names)
            events, memory = await self._context.store.run(
                write_only, findings, self._subscriptions(), self._context.clock.now_ms()
            )
        self._context.health.remember(memory)
        if events:
            self._on_events(events)
        return len(events)

    async def remove(self, keys: Sequence[str], *, silently: bool) -> int:
        """Mark known records as gone and, if not `silently`, announce their removal.

        Returns the number of events. A record whose arrival is held back was never announced, so it is only forgotten.
        """
        event_count = 0
        for first in range(0, len(keys), _RELEASED_AT_ONCE):
            chunk = keys[first : first + _RELEASED_AT_ONCE]
            async with self._turn:
                known = await self._context.store.run(record_lookups.known_records, self._context.name, chunk)
                # A second look may have confirmed a removal meanwhile.
                present = [key for key in chunk if key in known and not known[key].removed]
                dropped = tuple(key for key in present if known[key].held)
                gone = [key for key in present if not known[key].held]
                contents = read_missing(self._version, await self._stored_json(gone))
                changes = (
                    []
                    if silently
                    else [
                        removal_change(completion, known[key].revision, DetectedBy.SWEEP)
                        for key, completion in contents.items()
                    ]
                )
                findings = replace(
                    self._empty_findings(announced=(), names=await self._names_for(changes)),
                    changes=tuple(changes),
                    removed=tuple(gone) if silently else (),
                    dropped=dropped,
                    ended_looks=chunk,
                )
                events, memory = await self._context.store.run(
                    write_only, findings, self._subscriptions(), self._context.clock.now_ms()
                )
                self._past.note(findings, asyncio.get_running_loop().time(), DetectedBy.SWEEP)
            self._context.health.remember(memory)
            if events:
                self._on_events(events)
            event_count += len(events)
        return event_count

    async def release_arrivals(self, *, silently: bool) -> int:
        """Announce the held-back arrivals or, if `silently`, only mark them as known; return their number."""
        store, source = self._context.store, self._context.name
        if silently:
            released, memory = await store.run(learn_held, source)
            self._context.health.remember(memory)
            return released
        released = 0
        tried: list[str] = []
        # Records that were stored in the form of another API version stay held until a sweep has read them again.
        while (keys := await store.run(holds.arrivals, source, _RELEASED_AT_ONCE)) and keys != tried:
            released += await self.announce(keys, NewsReason.RELEASED, DetectedBy.SWEEP)
            tried = keys
        return released

    async def _ingest(self, answer: "_Answer", detected_by: DetectedBy, metadata: PageMetadata) -> IngestResult:
        request = await self._request(answer, detected_by, metadata)
        requested_at = answer.requested_at
        store = self._context.store
        evaluated = await store.run(evaluate_and_write, request)
        if answer.skimmed is not None:
            self._unreadable.report_fields(evaluated.undecided)
        findings, written = evaluated.findings, evaluated.written
        if written is None:
            findings = replace(findings, names=await self._names_for(findings.changes_with_event()))
            written = await store.run(write_evaluated, request, findings, evaluated.lookup)
        if written.memory is not None:
            self._context.health.remember(written.memory)
        elif written.ends_round and request.success is not None:
            self._context.health.note_unstored_success(request.success)
        self._past.note(findings, requested_at, detected_by)
        renumbering.log_adoptions(self._context.name, findings)
        result = IngestResult(
            requested_at,
            tuple(written.events),
            has_new_records(findings),
            written.ids,
            findings.learned,
            findings.changes,
            written.ends_round,
            written.probe_boundary,
        )
        if written.events:
            self._on_deliveries(written.events, written.deliveries)
            self._on_events(written.events)
        if detected_by is not DetectedBy.HEAD:
            self.found_without_head_poll += result.new_records() + len(findings.adopted)
            self.found_missing += sum(look.kind is LookKind.REMOVAL for look in findings.looks)
        for observer in self.observers:
            observer(result)
        return result

    async def _request(self, answer: "_Answer", detected_by: DetectedBy, metadata: PageMetadata) -> IngestRequest:
        await self._past.recall()
        context, memory = self._context, self._context.health.memory
        contact_ms = memory.first_contact_ms
        baseline = Baseline(
            contact_ms,
            memory.swept_at_ms is not None,
            context.settings.first_run,
            memory.announced_until_ms,
            memory.view_since_ms,
            None if memory.view is None or memory.swept_at_ms is not None else View.from_text(memory.view).earlier,
        )
        return IngestRequest(
            self._version,
            answer.completions,
            to_unreadable_records(answer.bad),
            answer.absent,
            answer.max_gone,
            answer.max_records,
            memory,
            self._past.evidence(answer.requested_at, answer.keys(), is_precise=answer.is_precise),
            AnswerContext(
                context.name,
                context.settings.namespace(context.name),
                detected_by,
                answer.requested_at,
                context.clock.now_ms(),
                baseline,
                self._past.hold_state(memory, detected_by),
            ),
            metadata,
            self._subscriptions(),
            self._names is not None,
            answer.is_precise,
            None if metadata.end is None else context.health.success_to_store(metadata.end.longest_outage_seconds),
            answer.skimmed,
            context.settings.shown_person_fields(),
        )

    async def _names_for(self, changes: Sequence[Change]) -> Names:
        if self._names is None or not changes:
            return Names()
        return await self._names.names_for(change.completion for change in changes)

    async def _stored_json(self, keys: Sequence[str]) -> dict[str, bytes]:
        return await self._context.store.run(record_lookups.stored_json, self._context.name, keys)

    def _empty_findings(self, *, announced: Sequence[Change], names: Names) -> Findings:
        settings, name = self._context.settings, self._context.name
        return Findings(name, settings.namespace(name), announced=announced, names=names)
