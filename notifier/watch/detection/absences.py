"""Decides whether known records are gone. Five proofs must agree.

- Place: the record is missing from a whole page or sweep that was requested after the record was last seen.
- Balance: the API's count of all records is low enough for the record to be gone.
- Precise question: the record is missing among all records of its person.
- Second look: `confirm_after` later, it is missing among all records of its training, too. So it was not moved to
  another person.
- Count: the second answer has as many records as the API counts for that question.
"""

import logging
from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

from notifier.events import DetectedBy
from notifier.kpa.rate_limiter import Priority
from notifier.store.tables import records_by_date, second_looks
from notifier.store.tables.records_by_date import RemovalCandidate
from notifier.store.tables.second_looks import LookKind, SecondLook
from notifier.watch.count_check import CountCheck
from notifier.watch.detection.bisection import KnownCounts, day_of
from notifier.watch.detection.evidence import contradicted_look
from notifier.watch.detection.number_set import NumberSet
from notifier.watch.ingest import IngestResult, PageIngester
from notifier.watch.second_looks import SecondLooks
from notifier.watch.source_context import SourceContext
from notifier.watch.source_reader import PreciseAnswer, SourceReader

_log = logging.getLogger(__name__)

_MAX_REREADINGS = 6
"""Maximum number of times that the pages of missing records are read again; this finds most records that moved."""


def exceeds_hold_limit(suspects: int, known: int, share: float, few: int) -> bool:
    """Return whether removals are held back because too many records are missing.

    They are too many if their number `suspects` is above `few`, and also above this `share` of the `known` records.
    The likely cause is then an error in a filter, a permission or the API.
    """
    return suspects > few and suspects > known * share


class ExaminationResult(Struct, frozen=True):
    """The result of examining missing records."""

    events: int = 0
    """The number of events written."""
    held: int = 0
    """How many removals are held back."""
    left: int = 0
    """How many records are left to the next sweep."""


class SeenRecords:
    """Collects the known records in answers that were requested since a given moment; these records are not gone."""

    def __init__(self, ingester: PageIngester, since: float) -> None:
        """Initialise to observe the answers written by `ingester` and requested since `since` (monotonic seconds)."""
        self._ingester = ingester
        self._since = since
        self._seen = NumberSet()

    def __enter__(self) -> Self:
        """Start to observe the answers."""
        self._ingester.observers.append(self._observe)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop observing."""
        self._ingester.observers.remove(self._observe)

    def __contains__(self, record_id: int) -> bool:
        """Return whether one of the observed answers contains a record, identified by its number in the store."""
        return record_id in self._seen

    def _observe(self, result: IngestResult) -> None:
        if result.requested_at >= self._since:
            self._seen.add(result.ids)


class Absences:
    """Decides whether known records of one source are gone. Raises ApiError and StoreError."""

    def __init__(
        self,
        context: SourceContext,
        reader: SourceReader,
        ingester: PageIngester,
        counts: CountCheck,
        looks: SecondLooks,
    ) -> None:
        self._context = context
        self._reader = reader
        self._ingester = ingester
        self._counts = counts
        self._looks = looks
        self._large_trainings: set[str] = set()
        """Trainings with too many records to request all of them."""

    async def examine(
        self, ids: Sequence[int], detected_by: DetectedBy, priority: Priority, *, max_questions: int | None = None
    ) -> ExaminationResult:
        """Request missing records from the API, or hold back their removals if there are too many.

        `ids` are the store's numbers of the missing records. For at most `max_questions` of their people, all records
        are requested; the other people are left to the next sweep. If a record is missing in the answer, too, its
        removal waits for a second look. If the API's count shows that no record can be gone, nothing is requested.
        """
        suspects = await self._suspects(ids)
        if not suspects:
            return ExaminationResult()
        max_gone = (await self._counts.fetch_balance()).max_newly_gone
        if max_gone == 0:
            return ExaminationResult()
        if max_gone is not None and len(suspects) > max_gone:
            suspects = await self._read_again(suspects, max_gone, detected_by, priority)
        memory, limits = self._context.health.memory, self._context.limits
        possible = len(suspects) if max_gone is None else min(max_gone, len(suspects))
        if exceeds_hold_limit(possible, memory.records, self._context.settings.hold_removals_above, limits.few_records):
            await self._hold_removals(possible, memory.records)
            return ExaminationResult(held=possible)
        by_person = [(person, [*group]) for person, group in groupby(suspects, key=lambda suspect: suspect.user_id)]
        left = 0 if max_questions is None else sum(len(group) for _, group in by_person[max_questions:])
        events = 0
        for user_id, group in by_person[:max_questions]:
            events += await self._examine_person(user_id, group, max_gone, detected_by, priority)
        return ExaminationResult(events, left=left)

    async def run_second_looks(self, *, include_removals: bool) -> bool:
        """Send the requests of the second looks that are due.

        Returns whether a sweep has to decide about removals. A sweep has to decide if more removals wait than the API's
        count allows. Without `include_removals`, second looks at removals keep waiting.
        """
        due = self._looks.due()
        waiting = self._looks.waiting(LookKind.REMOVAL) if include_removals else ()
        left = False
        if any(look.key in due for look in waiting):
            left = await self._confirm_removals(waiting, due)
        others = [look for look in self._looks.by_key.values() if look.key in due and look.kind is not LookKind.REMOVAL]
        for look in others[: self._context.limits.max_questions]:
            await self._confirm_presence(look)
        return left

    async def release_held_removals(self, ids: Sequence[int], *, silently: bool) -> int:
        """Announce the removals of these records, or accept them `silently`; return the number of events.

        The operator's release replaces the second look. If the API's count allows fewer removals, the remaining records
        are kept.
        """
        suspects = await self._context.store.run(records_by_date.removal_candidates, ids)
        max_gone = (await self._counts.fetch_balance()).max_gone
        if max_gone is not None and len(suspects) > max_gone:
            suspects = await self._without_moved(suspects, max_gone)
        keys = [suspect.key for suspect in suspects][: None if max_gone is None else max_gone]
        if len(keys) < len(suspects):
            _log.warning(
                "more records are missing than the API's count allows; the others still exist",
                extra={"source": self._context.name, "missing": len(suspects), "room": max_gone},
            )
        events = await self._ingester.remove(keys, silently=silently)
        await self.clear_removal_hold()
        return events

    async def _without_moved(self, suspects: list[RemovalCandidate], max_gone: int) -> list[RemovalCandidate]:
        """Request all records of the missing records' people; return the records that are still missing.

        A sweep misses records that move during the sweep. The requests end when only `max_gone` records are missing, or
        after `max_questions` people: the count may be wrong for good.
        """
        people = [*dict.fromkeys(suspect.user_id for suspect in suspects)] if max_gone else []
        with SeenRecords(self._ingester, self._context.clock.monotonic()) as seen:
            for user_id in people[: self._context.limits.max_questions]:
                if len(suspects) <= max_gone:
                    break
                answer = await self._reader.ask_precise_question(Priority.SWEEP, user_id=user_id)
                if answer is not None:
                    await self._ingester.ingest_precise(answer, (), None, DetectedBy.SWEEP)
                suspects = [suspect for suspect in suspects if suspect.id not in seen]
        return suspects

    async def clear_removal_hold(self) -> None:
        """Record that no removals are held back any more, and that none have to be released."""
        memory = self._context.health.memory
        if memory.held:
            _log.info("removed records are no longer held back", extra={"source": self._context.name})
        if memory.held or memory.release_removals is not None:
            await self._context.health.write(held=0, release_removals=None)

    async def _suspects(self, ids: Sequence[int]) -> list[RemovalCandidate]:
        waiting = {look.key for look in self._looks.waiting(LookKind.REMOVAL)}
        found = await self._context.store.run(records_by_date.removal_candidates, ids)
        return [suspect for suspect in found if suspect.key not in waiting]

    async def _read_again(
        self, suspects: list[RemovalCandidate], max_gone: int, detected_by: DetectedBy, priority: Priority
    ) -> list[RemovalCandidate]:
        """Read the pages again that should contain the missing records.

        Returns the records that are still missing. There are more `suspects` than records that can be gone
        (`max_gone`). So some of the suspects exist, although earlier answers lacked them.
        """
        with SeenRecords(self._ingester, self._context.clock.monotonic()) as seen:
            for _ in range(_MAX_REREADINGS):
                pages = await self._pages_of(suspects)
                if len(pages) > self._context.limits.max_questions:
                    break
                for number in pages:
                    await self._ingester.ingest(await self._reader.fetch_whole(number, priority), detected_by)
                before, suspects = suspects, [suspect for suspect in suspects if suspect.id not in seen]
                if len(suspects) <= max_gone or len(suspects) == len(before):
                    break
        return suspects

    async def _pages_of(self, suspects: Collection[RemovalCandidate]) -> list[int]:
        """Return the numbers of the pages on which these records should be, judged by their completion dates."""
        counts = await self._context.store.run(records_by_date.count_by_day, self._context.name)
        by_day = {day_of(completed_on): count for completed_on, count in counts.items()}
        known, size = KnownCounts(by_day), self._reader.large_page
        pages: set[int] = set()
        for day in {day_of(suspect.completed_on) for suspect in suspects}:
            above = known.newer_than(day)
            pages.update(range(above // size + 1, (above + max(1, by_day.get(day, 1)) - 1) // size + 2))
        return sorted(pages)

    async def _examine_person(
        self,
        user_id: str,
        group: Sequence[RemovalCandidate],
        max_gone: int | None,
        detected_by: DetectedBy,
        priority: Priority,
    ) -> int:
        answer = await self._reader.ask_precise_question(priority, user_id=user_id)
        if answer is not None and answer.is_whole:
            return await self._ingest_answer(answer, [suspect.key for suspect in group], max_gone, detected_by)
        events = 0
        for training_id, same_training in groupby(group, key=lambda suspect: suspect.training_id):
            answer = await self._reader.ask_precise_question(
                priority, user_id=user_id, training_id=training_id, all_pages=True
            )
            if answer is not None:
                events += await self._ingest_answer(
                    answer, [suspect.key for suspect in same_training], max_gone, detected_by
                )
        return events

    async def _ingest_answer(
        self, answer: PreciseAnswer, keys: Sequence[str], max_gone: int | None, detected_by: DetectedBy
    ) -> int:
        return len((await self._ingester.ingest_precise(answer, keys, max_gone, detected_by)).events)

    async def _confirm_removals(self, removals: Sequence[SecondLook], due: Collection[str]) -> bool:
        max_gone = (await self._counts.fetch_balance()).max_gone
        if max_gone == 0:
            # By the count, no record can be gone: either all known records exist, or as many unknown records were
            # entered as known ones were deleted. A search finds such entries. A page that shows one of the waiting
            # records ends its second look.
            return False
        if max_gone is not None and max_gone < len(removals):
            return True
        looked = [look for look in removals if look.key in due][: self._context.limits.max_questions]
        for look in looked:
            answer = await self._ask_about_training(look)
            if answer is None:
                continue
            if await self._omits_records(answer, look.key):
                # The API counts a record that the answer does not contain. It may be this one, so ask again later.
                await self._store_look(replace(look, since_ms=self._context.clock.now_ms()))
                continue
            before = len(self._looks.by_key)
            await self._ingester.ingest_precise(answer, [look.key], max_gone, DetectedBy(look.detected_by))
            max_gone = max_gone if max_gone is None else max_gone - (before - len(self._looks.by_key))
        return False

    async def _omits_records(self, answer: PreciseAnswer, key: str) -> bool:
        """Return whether the answer lacks this record and the API counts more records than the answer contains.

        Lists and precise answers can lack existing records for hours, while the API's count still includes them.
        """
        if not answer.is_whole or any(found.key == key for found in answer.completions):
            return False
        omitted = await self._reader.count_omitted(answer, Priority.CONFIRM)
        return omitted is not None and omitted > max(0, self._context.health.memory.count_offset)

    async def _ask_about_training(self, look: SecondLook) -> PreciseAnswer | None:
        """Ask for all records of the training that a second look is about, and return the answer.

        If the answer is too large or incomplete, a narrower question follows: about the training and the person. If a
        v2 record has no training, the question is about the person.
        """
        is_v2 = self._context.settings.api == "v2"
        if is_v2 and not look.training_id.isdecimal():
            return await self._reader.ask_precise_question(Priority.CONFIRM, user_id=look.user_id, all_pages=True)
        if look.training_id not in self._large_trainings:
            answer = await self._reader.ask_precise_question(Priority.CONFIRM, training_id=look.training_id)
            if answer is None:
                self._large_trainings.add(look.training_id)
            elif answer.is_whole or any(found.key == look.key for found in answer.completions):
                return answer
        return await self._reader.ask_precise_question(
            Priority.CONFIRM, user_id=look.user_id, training_id=look.training_id, all_pages=True
        )

    async def _confirm_presence(self, look: SecondLook) -> None:
        answer = await self._reader.ask_precise_question(
            Priority.CONFIRM, user_id=look.user_id, training_id=look.training_id, all_pages=True
        )
        if answer is None:
            return
        suspects = [look.key] if look.kind is LookKind.RETURN else []
        await self._ingester.ingest_precise(answer, suspects, None, DetectedBy(look.detected_by))
        after = self._looks.by_key.get(look.key)
        if after is not None and after.since_ms is not None and look.kind is LookKind.EARLIER_FORM:
            # The record is no longer where an answer has shown it, so its second look begins again with the next
            # answer.
            await self._store_look(contradicted_look(after, self._context.clock.now_ms()))

    async def _store_look(self, look: SecondLook) -> None:
        await self._context.store.run(second_looks.put, self._context.name, [look])
        self._looks.note([look], ())

    async def _hold_removals(self, suspects: int, known: int) -> None:
        if not self._context.health.memory.held:
            _log.error(
                "too many records seem to be gone at once; their removal is held back",
                extra={
                    "source": self._context.name,
                    "suspects": suspects,
                    "known": known,
                    "share": self._context.settings.hold_removals_above,
                },
            )
        await self._context.health.write(held=suspects)
