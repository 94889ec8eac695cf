"""Determines the keys of v1 records, which have no ids; equal records have keys with the same base (`kpa.v1_keys`)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, field

from notifier.events import Completion
from notifier.kpa.client import Page
from notifier.kpa.rate_limiter import Priority
from notifier.kpa.v1_keys import (
    assign_keys,
    assign_keys_of_answer,
    bases_at_ends,
    count_existing,
    group_by_base,
    key_base,
)
from notifier.store.store import Store
from notifier.store.tables import record_lookups
from notifier.store.tables.record_lookups import StoredRecord
from notifier.watch.source_reader import PreciseAnswer, SourceReader


class _PageEnd(Struct, frozen=True):
    """The end of a page: the key base and the day of its last record.

    `on_day` is the number of records of that day up to the end of the page, by key base.
    """

    number: int
    base: str | None = None
    day: str | None = None
    on_day: Counter[str] = field(default_factory=Counter)


class V1Records:
    """Assigns keys to the records of one source's answers. Raises StoreError and ApiError."""

    def __init__(self, source: str, store: Store, reader: SourceReader) -> None:
        """Initialise with the `store`, and with the `reader` for requests about records whose keys are unclear."""
        self._source = source
        self._store = store
        self._reader = reader
        # Separate by page size, because head polls and count checks happen between the pages of a sweep.
        self._ends: dict[int, _PageEnd] = {}
        self.uncertain: dict[str, tuple[str, str]] = {}
        """Person and training of each page's first and last record, by key base; other pages may have equal records."""

    async def assign_page_keys(self, page: Page) -> tuple[Completion, ...]:
        """Return the records of a page with their keys.

        If the page does not decide the keys of equal records, all records of their person and training are requested.
        The result then includes the equal records on other pages.
        """
        groups = group_by_base(page.completions)
        known = await self._known(groups)
        asked = self._bases_to_ask(page, groups, known)
        settled: list[Completion] = []
        for base, equals in groups.items():
            assigned = assign_keys(equals, known[base], complete=False)
            if assigned.unclear or base in asked:
                settled += await self._ask(equals[0], known[base])
            else:
                settled += assigned.assigned
        return tuple(settled)

    async def assign_answer_keys(self, answer: PreciseAnswer) -> tuple[Completion, ...]:
        """Return the records of an answer with their keys.

        The question must be such that the API has no further records equal to one of these.
        """
        groups = group_by_base(answer.completions)
        known = await self._known(groups)
        return tuple(
            record
            for base, equals in groups.items()
            for record in assign_keys_of_answer(equals, known[base], is_whole=answer.is_whole)
        )

    def _bases_to_ask(
        self, page: Page, groups: Mapping[str, Sequence[Completion]], known: Mapping[str, Mapping[str, StoredRecord]]
    ) -> set[str]:
        """Return the key bases for which this page alone does not show the number of equal records.

        Equal records have the same day. Other records of that day may be between them, so equal records may be on
        different pages.
        """
        if not page.completions:
            return set()
        first, last = key_base(page.completions[0].key), key_base(page.completions[-1].key)
        existing = {base: count_existing(known[base]) for base in groups}
        asked = {base for base in bases_at_ends(page.completions) if len(groups[base]) > existing[base]}
        before = self._ends.get(page.limit)
        if before is None or before.number != page.number - 1:
            before = _PageEnd(page.number - 1)
        if before.base == first and len(known[first]) < _MANY_EQUAL:
            asked.add(first)
        above = before.on_day if before.day == page.completions[0].completed_on else Counter[str]()
        asked |= {base for base in groups if above[base] and above[base] + len(groups[base]) > existing[base]}
        self._ends[page.limit] = _end_of(page, last, above)
        if page.limit > 1:
            for base in (first, last):
                self.uncertain[base] = (groups[base][0].user_id, groups[base][0].training_id)
        return asked

    async def _known(self, bases: Iterable[str]) -> Mapping[str, Mapping[str, StoredRecord]]:
        known: defaultdict[str, dict[str, StoredRecord]] = defaultdict(dict)
        found = await self._store.run(record_lookups.known_with_suffixes, self._source, tuple(bases))
        for key, memory in found.items():
            known[key_base(key)][key] = memory
        return known

    async def _ask(self, unclear: Completion, known: Mapping[str, StoredRecord]) -> list[Completion]:
        """Request all records with the person and training of `unclear`; return those equal to it, with their keys."""
        answer = await self._reader.ask_precise_question(
            Priority.SEARCH, user_id=unclear.user_id, training_id=unclear.training_id, all_pages=True
        )
        if answer is None:
            return []
        equals = group_by_base(answer.completions).get(key_base(unclear.key), [])
        return [*assign_keys_of_answer(equals, known, is_whole=answer.is_whole)]


def _end_of(page: Page, base: str, above: Counter[str]) -> "_PageEnd":
    """Return the end of a page.

    `above` counts records on earlier pages, by key base: those that have the same day as the first record of this page.
    """
    day = page.completions[-1].completed_on
    on_day = Counter(key_base(record.key) for record in page.completions if record.completed_on == day)
    if day == page.completions[0].completed_on:
        on_day += above
    return _PageEnd(page.number, base, day, on_day)


_MANY_EQUAL = 1000
