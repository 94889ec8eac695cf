"""The bisection that finds where a list has changed, checked against lists whose records are all known."""

import random
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from itertools import islice, pairwise, repeat
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.watch.detection.bisection import (
    UNDATED,
    Bisection,
    CountChange,
    Day,
    KnownCounts,
    NotSortedError,
    Range,
    day_of,
)

PAGE = 1000
BEFORE, COUNTED, SINCE, READ = 1000, 2000, 3000, 4000
"""Moments: an entry before the count, the count, an entry after the count, the reading of pages."""
LATEST: Day = 100_000_000
EARLIEST: Day = -1
TEN_YEARS = [int(f"{date(2016, 11, 21) + timedelta(days):%Y%m%d}") for days in range(3650)]


class State(StrEnum):
    """What has happened to a record since the last sweep."""

    KNOWN = "known"
    INSERTED = "inserted"
    DELETED = "deleted"
    UNREADABLE = "unreadable"
    """The API counts it, and it never becomes known."""


class Entry(NamedTuple):
    day: Day
    state: State


@dataclass(frozen=True)
class Search:
    """The result of a search: the pages that it requested, in order, and the ranges that still differ."""

    pages: Sequence[int]
    ranges: Sequence[Range]

    def has_read(self, place: int, size: int) -> bool:
        return place // size + 1 in self.pages


def search(
    listed: Sequence[Day | None], fresh: Collection[int], known: KnownCounts, size: int, *, came_on_top: int = 0
) -> Search:
    """Search as the program does; the records at the places `fresh` become known when their page is read.

    The first `came_on_top` of the listed records were entered after the count, and head polls have found them.
    """
    bisection = Bisection(known, len(listed) - came_on_top, size, COUNTED)
    bisection.add_changes(CountChange(day, SINCE) for day in listed[:came_on_top] if day is not None)
    pages: list[int] = []
    while (number := bisection.next_page()) is not None:
        assert number not in pages
        pages.append(number)
        places = range(len(listed))[(number - 1) * size : number * size]
        bisection.observe_page(number, [listed[place] for place in places], READ)
        bisection.add_changes(
            CountChange(day, BEFORE) for place in places if place in fresh and (day := listed[place]) is not None
        )
    return Search(pages, list(bisection.changed_ranges()))


class Account:
    """A list as the API has it, and as it was known before; `entries` may be in any order within a day."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        in_order = sorted(entries, key=lambda entry: -entry.day)
        self.listed = [entry for entry in in_order if entry.state is not State.DELETED]
        self.deleted = [entry.day for entry in in_order if entry.state is State.DELETED]
        self.fresh = {place for place, entry in enumerate(self.listed) if entry.state is State.INSERTED}
        self.counts = Counter(entry.day for entry in in_order if entry.state in (State.KNOWN, State.DELETED))
        self.known = KnownCounts(self.counts)

    def search(self, size: int) -> Search:
        readable = [None if entry.state is State.UNREADABLE else entry.day for entry in self.listed]
        return search(readable, self.fresh, self.known, size)

    def missed_inserts(self, done: Search, size: int) -> list[int]:
        return [place for place in sorted(self.fresh) if not done.has_read(place, size)]

    def missed_deletions(self, done: Search) -> list[Day]:
        """Return the days of the deleted records that are in no changed range."""
        return [day for day in self.deleted if not any(range_.older < day <= range_.newer for range_ in done.ranges)]

    def excess(self, range_: Range) -> int:
        """Return how many more records the API has in a range than are known by now."""
        has = sum(range_.older < entry.day <= range_.newer for entry in self.listed)
        return has - (self.known.newer_than(range_.older) - self.known.newer_than(range_.newer))

    def pages_of(self, range_: Range, size: int) -> set[int]:
        places = [place for place, entry in enumerate(self.listed) if range_.older < entry.day <= range_.newer]
        return {place // size + 1 for place in places}


few_days = st.sampled_from([UNDATED, 20190101, 20200227, *range(20261101, 20261113)])
sizes = st.integers(1, 9)


def entries(*states: State) -> st.SearchStrategy[list[Entry]]:
    """Make lists of known records with some of these states among them."""
    mostly_known = st.sampled_from([State.KNOWN] * 9 * len(states) + [*states])
    return st.lists(st.builds(Entry, few_days, mostly_known), max_size=80)


@given(entries(State.INSERTED), sizes)
def test_bisection_finds_every_insert(changed: list[Entry], size: int) -> None:
    account = Account(changed)
    done = account.search(size)
    assert account.missed_inserts(done, size) == []
    assert not done.ranges


@given(entries(State.DELETED), sizes)
def test_bisection_reports_every_deletion_in_a_changed_range(changed: list[Entry], size: int) -> None:
    account = Account(changed)
    done = account.search(size)
    assert account.missed_deletions(done) == []


@given(entries(State.INSERTED), st.sets(few_days, max_size=3), sizes)
def test_bisection_finds_inserts_and_deletions_that_cannot_cancel_out(
    changed: list[Entry], cleared: set[Day], size: int
) -> None:
    inserted = sum(entry.state is State.INSERTED for entry in changed)
    account = Account([*changed, *(Entry(day, State.DELETED) for day in cleared for _ in range(inserted + 1))])
    done = account.search(size)
    assert account.missed_inserts(done, size) == account.missed_deletions(done) == []


@given(entries(State.INSERTED, State.DELETED), sizes)
def test_bisection_misses_only_inserts_and_deletions_that_cancel_out(changed: list[Entry], size: int) -> None:
    account = Account(changed)
    done = account.search(size)
    inserts = [account.listed[place].day for place in account.missed_inserts(done, size)]
    deletions = account.missed_deletions(done)
    fences = [LATEST, *(day for range_ in done.ranges for day in (range_.newer, range_.older)), EARLIEST]
    for newer, older in zip(fences[::2], fences[1::2], strict=True):
        missed_between = [sum(older < day <= newer for day in days) for days in (inserts, deletions)]
        assert missed_between[0] == missed_between[1]


@given(entries(*State), sizes)
def test_bisection_changed_ranges_are_read_whole_and_explain_the_difference(changed: list[Entry], size: int) -> None:
    account = Account(changed)
    done = account.search(size)
    assert sum(range_.excess for range_ in done.ranges) == len(account.listed) - account.known.records
    for range_ in done.ranges:
        assert range_.excess == account.excess(range_) != 0
        pages = {*range(range_.first_page, range_.last_page + 1)}
        assert account.pages_of(range_, size) <= pages <= {*done.pages}
    assert all(upper.older >= lower.newer for upper, lower in pairwise(done.ranges))


@given(entries(*State), sizes)
def test_bisection_reads_no_page_twice_and_none_beyond_the_end(changed: list[Entry], size: int) -> None:
    account = Account(changed)
    done = account.search(size)
    assert all(1 <= page <= max(1, -(-len(account.listed) // size)) for page in done.pages)


@given(entries(State.UNREADABLE), sizes)
def test_bisection_changed_ranges_contain_exactly_the_unreadable_records(changed: list[Entry], size: int) -> None:
    account = Account(changed)
    done = account.search(size)
    unreadable = [entry.day for entry in account.listed if entry.state is State.UNREADABLE]
    for range_ in done.ranges:
        assert range_.excess == sum(range_.older < day <= range_.newer for day in unreadable)
    assert sum(range_.excess for range_ in done.ranges) == len(unreadable)


@given(entries(State.INSERTED, State.DELETED), sizes, st.integers(1, 12))
def test_bisection_excess_is_correct_if_records_are_entered_after_the_count(
    changed: list[Entry], size: int, came_on_top: int
) -> None:
    account = Account(changed)
    listed = [LATEST - 1] * came_on_top + [entry.day for entry in account.listed]
    fresh = {place + came_on_top for place in account.fresh}
    account.listed[:0] = [Entry(LATEST - 1, State.KNOWN)] * came_on_top
    for range_ in search(listed, fresh, account.known, size, came_on_top=came_on_top).ranges:
        assert range_.excess == account.excess(range_)


@given(entries(State.INSERTED, State.DELETED), st.lists(st.lists(few_days, max_size=80)), sizes, st.integers(-9, 9))
def test_bisection_ends_however_the_list_changes_meanwhile(
    changed: list[Entry], readings: list[list[Day]], size: int, at_ms: int
) -> None:
    account = Account(changed)
    bisection = Bisection(account.known, len(account.listed), size)
    lists = iter(readings)
    pages: list[int] = []
    while (number := bisection.next_page()) is not None:
        pages.append(number)
        listed = sorted(next(lists, []), reverse=True)[(number - 1) * size : number * size]
        bisection.observe_page(number, listed, at_ms)
        bisection.add_changes(CountChange(day, at_ms) for day in listed)
    assert len(pages) == len({*pages}) <= (80 + 9) // size + 1


@given(entries(State.KNOWN), st.lists(few_days, max_size=6), sizes)
def test_bisection_entries_found_by_polls_meanwhile_cause_no_negative_excess(
    standing: list[Entry], to_come: list[Day], size: int
) -> None:
    """Every entry becomes known at once, and moves all records below it."""
    listed = sorted((entry.day for entry in standing), reverse=True)
    # One hidden entry, of the oldest day, makes the bisection search.
    bisection = Bisection(KnownCounts(Counter(listed)), len(listed) + 1, size, COUNTED)
    listed.append(UNDATED)
    now_ms = SINCE
    coming = iter(to_come)
    while (number := bisection.next_page()) is not None:
        bisection.observe_page(number, listed[(number - 1) * size : number * size], now_ms)
        for day in islice(coming, 1):
            now_ms += 1
            listed = sorted([day, *listed], reverse=True)
            bisection.add_changes([CountChange(day, now_ms)])
            now_ms += 1
    assert all(range_.excess > 0 for range_ in bisection.changed_ranges())


@pytest.mark.parametrize(
    "days",
    [
        [20200227, 20200228],
        [20200228, 20200227, 20200227, 20200228],
        [20200227, None, 20200228],
        [20200228, UNDATED, 20200227],
    ],
)
def test_observe_page_raises_for_an_unsorted_page(days: list[Day | None]) -> None:
    bisection = Bisection(KnownCounts({}), 4, 4)
    with pytest.raises(NotSortedError):
        bisection.observe_page(1, days)


@given(st.lists(st.tuples(few_days, st.integers(1, 5)), max_size=20), few_days)
def test_known_counts_change_updates_records_and_newer_than(moves: list[tuple[Day, int]], day: Day) -> None:
    counts: Counter[Day] = Counter()
    known = KnownCounts(counts)
    for moved, count in moves:
        more = -1 if counts[moved] else count
        known.change({moved: more})
        counts[moved] += more
        assert known.records == counts.total()
        assert known.newer_than(day) == sum(count for other, count in counts.items() if other > day)


def test_day_of_returns_numbers_that_sort_like_the_list() -> None:
    assert day_of("2020-02-27") == 20200227
    assert EARLIEST < day_of(None) == UNDATED < day_of("0001-01-01")


class LargeAccount:
    """Ten years of records on pages of a thousand, stored as days only: a million records take a few megabytes."""

    def __init__(self, records: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.counts = Counter(self.random.choices(TEN_YEARS, k=records))
        self.listed = array("i")
        for day in sorted(self.counts, reverse=True):
            self.listed.extend(repeat(day, self.counts[day]))

    def pages_for_inserts(self, count: int = 1) -> int:
        """Enter records at random places; return how many pages it takes to find all of them."""
        places = sorted(self.random.sample(range(len(self.listed)), count))
        listed = array("i", self.listed)
        for before, place in enumerate(places):
            listed.insert(place + before, self.listed[place])
        fresh = {place + before for before, place in enumerate(places)}
        done = search(listed, fresh, KnownCounts(self.counts), PAGE)
        assert {place // PAGE + 1 for place in fresh} <= {*done.pages}
        assert not done.ranges
        return len(done.pages)

    def pages_for_a_deletion(self) -> int:
        """Delete a record at a random place; return how many pages it takes to find its range."""
        listed = array("i", self.listed)
        day = listed.pop(self.random.randrange(len(listed)))
        done = search(listed, (), KnownCounts(self.counts), PAGE)
        (range_,) = done.ranges
        assert range_.older < day <= range_.newer
        return len(done.pages)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("records", "most"), [(10_000, 4), (20_000, 5), (100_000, 7), (1_000_000, 10)])
def test_bisection_finds_a_single_change_in_the_expected_number_of_pages(records: int, most: int, seed: int) -> None:
    account = LargeAccount(records, seed)
    assert max(account.pages_for_inserts() for _ in range(15)) <= most
    assert max(account.pages_for_a_deletion() for _ in range(15)) <= most


def test_bisection_of_100_inserts_on_200_pages_reads_fewer_than_160_pages() -> None:
    assert LargeAccount(200_000, seed=1).pages_for_inserts(100) < 160
