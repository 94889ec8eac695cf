"""How far sweeps have come, so that the next run goes on there."""

from array import array
from typing import Any

from sqlite_utils import Database

from notifier.ledger import sources, sweeps
from notifier.ledger.sweeps import Sweep, SweptPage


def test_there_is_none_at_first(db: Database) -> None:
    assert sweeps.latest(db, "acme") is None


def test_a_new_one_begins_at_the_first_page(db: Database) -> None:
    sweep = sweeps.resume(db, "acme", 1000)
    assert sweep == Sweep(sweep.id, "acme", 1000, None, next_page=1, last_page=None, records=0, changes=0)
    assert sweeps.latest(db, "acme") == sweep


def swept(sweep: Sweep, number: int, last_page: int | None = 3, **fields: Any) -> SweptPage:
    defaults = {"records": number * 1000, "unreadable": 0, "marks": True}
    return SweptPage(sweep.id, number, last_page, **(defaults | fields))


def ids(*numbers: int) -> bytes:
    return array("q", numbers).tobytes()


def test_each_page_moves_it_on_and_adds_to_its_changes(db: Database) -> None:
    sweep = sweeps.resume(db, "acme", 1000)
    sweeps.advance(db, swept(sweep, 1, unreadable=4), changes=2, ids=ids())
    sweeps.advance(db, swept(sweep, 2, None, records=1700, unreadable=1), changes=1, ids=ids())
    assert sweeps.latest(db, "acme") == Sweep(sweep.id, "acme", 1000, None, 3, None, records=1700, changes=3)
    assert sweeps.unreadable(db, sweep.id) == 5


def test_the_unfinished_one_is_taken_up_again(db: Database) -> None:
    sweep = sweeps.resume(db, "acme", 1000)
    sweeps.advance(db, swept(sweep, 1), changes=0, ids=ids())
    sweeps.count(db, sweep.id, 2_345, 1)
    taken_up = sweeps.resume(db, "acme", 9000)
    assert taken_up == sweeps.latest(db, "acme")
    assert (taken_up.id, taken_up.counted, taken_up.counted_page) == (sweep.id, 2_345, 1)


def test_it_remembers_which_records_each_page_held_until_its_end(db: Database) -> None:
    sweep = sweeps.resume(db, "acme", 1000)
    for number in (1, 2, 3):
        sweeps.advance(db, swept(sweep, number), changes=0, ids=ids(number, number + 10))
    sweeps.advance(db, swept(sweep, 2), changes=0, ids=ids(7))
    assert sweeps.marks(db, sweep.id, 0, 2) == ([ids(1, 11), ids(7)], 2)
    assert sweeps.marks(db, sweep.id, 2, 2) == ([ids(3, 13)], 3)
    assert sweeps.marks(db, sweep.id, 3, 2) == ([], None)
    sweeps.finish(db, sweep, 5000)
    assert sweeps.marks(db, sweep.id, 0, 2) == ([], None)


def test_a_first_one_leaves_no_marks(db: Database) -> None:
    sweep = sweeps.resume(db, "acme", 1000)
    sweeps.advance(db, swept(sweep, 1, marks=False), changes=0, ids=ids(1))
    assert sweeps.marks(db, sweep.id, 0, 2) == ([b""], 1)


def test_it_goes_back_where_the_list_moved_and_never_forth(db: Database) -> None:
    sweep = sweeps.resume(db, "acme", 1000)
    for number in (1, 2, 3, 4):
        sweeps.advance(db, swept(sweep, number, unreadable=1), changes=0, ids=ids())
    sweeps.step_back(db, sweep.id, 3)
    assert sweeps.resume(db, "acme", 0).next_page == 3
    sweeps.step_back(db, sweep.id, 5)
    assert sweeps.resume(db, "acme", 0).next_page == 3
    for number in (3, 4):
        sweeps.advance(db, swept(sweep, number, unreadable=1), changes=0, ids=ids())
    assert sweeps.latest(db, "acme") == Sweep(sweep.id, "acme", 1000, None, 5, 3, records=4000, changes=0)
    assert sweeps.unreadable(db, sweep.id) == 4


def test_a_gap_ends_with_a_sweep_that_began_after_it(db: Database) -> None:
    sources.succeed(db, "acme", 1_000)
    early = sweeps.resume(db, "acme", 1_500)
    assert sources.succeed(db, "acme", 900_000, longest_outage_ms=1_000).gap_since_ms == 900_000
    sweeps.finish(db, early, 900_500)
    assert sources.recall(db, "acme").gap_since_ms == 900_000
    sweeps.finish(db, sweeps.resume(db, "acme", 901_000), 902_000)
    assert sources.recall(db, "acme").gap_since_ms is None


def test_the_end_of_the_list_is_noted_and_the_next_one_is_new(db: Database) -> None:
    first = sweeps.resume(db, "acme", 1000)
    sweeps.finish(db, first, 5000)
    assert sweeps.latest(db, "acme") == Sweep(first.id, "acme", 1000, 5000, 1, None, 0, 0)
    assert sources.recall(db, "acme").swept_at_ms == 5000
    second = sweeps.resume(db, "acme", 9000)
    assert second.id != first.id
    assert sweeps.latest(db, "acme") == second


def test_each_source_has_its_own(db: Database) -> None:
    sources.recall(db, "globex")
    ours = sweeps.resume(db, "acme", 1000)
    theirs = sweeps.resume(db, "globex", 2000)
    sweeps.finish(db, theirs, 5000)
    assert sweeps.latest(db, "acme") == ours
    assert sources.recall(db, "acme").swept_at_ms is None
