"""Decides what an answer proves about each of its records: news, history, or nothing yet. Pure.

Content that a record never had before is announced at once. A second look is needed for a record that has earlier
content again, is back after its removal, or is missing. A missing record can be gone only if the API's count is low
enough (`absences`).
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from notifier.events import CONTENT_FIELDS, Change, Completion, DetectedBy, EventType
from notifier.store.tables.holds import HeldChange
from notifier.store.tables.record_lookups import StoredRecord
from notifier.store.tables.records import Findings, SilentRecord
from notifier.store.tables.second_looks import LookKind, SecondLook
from notifier.store.tables.sources import Release
from notifier.watch.detection.holds import HoldLimits, fields_to_hold, must_hold_arrivals
from notifier.watch.detection.news import Baseline, NewsReason, classify_unknown

_FIRST_REVISION = 1


class Evidence(Struct, frozen=True):
    """What is known about an answer's records before the answer is examined; mappings are by record key."""

    known: Mapping[str, StoredRecord]
    contents: Mapping[str, Completion] = field(default_factory=dict)
    """The last known contents of records whose JSON has changed."""
    earlier_forms: Mapping[str, Collection[int]] = field(default_factory=dict)
    """The fingerprints of contents that the records had before."""
    lacks_fields: bool = False
    """Whether some content field is missing in all records of the answer."""
    looks: Mapping[str, SecondLook] = field(default_factory=dict)
    due: Collection[str] = frozenset()
    """The keys of second looks whose wait is over."""
    changed_at: Mapping[str, float] = field(default_factory=dict)
    """The records that another answer has changed already, and when that answer was requested (monotonic seconds)."""
    held_changes: Collection[str] = frozenset()
    """The keys of records with a held-back change."""
    unreadable: Collection[str] = frozenset()
    """The keys of records that were found unreadable before the first sweep ended."""


class HoldState(Struct, frozen=True):
    """The limits for holding changes back, what is held back now, and the numbers to compare with the limits."""

    limits: HoldLimits
    counted_arrivals: int = 0
    counted_changes: Mapping[str, int] = field(default_factory=dict)
    arrivals_held: bool = False
    held_field: str | None = None
    release_changes: str | None = None


class AnswerContext(Struct, frozen=True):
    """The facts about one answer that apply to all of its records.

    `requested_at` is when the answer was requested, in monotonic seconds. `now_ms` is the moment of detection.
    """

    source: str
    id_namespace: str
    detected_by: DetectedBy
    requested_at: float
    now_ms: int
    baseline: Baseline
    holds: HoldState


class _Update(Struct, frozen=True):
    """A known record with changed content."""

    completion: Completion
    previous: Completion
    revision: int
    fields: tuple[str, ...]

    def change(self, detected_by: DetectedBy) -> Change:
        """Return the change to announce for this update."""
        return Change(
            EventType.UPDATED,
            self.completion,
            self.revision + 1,
            detected_by,
            NewsReason.CONTENT_CHANGED,
            self.previous,
        )


class _Decisions(Struct):
    """Collects the decisions about the records of an answer, which are examined one by one."""

    learned: list[SilentRecord] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    arrivals: list[Completion] = field(default_factory=list)
    updates: list[_Update] = field(default_factory=list)
    held_changes: list[HeldChange] = field(default_factory=list)
    refreshed: list[Completion] = field(default_factory=list)
    in_view: list[str] = field(default_factory=list)
    looks: list[SecondLook] = field(default_factory=list)
    ended_looks: list[str] = field(default_factory=list)
    ended_changes: list[str] = field(default_factory=list)


def changed_keys(completions: Iterable[Completion], known: Mapping[str, StoredRecord]) -> list[str]:
    """Return the keys of known, not removed records whose JSON has changed."""
    return [
        completion.key
        for completion in completions
        if (memory := known.get(completion.key)) is not None
        and not memory.removed
        and memory.fingerprint != completion.fingerprint()
    ]


def evaluate_records(completions: Sequence[Completion], evidence: Evidence, context: AnswerContext) -> Findings:
    """Decide for each record of an answer whether it is history or news, needs a second look, or is held back."""
    decisions = _Decisions()
    for completion in completions:
        if evidence.changed_at.get(completion.key, context.requested_at) > context.requested_at:
            continue  # an answer that was requested later has changed this record
        memory = evidence.known.get(completion.key)
        if memory is None:
            _evaluate_unknown(completion, evidence, context, decisions)
        elif memory.removed:
            _evaluate_return(completion, memory, evidence, context, decisions)
        else:
            _evaluate_known(completion, memory, evidence, context, decisions)
    _announce_or_hold_arrivals(decisions, context)
    _announce_or_hold_updates(decisions, evidence, context)
    return Findings(
        context.source,
        context.id_namespace,
        learned=tuple(decisions.learned),
        changes=sorted_by_entry(decisions.changes),
        held=() if not decisions.arrivals else tuple(_held(decisions.arrivals, context.detected_by)),
        refreshed=tuple(decisions.refreshed),
        in_view=tuple(decisions.in_view),
        looks=tuple(decisions.looks),
        ended_looks=tuple(decisions.ended_looks),
        held_changes=tuple(decisions.held_changes),
        ended_changes=tuple(decisions.ended_changes),
    )


def _evaluate_unknown(
    completion: Completion, evidence: Evidence, context: AnswerContext, decisions: _Decisions
) -> None:
    reason, is_news = classify_unknown(completion.recorded_at, context.baseline.of(completion))
    appeared = reason in (NewsReason.APPEARED_AFTER_SWEEP, NewsReason.UNDATED_AFTER_SWEEP)
    if not is_news:
        decisions.learned.append(SilentRecord(completion, context.detected_by, reason))
    elif appeared and completion.key in evidence.unreadable:
        decisions.learned.append(SilentRecord(completion, context.detected_by, NewsReason.WAS_UNREADABLE))
    elif appeared:
        decisions.arrivals.append(completion)
    else:
        decisions.changes.append(Change(EventType.CREATED, completion, _FIRST_REVISION, context.detected_by, reason))


def _evaluate_return(
    completion: Completion,
    memory: StoredRecord,
    evidence: Evidence,
    context: AnswerContext,
    decisions: _Decisions,
) -> None:
    """Examine a removed record that is present again; its return is announced when a second look has confirmed it."""
    key, look = completion.key, evidence.looks.get(completion.key)
    if look is None or look.kind is not LookKind.RETURN or look.since_ms is None:
        decisions.looks.append(_look(LookKind.RETURN, completion, completion.content_fingerprint(), look, context))
    elif key in evidence.due:
        decisions.changes.append(
            Change(EventType.CREATED, completion, memory.revision + 1, context.detected_by, NewsReason.CAME_BACK)
        )
        decisions.ended_looks.append(key)


def _evaluate_known(
    completion: Completion,
    memory: StoredRecord,
    evidence: Evidence,
    context: AnswerContext,
    decisions: _Decisions,
) -> None:
    """Examine a known, not removed record whose content may have changed."""
    key, look = completion.key, evidence.looks.get(completion.key)
    if memory.out_of_view:
        decisions.in_view.append(key)
    if look is not None and look.kind is LookKind.REMOVAL:
        decisions.ended_looks.append(key)
        look = None
    previous = evidence.contents.get(key)
    if previous is not None:
        unread = frozenset(field.name for field in completion.unread)
        current = completion.with_last_readable(previous)
        if (fields := changed_fields(current, previous)) and not memory.held:
            _evaluate_update(_Update(current, previous, memory.revision, fields), look, evidence, context, decisions)
            return
        if not evidence.lacks_fields and unread <= {field.name for field in previous.unread}:
            # No content field differs: only store the rest of the JSON, so that it need not be compared next time.
            decisions.refreshed.append(completion)
    if look is not None and look.since_ms is not None:
        decisions.looks.append(contradicted_look(look, context.now_ms))
    if key in evidence.held_changes:
        decisions.ended_changes.append(key)


def _evaluate_update(
    update: _Update, look: SecondLook | None, evidence: Evidence, context: AnswerContext, decisions: _Decisions
) -> None:
    """Decide about an update; if the record has had this content before, the update waits for a second look."""
    key, form = update.completion.key, update.completion.content_fingerprint()
    if form not in evidence.earlier_forms.get(key, ()):
        decisions.updates.append(update)
        if look is not None:
            decisions.ended_looks.append(key)
    elif look is None or look.since_ms is None or look.form != form:
        decisions.looks.append(_look(LookKind.EARLIER_FORM, update.completion, form, look, context))
    elif key in evidence.due:
        decisions.changes.append(update.change(context.detected_by))
        decisions.ended_looks.append(key)


def _announce_or_hold_arrivals(decisions: _Decisions, context: AnswerContext) -> None:
    """Announce arrivals, or hold them back if there are too many at once.

    Arrivals are new records whose time of entry is missing or before the first contact.
    """
    holds = context.holds
    if must_hold_arrivals(
        len(decisions.arrivals), holds.counted_arrivals, holds.limits.arrivals, held_already=holds.arrivals_held
    ):
        return
    for completion in decisions.arrivals:
        reason, _ = classify_unknown(completion.recorded_at, context.baseline)
        decisions.changes.append(Change(EventType.CREATED, completion, _FIRST_REVISION, context.detected_by, reason))
    decisions.arrivals.clear()


def _announce_or_hold_updates(decisions: _Decisions, evidence: Evidence, context: AnswerContext) -> None:
    """Announce updates, but hold back the updates of a field that changes in too many records at once.

    After an operator has released held-back changes with events, nothing is held back. After a silent release, the
    held-back changes and further changes of the same field are stored without an event.
    """
    holds, updates = context.holds, decisions.updates
    if holds.release_changes == Release.LEARN:
        learned = {
            update.completion.key: update.completion
            for update in updates
            if update.completion.key in evidence.held_changes or holds.held_field in update.fields
        }
        decisions.refreshed += learned.values()
        decisions.ended_changes += learned
        updates = [update for update in updates if update.completion.key not in learned]
    held: set[str] = set()
    if holds.release_changes != Release.TELL:
        changed = Counter(name for update in updates for name in update.fields)
        held = fields_to_hold(changed, holds.counted_changes, holds.limits.changes, holds.held_field)
    for update in updates:
        field_held = next((name for name in update.fields if name in held), None)
        if field_held is not None:
            decisions.held_changes.append(HeldChange(update.completion.key, field_held))
        else:
            decisions.changes.append(update.change(context.detected_by))
            decisions.ended_changes.append(update.completion.key)


def _held(arrivals: Iterable[Completion], detected_by: DetectedBy) -> Iterable[SilentRecord]:
    return (SilentRecord(completion, detected_by, NewsReason.HELD) for completion in arrivals)


def _look(
    kind: LookKind, completion: Completion, form: int, before: SecondLook | None, context: AnswerContext
) -> SecondLook:
    """Return a second look whose wait begins now.

    If `before`, the record's previous look, is of the same kind, its `first_ms` and its contradictions are kept.
    """
    look = SecondLook(
        completion.key,
        kind,
        context.now_ms,
        context.now_ms,
        context.detected_by,
        form,
        completion.user_id,
        completion.training_id,
    )
    if before is None or before.kind is not kind:
        return look
    return replace(look, first_ms=before.first_ms, flips=before.flips, flipped_ms=before.flipped_ms)


def contradicted_look(look: SecondLook, now_ms: int) -> SecondLook:
    """Return a second look whose wait has to begin again, because an answer has contradicted it."""
    return replace(look, since_ms=None, flips=look.flips + 1, flipped_ms=now_ms)


def changed_fields(current: Completion, previous: Completion) -> tuple[str, ...]:
    """Return the names of the content fields that differ; changes of other fields of the JSON are not announced."""
    return tuple(name for name in CONTENT_FIELDS if getattr(current, name) != getattr(previous, name))


def evaluate_absences(
    absent: Sequence[Completion], max_gone: int | None, evidence: Evidence, context: AnswerContext
) -> Findings:
    """Decide about known records that are missing from a complete answer about their person or training.

    `absent` has the last known contents of these records. By the API's count, at most `max_gone` of them can be gone
    (None: unknown). If a record is missing for the first time, a second look begins. If it is missing again when that
    look is due (`evidence.due`), which is `confirm_after` later, its removal is announced.
    """
    changes: list[Change] = []
    looks: list[SecondLook] = []
    ended: list[str] = []
    dropped: list[str] = []
    for completion in absent:
        key = completion.key
        memory = evidence.known.get(key)
        look = evidence.looks.get(key)
        if memory is None or evidence.changed_at.get(key, context.requested_at) > context.requested_at:
            continue
        if memory.removed:
            if look is not None and look.since_ms is not None:
                looks.append(contradicted_look(look, context.now_ms))
            continue
        if max_gone is not None and max_gone <= len(changes) + len(dropped):
            continue
        if look is None or look.kind is not LookKind.REMOVAL:
            looks.append(_look(LookKind.REMOVAL, completion, 0, None, context))
        elif key in evidence.due:
            ended.append(key)
            if memory.held:
                dropped.append(key)
            else:
                changes.append(removal_change(completion, memory.revision, context.detected_by))
    return Findings(
        context.source,
        context.id_namespace,
        changes=tuple(changes),
        dropped=tuple(dropped),
        looks=tuple(looks),
        ended_looks=tuple(ended),
    )


def removal_change(last_known: Completion, revision: int, detected_by: DetectedBy) -> Change:
    """Return the `completion.removed` change for a known record that is gone."""
    return Change(EventType.REMOVED, last_known, revision + 1, detected_by, NewsReason.GONE)


def sorted_by_entry(changes: Sequence[Change]) -> tuple[Change, ...]:
    """Return the changes sorted by the time at which their records were entered; unknown times are last."""
    return tuple(
        sorted(
            changes,
            key=lambda change: (change.completion.recorded_at is None, change.completion.recorded_at or 0),
        )
    )


def has_new_records(findings: Findings) -> bool:
    """Return whether an answer has new records; the next page may then have new records, too."""
    return bool(findings.held) or any(NewsReason(change.reason).is_new_entry for change in findings.changes)
