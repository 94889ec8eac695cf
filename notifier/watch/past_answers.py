"""Remembers what earlier answers of one source have shown, because that decides what a new answer proves."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from notifier.events import DetectedBy, EventType
from notifier.kpa.versions import InvalidRecord
from notifier.store.tables import holds, record_lookups
from notifier.store.tables.records import Findings
from notifier.store.tables.sources import Release, SourceMemory
from notifier.watch.detection.evidence import Evidence, HoldState, changed_fields
from notifier.watch.detection.holds import HoldLimits, Tally, hold_limit
from notifier.watch.detection.news import NewsReason
from notifier.watch.recent_changes import RecentChanges
from notifier.watch.second_looks import SecondLooks
from notifier.watch.source_context import SourceContext

_UNDER_WAY_SECONDS: Final = 60.0
"""A request takes at most these seconds plus twice the configured timeout. This includes the wait for a connection."""

_ARRIVED: Final = (NewsReason.APPEARED_AFTER_SWEEP, NewsReason.UNDATED_AFTER_SWEEP)


class PastAnswers:
    """Remembers what earlier answers have changed, and which records are held back or unreadable."""

    def __init__(self, context: SourceContext, looks: SecondLooks) -> None:
        """Initialise with the source, and with the records that await a second look."""
        self._context = context
        self._looks = looks
        self._tally = Tally(context.clock.monotonic())
        self._sweep_tally = Tally(context.clock.monotonic())
        self._held_changes: set[str] = set()
        self._unreadable_keys: set[str] = set()
        self._has_recalled = False
        self._recent = RecentChanges()
        self.existing_changed_at = float("-inf")
        """The time of the latest request whose answer changed the number of known records (monotonic seconds)."""

    async def recall(self) -> None:
        """Load what the previous run has stored about held-back and unreadable records; only the first call does so."""
        if self._has_recalled:
            return
        context = self._context
        self._held_changes = await context.store.run(holds.changed_records, context.name)
        self._unreadable_keys = await context.store.run(record_lookups.unreadable_keys, context.name)
        self._has_recalled = True

    async def note_unreadable(self, unreadable: Sequence[InvalidRecord]) -> None:
        """Store the keys of records that are unreadable during the first sweep, so that they are never news."""
        if unreadable and self._context.health.memory.swept_at_ms is None:
            keys = [bad.key for bad in unreadable if bad.key is not None and not bad.is_repeated]
            await self._context.store.run(record_lookups.store_unreadable, self._context.name, keys)
            self._unreadable_keys.update(keys)

    def begin_sweep(self) -> None:
        """Set the sweep's counts of arrivals and changes to zero; these counts are compared with the hold limits."""
        self._sweep_tally = Tally(self._context.clock.monotonic())

    def evidence(self, requested_at: float, keys: Sequence[str], *, is_precise: bool) -> Evidence:
        """Return the evidence for judging an answer that was requested at `requested_at` and concerns these `keys`.

        `is_precise` means that the answer is the complete answer to a precise question.
        """
        return Evidence(
            known={},
            looks=self._looks.by_key,
            # Only a precise question counts as a second look: a server that lags would send the same outdated page
            # again.
            due=self._looks.due() if is_precise else frozenset(),
            changed_at=self._recent.changed_after(requested_at, keys),
            held_changes=self._held_changes,
            unreadable=self._unreadable_keys,
        )

    def hold_state(self, memory: SourceMemory, detected_by: DetectedBy) -> HoldState:
        """Return the hold limits, the changes that are held back, and the recent numbers of arrivals and changes."""
        settings, few = self._context.settings, self._context.limits.few_records
        tally = self._tally_for(detected_by)
        hold_limits = HoldLimits(
            hold_limit(settings.hold_arrivals_above, memory.records, few),
            hold_limit(settings.hold_changes_above, memory.records, few),
        )
        return HoldState(
            hold_limits,
            tally.arrivals,
            tally.changes,
            arrivals_held=memory.held_arrivals > 0,
            # If only a few held-back changes are left, they are announced like any other change. A silent release
            # accepts changes of the field until its sweep ends.
            held_field=memory.held_field
            if memory.held_changes > few or memory.release_changes == Release.LEARN
            else None,
            release_changes=memory.release_changes,
        )

    def note(self, findings: Findings, requested_at: float, detected_by: DetectedBy) -> None:
        """Remember what an answer has changed.

        A late answer to an earlier request must not undo these changes.
        """
        if not findings:
            return
        self._looks.note(findings.looks, findings.ended_looks)
        self._held_changes.difference_update(findings.ended_changes)
        self._held_changes.update(held.key for held in findings.held_changes)
        arrivals = [change for change in findings.changes if change.reason in _ARRIVED]
        updates = Counter(
            name
            for change in findings.changes
            if change.previous is not None
            for name in changed_fields(change.completion, change.previous)
        )
        self._tally_for(detected_by).add(len(arrivals) + len(findings.held), updates)
        changed = [
            *(change.completion.key for change in findings.changes),
            *(learned.completion.key for learned in (*findings.learned, *findings.held)),
            *(adoption.completion.key for adoption in findings.adopted),
            *(completion.key for completion in findings.refreshed),
        ]
        if not changed and not findings.in_view and not findings.dropped:
            return
        horizon = requested_at - 2 * self._context.settings.timeout - _UNDER_WAY_SECONDS
        self._recent.forget_until(horizon)
        self._recent.note(changed, requested_at)
        updated = sum(change.type is EventType.UPDATED for change in findings.changes)
        if len(findings.changes) > updated or findings.learned or findings.held or findings.in_view or findings.dropped:
            self.existing_changed_at = max(self.existing_changed_at, requested_at)

    def _tally_for(self, detected_by: DetectedBy) -> Tally:
        """Return the tally of the sweep if a sweep got the answer, else the tally of the current time window."""
        if detected_by is DetectedBy.SWEEP:
            return self._sweep_tally
        now = self._context.clock.monotonic()
        if now - self._tally.begun_at > self._context.limits.hold_window_seconds:
            self._tally = Tally(now)
        return self._tally
