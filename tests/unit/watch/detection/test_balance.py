"""What the API's answers show about the number of records, and what follows, checked against lists of known length."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from notifier.kpa.client import Page
from notifier.watch.detection.balance import (
    Balance,
    CountBounds,
    SearchTiming,
    SweepCheckpoint,
    UnexplainedAge,
    accepted_offset,
    contradicts_total,
    count_bounds,
    page_cap,
    page_to_repeat,
    sweep_is_affordable,
)


def pages_of(records: int, limit: int) -> int:
    return max(1, -(-records // limit))


def page(number: int, limit: int, size: int, *, last_page: int | None = None, total: int | None = None) -> Page:
    return Page(number, limit, size, (), (), last_page, total, served_at_ms=None, requested_at=0.0, seconds=0.1)


@dataclass(frozen=True)
class Api:
    """A list of a known number of records, and which counts its answers contain."""

    records: int
    returns_last_page: bool
    returns_total: bool

    def page(self, number: int, limit: int, total: int | None = None) -> Page:
        """Return a page; if `total` is given, it replaces the correct total."""
        right = self.records if self.returns_total else None
        return page(
            number,
            limit,
            min(limit, max(0, self.records - (number - 1) * limit)),
            last_page=pages_of(self.records, limit) if self.returns_last_page else None,
            total=right if total is None else total,
        )


apis = st.builds(Api, st.integers(0, 60), st.booleans(), st.booleans())
numbers = st.integers(1, 12)
limits = st.integers(1, 20)


@given(apis, numbers, limits)
def test_count_bounds_of_any_page_contain_the_real_count(api: Api, number: int, limit: int) -> None:
    told = count_bounds(api.page(number, limit))
    assert told.least <= api.records
    assert told.most is None or api.records <= told.most
    assert told.exact in (None, api.records)


@given(apis, limits)
def test_count_bounds_of_the_last_page_are_exact(api: Api, limit: int) -> None:
    last = pages_of(api.records, limit)
    # A full last page does not prove that it is the last one, unless the answer contains the last page or the total.
    if api.returns_last_page or api.returns_total or api.records % limit or api.records == 0:
        assert count_bounds(api.page(last, limit)).exact == api.records


@given(apis.filter(lambda api: api.returns_total), numbers, limits)
def test_count_bounds_of_any_page_with_a_total_are_exact(api: Api, number: int, limit: int) -> None:
    assert count_bounds(api.page(number, limit)).exact == api.records


@given(apis.filter(lambda api: api.returns_last_page))
def test_count_bounds_with_last_page_are_exact_at_one_record_per_page(api: Api) -> None:
    assert count_bounds(api.page(1, 1)).exact == api.records


@given(apis.filter(lambda api: api.returns_last_page), numbers, limits, st.integers(0, 500))
def test_count_bounds_ignore_a_total_that_contradicts_last_page(api: Api, number: int, limit: int, total: int) -> None:
    if pages_of(total, limit) != pages_of(api.records, limit):
        without = Api(api.records, returns_last_page=True, returns_total=False)
        assert count_bounds(api.page(number, limit, total)) == count_bounds(without.page(number, limit))


@given(apis.filter(lambda api: api.returns_last_page), limits)
def test_count_bounds_with_last_page_differ_by_less_than_one_page(api: Api, limit: int) -> None:
    told = count_bounds(api.page(1, limit))
    assert told.most is not None
    assert told.most - told.least < limit


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (page(1, 100, 100), CountBounds(100, None)),
        (page(1, 100, 99), CountBounds(99, 99)),
        (page(3, 100, 0), CountBounds(0, None)),
        (page(3, 100, 0, last_page=2), CountBounds(101, 200)),
        (page(1, 100, 0), CountBounds(0, 0)),
        (page(1, 100, 0, last_page=3), CountBounds(0, None)),
        (page(1, 100, 100, last_page=3), CountBounds(201, 300)),
        (page(3, 100, 17, last_page=3), CountBounds(217, 217)),
        (page(1, 100, 100, last_page=3, total=217), CountBounds(217, 217)),
        (page(1, 100, 100, last_page=3, total=100), CountBounds(201, 300)),
        (page(1, 100, 100, total=217), CountBounds(217, 217)),
    ],
)
def test_count_bounds_returns_the_expected_bounds_of_example_pages(answer: Page, told: CountBounds) -> None:
    assert count_bounds(answer) == told


@given(apis, numbers, limits)
def test_contradicts_total_is_false_for_correct_answers(api: Api, number: int, limit: int) -> None:
    assert not contradicts_total(api.page(number, limit))


@given(apis, numbers, limits)
def test_count_bounds_treat_a_disbelieved_total_as_missing(api: Api, number: int, limit: int) -> None:
    without = Api(api.records, api.returns_last_page, returns_total=False)
    assert count_bounds(api.page(number, limit), believe_total=False) == count_bounds(without.page(number, limit))


@given(st.integers(0, 300), st.integers(1, 50), st.integers(1, 50))
def test_page_cap_is_derived_from_the_count_and_the_number_of_pages(records: int, cap: int, limit: int) -> None:
    given_ = min(cap, limit)
    answer = page(1, limit, min(given_, records), last_page=pages_of(records, given_))
    capped = given_ < limit and records > given_
    assert page_cap(answer, records) == (given_ if capped else None)
    assert page_cap(answer, None) is None


@given(st.integers(50, 300), st.integers(2, 49), st.integers(1, 5))
def test_page_cap_is_none_for_a_single_short_page(records: int, limit: int, lacking: int) -> None:
    size = max(1, limit - lacking)
    if pages_of(records, limit) != pages_of(records, size):
        assert page_cap(page(1, limit, size, last_page=pages_of(records, limit)), records) is None


few = st.integers(0, 20)
balances = st.builds(Balance, few, few, st.integers(-9, 9), few, few, few, st.integers(0, 90))


@given(few, few, st.integers(-9, 9), few, few, few)
def test_balance_explains_leaving_held_and_returning_records(
    existing: int, unreadable: int, offset: int, leaving: int, held: int, returning: int
) -> None:
    known = existing + leaving + held
    balance = Balance(known, unreadable, offset, leaving, held, returning, existing + unreadable + offset + returning)
    assert balance.unexplained == 0
    assert balance.max_gone == leaving + held
    assert balance.max_newly_gone == held


@given(balances)
def test_balance_max_gone_is_never_more_than_the_count_leaves(balance: Balance) -> None:
    max_gone, spare = balance.max_gone, balance.max_newly_gone
    assert max_gone is not None
    assert spare is not None
    assert 0 <= spare <= max_gone
    if max_gone:
        assert balance.count is not None
        assert balance.count - balance.unreadable - balance.offset - balance.returning + max_gone == balance.existing


@given(balances)
def test_balance_without_a_count_has_no_difference_and_no_max_gone(balance: Balance) -> None:
    open_ = replace(balance, count=None)
    assert open_.difference == open_.unexplained == 0
    assert open_.max_gone is open_.max_newly_gone is None


@given(balances, st.integers(-5, 5))
def test_balance_change_of_the_count_changes_unexplained_by_as_much(balance: Balance, more: int) -> None:
    counted = replace(balance, count=(balance.count or 0) + more)
    assert counted.unexplained == balance.unexplained + more


differences = st.integers(-50, 50)


@given(differences, differences.filter(bool))
def test_accepted_offset_adds_a_lasting_difference_left_by_two_sweeps(offset: int, unexplained: int) -> None:
    assert accepted_offset(unexplained, unexplained, offset, has_lasted=True) == offset + unexplained
    assert accepted_offset(unexplained, unexplained, offset, has_lasted=False) == offset


@given(differences, differences, st.none() | differences)
def test_accepted_offset_ignores_a_difference_of_one_sweep(offset: int, unexplained: int, before: int | None) -> None:
    if unexplained != before or unexplained == 0:
        assert accepted_offset(unexplained, before, offset, has_lasted=True) == offset


FIRST, LONGEST = 60.0, 3600.0


@given(differences.filter(bool), st.floats(0, 1e7))
def test_search_timing_new_difference_is_due_at_once(difference: int, now: float) -> None:
    timing = SearchTiming(FIRST, LONGEST)
    assert timing.is_due(difference, now)
    assert not timing.is_due(0, now)


def test_search_timing_doubles_the_wait_after_each_unsuccessful_search() -> None:
    timing, now, waits = SearchTiming(FIRST, LONGEST), 0.0, []
    for _ in range(9):
        assert timing.is_due(-3, now)
        timing.note_search_end(now, found=False)
        began = now
        while not timing.is_due(-3, now):
            now += 1.0
        waits.append(now - began)
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_search_timing_after_a_successful_search_waits_only_rest_seconds() -> None:
    timing = SearchTiming(FIRST, LONGEST)
    timing.note_search_end(0.0, found=False)
    assert timing.is_due(2, 60.0)
    timing.note_search_end(60.0, found=True)
    assert timing.is_due(2, 60.0)
    timing.note_search_end(60.0, found=True, rest_seconds=30.0)
    assert not timing.is_due(2, 89.0)
    assert timing.is_due(2, 90.0)


@given(st.lists(st.tuples(differences, st.booleans(), st.floats(0, 9000)), max_size=30))
def test_search_timing_never_waits_longer_than_the_longest_wait(steps: list[tuple[int, bool, float]]) -> None:
    timing, now = SearchTiming(FIRST, LONGEST), 0.0
    for difference, found, gap in steps:
        if timing.is_due(difference, now):
            timing.note_search_end(now, found=found)
        assert timing.is_due(difference, now + LONGEST) is (difference != 0)
        now += gap


def test_search_timing_another_difference_waits_only_the_first_wait() -> None:
    timing = SearchTiming(FIRST, LONGEST)
    now = 0.0
    for _ in range(7):
        assert timing.is_due(-3, now)
        timing.note_search_end(now, found=False)
        now += LONGEST
    timing.note_search_end(now, found=False)
    assert not timing.is_due(-4, now)
    assert timing.is_due(-4, now + FIRST)


def test_search_timing_clear_resets_the_wait() -> None:
    timing = SearchTiming(FIRST, LONGEST)
    assert timing.is_due(-3, 0.0)
    timing.note_search_end(0.0, found=False)
    timing.clear()
    assert timing.is_due(-3, 1.0)


@given(st.integers(1, 1000), st.floats(0, 1e6))
def test_sweep_is_affordable_after_a_fixed_pause_for_each_page(pages: int, since: float) -> None:
    assert sweep_is_affordable(pages, since, 12.0) is (since >= 12 * pages)


def test_unexplained_age_lasts_from_the_first_difference_until_none_is_left() -> None:
    age = UnexplainedAge()
    assert age.note(2, 0, 1000) == 1000
    assert age.note(3, 0, 2000) == 1000
    assert age.note(0, 0, 3000) is None
    assert age.note(-1, 0, 4000) == 4000


def test_unexplained_age_explains_the_oldest_difference_first() -> None:
    age = UnexplainedAge()
    assert age.note(2, 0, 1000) == 1000
    assert age.note(2, 1, 2000) == 1000
    assert age.note(2, 2, 3000) == 2000
    assert age.note(2, 9, 4000) == 4000


def test_unexplained_age_restore_continues_the_age() -> None:
    age = UnexplainedAge()
    age.restore(2, 500)
    assert age.note(2, 0, 1000) == 500
    age.restore(0, None)
    assert age.note(2, 0, 1000) == 1000


@dataclass
class MovingList:
    """A list that is swept while records are entered and deleted; every entry is found by a head poll."""

    records: list[int]
    found: int = 0

    def move(self, moves: list[int | None]) -> None:
        """Insert a record at the top for each None, and delete the record at the place of each number."""
        for place in moves:
            if place is None:
                self.found += 1
                self.records.insert(0, -self.found)
            elif self.records:
                del self.records[place % len(self.records)]

    def checkpoint(self, page: int) -> SweepCheckpoint:
        return SweepCheckpoint(len(self.records), page, self.found)


# Deletions are near the top: those above the place where the sweep reads move the records not read yet.
moves = st.lists(st.none() | st.integers(0, 12), max_size=12)
lists = st.integers(20, 60).map(lambda count: MovingList([*range(count)]))
small_sizes = st.integers(1, 5)
few_pages = st.integers(1, 4)


@settings(max_examples=300)
@given(lists, small_sizes, few_pages, moves, moves)
def test_page_to_repeat_leaves_no_unread_record_before_the_next_page(
    moving: MovingList, size: int, page: int, earlier: list[int | None], later: list[int | None]
) -> None:
    unread = {*moving.records[page * size :]}
    before = moving.checkpoint(page)
    moving.move(earlier)
    unread -= {*moving.records[page * size : (page + 1) * size]}
    moving.move(later)
    following = page_to_repeat(before, moving.checkpoint(page + 1), size) or page + 2
    assert not unread & {*moving.records[: (following - 1) * size]}


@settings(max_examples=300)
@given(lists, small_sizes, st.lists(st.tuples(moves, st.booleans()), max_size=12))
def test_page_to_repeat_lets_a_sweep_read_every_record_that_stays(
    moving: MovingList, size: int, meanwhile: list[tuple[list[int | None], bool]]
) -> None:
    there_all_along = {*moving.records}
    read: set[int] = set()
    steps = iter(meanwhile)
    number, checkpoint, is_last = 1, moving.checkpoint(0), False
    while not is_last:
        standing = moving.records[(number - 1) * size : number * size]
        read |= {*standing}
        moved, tells_count = next(steps, ([], True))
        moving.move(moved)
        is_last = len(standing) < size
        following = number + 1
        if (tells_count or is_last) and (
            repeat := page_to_repeat(checkpoint, moving.checkpoint(number), size)
        ) is not None:
            following, is_last = repeat, False
        if tells_count or is_last:
            # After a step back, the page before the one to repeat counts as the page read last.
            checkpoint = moving.checkpoint(following - 1)
        number = following
    assert there_all_along & {*moving.records} <= read


@given(lists, few_pages, small_sizes, st.integers(0, 12))
def test_page_to_repeat_is_none_for_entries_that_head_polls_have_found(
    moving: MovingList, page: int, size: int, entries: int
) -> None:
    before = moving.checkpoint(page)
    moving.move([None] * entries)
    assert page_to_repeat(before, moving.checkpoint(page + 1), size) is None


@pytest.mark.parametrize(
    ("gone", "page"), [(-5, None), (0, None), (1, 7), (10, 7), (11, 6), (60, 2), (61, 1), (500, 1)]
)
def test_page_to_repeat_goes_back_as_many_pages_as_may_have_moved(gone: int, page: int | None) -> None:
    assert page_to_repeat(SweepCheckpoint(1000, 7, found=3), SweepCheckpoint(1002 - gone, 9, found=5), size=10) == page
