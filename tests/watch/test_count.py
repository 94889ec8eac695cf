"""What the API says of the number of records, and what follows from it, against lists that are known whole."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.kpa.client import Page
from notifier.watch.count import Mark, Told, page_to_repeat, told_by, uncounted


def pages_of(records: int, limit: int) -> int:
    return max(1, -(-records // limit))


def page(number: int, limit: int, size: int, *, last_page: int | None = None, total: int | None = None) -> Page:
    return Page(number, limit, size, (), (), last_page, total, served_at_ms=None, seconds=0.1)


@dataclass(frozen=True)
class Api:
    """A list of so many records, and what its answers say beside them."""

    records: int
    says_last_page: bool
    says_total: bool

    def page(self, number: int, limit: int, total: int | None = None) -> Page:
        """Answer with a page, in which `total` stands in place of the right one."""
        right = self.records if self.says_total else None
        return page(
            number,
            limit,
            min(limit, max(0, self.records - (number - 1) * limit)),
            last_page=pages_of(self.records, limit) if self.says_last_page else None,
            total=right if total is None else total,
        )


apis = st.builds(Api, st.integers(0, 60), st.booleans(), st.booleans())
numbers = st.integers(1, 12)
limits = st.integers(1, 20)


@given(apis, numbers, limits)
def test_what_any_page_tells_is_true(api: Api, number: int, limit: int) -> None:
    told = told_by(api.page(number, limit))
    assert told.admits(api.records)
    assert told.exactly in (None, api.records)


@given(apis, limits)
def test_the_last_page_tells_exactly(api: Api, limit: int) -> None:
    last = pages_of(api.records, limit)
    # A last page that is full does not show that it is the last, unless the API says so.
    if api.says_last_page or api.says_total or api.records % limit or api.records == 0:
        assert told_by(api.page(last, limit)).exactly == api.records


@given(apis.filter(lambda api: api.says_total), numbers, limits)
def test_with_the_total_every_page_tells_exactly(api: Api, number: int, limit: int) -> None:
    assert told_by(api.page(number, limit)).exactly == api.records


@given(apis.filter(lambda api: api.says_last_page))
def test_a_page_of_one_record_tells_exactly(api: Api) -> None:
    assert told_by(api.page(1, 1)).exactly == api.records


@given(apis.filter(lambda api: api.says_last_page), numbers, limits, st.integers(0, 500))
def test_a_total_that_does_not_go_with_the_last_page_is_ignored(api: Api, number: int, limit: int, total: int) -> None:
    if pages_of(total, limit) != pages_of(api.records, limit):
        without = Api(api.records, says_last_page=True, says_total=False)
        assert told_by(api.page(number, limit, total)) == told_by(without.page(number, limit))


@given(apis.filter(lambda api: api.says_last_page), limits)
def test_the_last_pages_number_leaves_no_more_open_than_a_page(api: Api, limit: int) -> None:
    told = told_by(api.page(1, limit))
    assert told.most is not None
    assert told.most - told.least < limit


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (page(1, 100, 100), Told(100, None)),
        (page(1, 100, 99), Told(99, 99)),
        (page(3, 100, 0), Told(0, None)),
        (page(3, 100, 0, last_page=2), Told(101, 200)),
        (page(1, 100, 0), Told(0, 0)),
        (page(1, 100, 100, last_page=3), Told(201, 300)),
        (page(3, 100, 17, last_page=3), Told(217, 217)),
        (page(1, 100, 100, last_page=3, total=217), Told(217, 217)),
        (page(1, 100, 100, last_page=3, total=100), Told(201, 300)),
        (page(1, 100, 100, total=217), Told(217, 217)),
    ],
)
def test_what_a_page_tells(answer: Page, told: Told) -> None:
    assert told_by(answer) == told


@given(st.integers(0, 50), st.none() | st.integers(0, 50), st.integers(-5, 60))
def test_what_it_admits_lies_between_the_bounds(least: int, more: int | None, count: int) -> None:
    told = Told(least, None if more is None else least + more)
    assert told.admits(count) is (count >= least and (more is None or count <= least + more))
    assert told.exactly == (least if more == 0 else None)


differences = st.integers(-50, 50)


@given(differences, st.integers(0, 50))
def test_a_first_difference_is_for_good_as_far_as_unreadable_records_explain_it(
    left_over: int, unreadable: int
) -> None:
    assert uncounted(left_over, unreadable, None, held=False) == unreadable
    if left_over:
        assert uncounted(left_over, unreadable, 0, held=False) == unreadable


@given(differences, st.integers(0, 50))
def test_what_two_sweeps_could_not_find_is_for_good(left_over: int, unreadable: int) -> None:
    assert uncounted(left_over, unreadable, left_over, held=False) == left_over


@given(differences, st.integers(0, 50), st.none() | differences)
def test_removals_that_are_held_back_explain_the_whole_difference(
    left_over: int, unreadable: int, left_before: int | None
) -> None:
    assert uncounted(left_over, unreadable, left_before, held=True) == left_over


@dataclass
class MovingList:
    """A list that is swept while records are entered and deleted; every entry is found by a head poll."""

    records: list[int]
    found: int = 0

    def move(self, moves: list[int | None]) -> None:
        """Enter a record at the top for each None, and delete what stands at each number."""
        for place in moves:
            if place is None:
                self.found += 1
                self.records.insert(0, -self.found)
            elif self.records:
                del self.records[place % len(self.records)]

    def mark(self, page: int) -> Mark:
        return Mark(len(self.records), page, self.found)


# Deletions near the top: those above the place where the sweep reads move what it has not read yet.
moves = st.lists(st.none() | st.integers(0, 12), max_size=12)
lists = st.integers(20, 60).map(lambda count: MovingList([*range(count)]))
small_sizes = st.integers(1, 5)
few_pages = st.integers(1, 4)


@settings(max_examples=300)
@given(lists, small_sizes, few_pages, moves, moves)
def test_no_unread_record_stands_above_the_place_to_read_on_from(
    moving: MovingList, size: int, page: int, earlier: list[int | None], later: list[int | None]
) -> None:
    unread = {*moving.records[page * size :]}
    before = moving.mark(page)
    moving.move(earlier)
    unread -= {*moving.records[page * size : (page + 1) * size]}
    moving.move(later)
    following = page_to_repeat(before, moving.mark(page + 1), size) or page + 2
    assert not unread & {*moving.records[: (following - 1) * size]}


@settings(max_examples=300)
@given(lists, small_sizes, st.lists(st.tuples(moves, st.booleans()), max_size=12))
def test_a_sweep_that_reads_again_from_there_misses_nothing(
    moving: MovingList, size: int, meanwhile: list[tuple[list[int | None], bool]]
) -> None:
    there_all_along = {*moving.records}
    read: set[int] = set()
    steps = iter(meanwhile)
    number, mark, is_last = 1, moving.mark(0), False
    while not is_last:
        standing = moving.records[(number - 1) * size : number * size]
        read |= {*standing}
        moved, tells_count = next(steps, ([], True))
        moving.move(moved)
        is_last = len(standing) < size
        following = number + 1
        if (tells_count or is_last) and (repeat := page_to_repeat(mark, moving.mark(number), size)) is not None:
            following, is_last = repeat, False
        if tells_count or is_last:
            # Where it steps back, the page read last is the one before.
            mark = moving.mark(following - 1)
        number = following
    assert there_all_along & {*moving.records} <= read


@given(lists, few_pages, small_sizes, st.integers(0, 12))
def test_entries_that_head_polls_have_found_make_no_page_be_read_again(
    moving: MovingList, page: int, size: int, entries: int
) -> None:
    before = moving.mark(page)
    moving.move([None] * entries)
    assert page_to_repeat(before, moving.mark(page + 1), size) is None


@pytest.mark.parametrize(
    ("gone", "page"), [(-5, None), (0, None), (1, 7), (10, 7), (11, 6), (60, 2), (61, 1), (500, 1)]
)
def test_it_reads_again_as_many_pages_as_may_have_moved(gone: int, page: int | None) -> None:
    assert page_to_repeat(Mark(1000, 7, found=3), Mark(1002 - gone, 9, found=5), size=10) == page
