"""The part of ingesting that runs in the store's thread: it looks up, decides and writes in one transaction."""

from array import array
from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from notifier.events import Completion, DetectedBy, Event, EventType, fingerprints
from notifier.facts import PersonField
from notifier.kpa.versions import RecordFormat, SkimmedRecords, read_all_stored, read_missing
from notifier.store.database import Database
from notifier.store.subscriptions import Subscription
from notifier.store.tables import (
    holds,
    left_out,
    record_lookups,
    records,
    records_by_date,
    second_looks,
    sources,
    sweeps,
)
from notifier.store.tables.left_out import UnreadableRecord
from notifier.store.tables.outbox import Delivery
from notifier.store.tables.record_lookups import StoredRecord
from notifier.store.tables.records import Findings
from notifier.store.tables.records_by_date import DayBoundary
from notifier.store.tables.second_looks import LookKind
from notifier.store.tables.silent_updates import Adoption
from notifier.store.tables.sources import RoundSuccess, SourceMemory
from notifier.store.tables.sweeps import SweptPage
from notifier.watch.detection.evidence import (
    AnswerContext,
    Evidence,
    changed_keys,
    evaluate_absences,
    evaluate_records,
    has_new_records,
)
from notifier.watch.detection.news import NewsReason
from notifier.watch.detection.renumbering import find_adoptions, may_be_renumbered, was_renumbered_lately
from notifier.watch.detection.view import View
from notifier.watch.name_cache import stored_names


class PageMetadata(Struct, frozen=True):
    """The values to store in the same transaction as a page."""

    first_contact_ms: int | None = None
    """The moment of the first contact, to be stored."""
    head_key: str | None = None
    """The key of the last record that the head poll has read. It is stored if the next page may have new records, too.

    If the poll is interrupted, the next one reads at least down to this record.
    """
    head_day: str | None = None
    """The completion date of that record."""
    swept: SweptPage | None = None
    """The progress of a sweep."""
    end: "RoundEnd | None" = None
    """The success of the round, if the round can end with this page."""


class RoundEnd(Struct, frozen=True):
    """The success of a round. The round ends with this page, unless the next page may have new records."""

    is_certain: bool
    """Whether there is nothing more to read, whatever this page contains."""
    longest_outage_seconds: float
    """If the last success is longer ago than this, a gap is recorded."""
    probe_fraction: float | None = None
    """Chooses the day for a probe after the round (0 to 1); None for no probe."""


class IngestRequest(Struct, frozen=True):
    """An answer and everything that the store's thread needs to decide about it."""

    version: RecordFormat
    completions: Sequence[Completion]
    unreadable: Sequence[UnreadableRecord]
    """The answer's unreadable records."""
    absent: Collection[str]
    """Keys of known records that a precise answer lacks."""
    max_gone: int | None
    """The maximum number of `absent` records that can be gone; None for any number."""
    max_records: int | None
    """The largest number of records that the API can have according to this answer; None if unknown."""
    memory: SourceMemory
    evidence: Evidence
    context: AnswerContext
    metadata: PageMetadata
    subscriptions: Sequence[Subscription]
    shows_names: bool
    is_precise: bool
    success: RoundSuccess | None = None
    """The success to store if the round ends with this answer."""
    skimmed: SkimmedRecords | None = None
    """The records, if they are not among the `completions` yet. Only those that have changed are parsed."""
    person_fields: frozenset[PersonField] = frozenset()
    """The facts about people that events show."""

    @property
    def keys(self) -> Sequence[str]:
        """The key of each readable record, in order."""
        if self.skimmed is not None:
            return self.skimmed.keys
        return [completion.key for completion in self.completions]

    @property
    def raws(self) -> Sequence[bytes]:
        """The JSON of each readable record, in order."""
        if self.skimmed is not None:
            return self.skimmed.raws
        return [completion.raw for completion in self.completions]

    @property
    def fingerprints(self) -> Sequence[int]:
        """The fingerprint of each readable record's JSON, in order."""
        if self.skimmed is not None and self.skimmed.fingerprints is not None:
            return self.skimmed.fingerprints
        return fingerprints(self.raws)

    def undecided(self, unchanged: Collection[str]) -> list[Completion]:
        """Return the records whose keys are not in `unchanged`."""
        if len(unchanged) == len(self.keys):
            return []
        if self.skimmed is not None:
            return self.skimmed.parse_except(unchanged)
        return [completion for completion in self.completions if completion.key not in unchanged]


class Lookup(Struct, frozen=True):
    """What the store knows about the records of an answer.

    `unchanged` has the known records that need no decision: their numbers in the store, by key. `known` has the other
    known records.
    """

    unchanged: Mapping[str, int]
    known: Mapping[str, StoredRecord]

    def ids(self, keys: Sequence[str]) -> "array[int]":
        """Return the numbers in the store of an answer's known records; `keys` are the keys of all its records."""
        others = (self.known[key].id for key in keys if key in self.known) if self.known else ()
        return array("q", [*self.unchanged.values(), *others])


class EvaluatedAnswer(Struct, frozen=True):
    """The decisions about an answer, and what was written; `written` is None if names have to be fetched first.

    `undecided` are the records that are not `unchanged` (see `Lookup`).
    """

    undecided: Sequence[Completion]
    findings: Findings
    lookup: Lookup
    written: "WrittenAnswer | None"


class WrittenAnswer(Struct, frozen=True):
    """What was written for an answer: its events, and the store's numbers of its known records (`ids`)."""

    events: Sequence[Event]
    ids: "array[int]"
    memory: SourceMemory | None
    """The source's state after the write; None if it is unchanged."""
    ends_round: bool = False
    """Whether the round is a success. If `memory` is None, this success was not stored."""
    probe_boundary: DayBoundary | None = None
    """A place in the list that can be probed after the round."""
    deliveries: Sequence[Delivery] = ()
    """The deliveries of the events; if there are very many, only the first of them."""


def evaluate_and_write(db: Database, request: IngestRequest) -> EvaluatedAnswer:
    """Decide about an answer, and write the result if the store has all names that its events need."""
    source = request.context.source
    lookup = _look_up(db, request)
    undecided = completions = request.undecided(lookup.unchanged)
    adopted = _renumbered(db, request, undecided, lookup.known)
    findings = replace(_evaluate(db, request, completions, lookup, adopted), adopted=adopted)
    renamed = [it.old_key for it in adopted if it.old_key in request.evidence.looks]
    if ended := (*_no_longer_absent(request), *renamed):
        findings = replace(findings, ended_looks=(*findings.ended_looks, *ended))
    if request.shows_names and (changes := findings.changes_with_event()):
        names = stored_names(db, source, (change.completion for change in changes), request.person_fields)
        if names is None:
            return EvaluatedAnswer(undecided, findings, lookup, None)
        findings = replace(findings, names=names)
    end, success = request.metadata.end, request.success
    if end is None or success is None or (has_new_records(findings) and not end.is_certain):
        return EvaluatedAnswer(undecided, findings, lookup, write_evaluated(db, request, findings, lookup))
    written = write_evaluated(db, request, findings, lookup, success)
    # If there are events, the place for a probe is looked up later, so that destinations do not wait for that.
    fraction = None if written.events else end.probe_fraction
    probe_boundary = None if fraction is None else records_by_date.random_day_boundary(db, source, fraction)
    return EvaluatedAnswer(
        undecided, findings, lookup, replace(written, ends_round=True, probe_boundary=probe_boundary)
    )


def _look_up(db: Database, request: IngestRequest) -> Lookup:
    """Look up an answer's records in the store.

    Known records with the same JSON are `unchanged`, unless a second look or a held-back change awaits a decision.
    """
    source, evidence, swept = request.context.source, request.evidence, request.metadata.swept
    unchanged: Mapping[str, int] = {}
    # In a first sweep, nearly all records are new.
    if swept is None or swept.marks:
        shown = dict(zip(request.keys, request.fingerprints, strict=True))
        for key in (shown.keys() & evidence.looks.keys()) | (shown.keys() & evidence.held_changes):
            del shown[key]
        unchanged = record_lookups.unchanged_ids(db, source, shown)
    keys = [] if len(unchanged) == len(request.keys) else [key for key in request.keys if key not in unchanged]
    keys += [record.key for record in request.unreadable if record.has_key]
    keys += request.absent
    return Lookup(unchanged, record_lookups.known_records(db, source, keys) if keys else {})


def _no_longer_absent(request: IngestRequest) -> list[str]:
    """Return the keys of seemingly removed records that are in the answer, but cannot be read."""
    looks = request.evidence.looks
    return [it.key for it in request.unreadable if it.key in looks and looks[it.key].kind is LookKind.REMOVAL]


def _evaluate(
    db: Database,
    request: IngestRequest,
    completions: Sequence[Completion],
    lookup: Lookup,
    adopted: Sequence[Adoption],
) -> Findings:
    """Decide about the answer's records in `completions`, except the `adopted` ones, and about its missing records."""
    source, known = request.context.source, lookup.known
    taken, renamed = {it.completion.key for it in adopted}, {it.old_key for it in adopted}
    completions = [completion for completion in completions if completion.key not in taken]
    missing = [key for key in request.absent if key not in renamed]
    if not completions and not missing:
        return Findings(source, request.context.id_namespace)
    evidence = replace(request.evidence, known=known)
    if changed := changed_keys(completions, known):
        contents = read_all_stored(request.version, record_lookups.stored_json(db, source, changed))
        absent = request.version.missing_fields(
            raw for key, raw in zip(request.keys, request.raws, strict=True) if key not in taken
        )
        # If nine of ten records never had these fields either, the API leaves out empty ones. Newer records prove
        # nothing: the API may have stopped to send the fields before it had these records.
        newest_id = max(known[key].id for key in changed)
        if sum(id_ < newest_id for id_ in lookup.unchanged.values()) >= 9 * len(changed):
            absent = frozenset()
        evidence = replace(
            evidence,
            contents=contents,
            earlier_forms=second_looks.earlier_forms(db, source, changed),
            lacks_fields=bool(absent),
        )
        if absent:
            # Another answer has shown that these forms are possible.
            awaited = {(look.key, look.form) for look in evidence.looks.values()}
            completions = [
                request.version.fill_missing(completion, contents[completion.key], absent)
                if completion.key in contents and (completion.key, completion.content_fingerprint()) not in awaited
                else completion
                for completion in completions
            ]
    findings = evaluate_records(completions, evidence, request.context)
    if not missing:
        return findings
    contents = read_missing(request.version, record_lookups.stored_json(db, source, missing))
    # The API's count includes the new records of this answer, which were not known when `max_gone` was computed.
    # Otherwise an entry and a deletion would cancel out.
    entered = len(findings.learned) + len(findings.held)
    entered += sum(change.type is EventType.CREATED for change in findings.changes)
    max_gone = None if request.max_gone is None else request.max_gone + entered
    gone = evaluate_absences([*contents.values()], max_gone, evidence, request.context)
    return replace(
        findings,
        changes=(*findings.changes, *gone.changes),
        dropped=gone.dropped,
        looks=(*findings.looks, *gone.looks),
        ended_looks=(*findings.ended_looks, *gone.ended_looks),
    )


def _renumbered(
    db: Database, request: IngestRequest, completions: Sequence[Completion], known: Mapping[str, StoredRecord]
) -> list[Adoption]:
    """Return an adoption for each unknown record that is recognised as a known record with a new key."""
    unknown = [completion for completion in completions if completion.key not in known]
    memory, now_ms = request.memory, request.context.now_ms
    if not unknown or memory.first_contact_ms is None:
        return []
    view = None if memory.view is None else View.from_text(memory.view)
    expects = view is not None and view.renumbers
    if not (expects or request.is_precise or may_be_renumbered(len(unknown), memory, request.max_records, now_ms)):
        return []
    similar = record_lookups.similar_records(db, request.context.source, unknown)
    present = {*request.keys}
    found = find_adoptions(unknown, similar, present, expected=expects, any_match=was_renumbered_lately(memory, now_ms))
    return _with_last_readable(db, request, found)


def _with_last_readable(db: Database, request: IngestRequest, found: Sequence[Adoption]) -> list[Adoption]:
    """Return the adoptions; unreadable fields get the values that are stored under the old keys."""
    gaps = [adoption.old_key for adoption in found if adoption.completion.unread]
    if not gaps:
        return [*found]
    before = read_all_stored(request.version, record_lookups.stored_json(db, request.context.source, gaps))
    return [
        replace(adoption, completion=adoption.completion.with_last_readable(before[adoption.old_key]))
        if adoption.old_key in before
        else adoption
        for adoption in found
    ]


def write_evaluated(
    db: Database, request: IngestRequest, findings: Findings, lookup: Lookup, success: RoundSuccess | None = None
) -> WrittenAnswer:
    """Write an answer's metadata and the decisions about it; return what was written.

    `success` is the success of the round. It is written if it has to be stored at once, or if the source's stored state
    changes anyway.
    """
    source, metadata = request.context.source, request.metadata
    keys = [*request.keys]
    recounted = _count_unreadable(db, request, lookup.known)
    # A known record in the answer exists, even if it is unreadable.
    keys += [record.key for record in request.unreadable if record.has_key and record.key in lookup.known]
    if not findings:
        ids = lookup.ids(keys)
        if metadata.swept is not None:
            sweeps.advance(db, metadata.swept, changes=0, ids=ids.tobytes())
        if metadata.first_contact_ms is not None:
            sources.write(db, source, first_contact_ms=metadata.first_contact_ms)
            recounted = True
        # If nothing is written, the transaction does not have to wait for the disk.
        if success is not None and (success.is_due or recounted):
            _write_success(db, source, success)
            recounted = True
        return WrittenAnswer((), ids, sources.read_or_create(db, source) if recounted else None)
    if metadata.first_contact_ms is not None:
        sources.write(db, source, first_contact_ms=metadata.first_contact_ms)
    if metadata.head_key is not None and has_new_records(findings):
        sources.write(db, source, head_key=metadata.head_key, head_day=metadata.head_day)
    written = records.write_findings(db, findings, request.subscriptions, request.context.now_ms)
    # A first sweep does not need the ids, and looking them up would take a tenth of its time.
    wanted = keys if metadata.swept is None or metadata.swept.marks else ()
    ids = array("q", lookup.unchanged.values())
    ids += records_by_date.ids_of(db, source, [key for key in wanted if key not in lookup.unchanged])
    if metadata.swept is not None:
        sweeps.advance(db, metadata.swept, changes=len(written.events), ids=ids.tobytes())
    if success is not None:
        _write_success(db, source, success)
    return WrittenAnswer(written.events, ids, sources.read_or_create(db, source), deliveries=written.deliveries)


def _write_success(db: Database, source: str, success: RoundSuccess) -> None:
    sources.write_success(
        db, source, success.now_ms, ends_silence=success.ends_silence, longest_outage_ms=success.longest_outage_ms
    )


def _count_unreadable(db: Database, request: IngestRequest, known: Mapping[str, StoredRecord]) -> bool:
    """Update the source's count of unreadable records after an answer; return whether the count has changed."""
    source = request.context.source
    recounted = False
    if request.memory.unreadable:
        recounted = left_out.delete_readable(db, source, request.keys)
    # A precise question may return records outside the source's own view.
    if request.unreadable and not request.is_precise:
        exist = {key for key, memory in known.items() if not memory.removed and not memory.out_of_view}
        swept = request.context.detected_by is DetectedBy.SWEEP
        recounted = left_out.count_unreadable(db, source, request.unreadable, exist, swept=swept) or recounted
    return recounted


def write_only(
    db: Database, findings: Findings, subscriptions: Sequence[Subscription], now_ms: int
) -> tuple[list[Event], SourceMemory]:
    """Write findings that do not come from an answer; return the events and the source's state after the write."""
    events = records.write(db, findings, subscriptions, now_ms)
    return events, sources.read_or_create(db, findings.source)


def learn_held(db: Database, source: str) -> tuple[int, SourceMemory]:
    """Mark the held-back arrivals as known without events; return their number and the source's new state."""
    return holds.accept_arrivals(db, source, NewsReason.LEARNED_ON_RELEASE), sources.read_or_create(db, source)
