"""How far sweeps have come, so that the next run goes on there."""

from sqlite_utils import Database

from notifier.ledger import sources, sweeps
from notifier.ledger.sweeps import Sweep


def test_there_is_none_at_first(db: Database) -> None:
    assert sweeps.latest(db, "acme") is None


def test_a_new_one_begins_at_the_first_page(db: Database) -> None:
    sweep = sweeps.resume(db, "acme", 1000)
    assert sweep == Sweep(sweep.id, "acme", 1000, None, next_page=1, last_page=None, records=0, changes=0)
    assert sweeps.latest(db, "acme") == sweep


def test_each_page_moves_it_on_and_adds_to_its_counts(db: Database) -> None:
    sweep = sweeps.resume(db, "acme", 1000)
    sweeps.advance(db, sweep.id, next_page=2, last_page=3, records=1000, changes=2)
    sweeps.advance(db, sweep.id, next_page=3, last_page=None, records=700, changes=0)
    assert sweeps.latest(db, "acme") == Sweep(sweep.id, "acme", 1000, None, 3, None, records=1700, changes=2)


def test_the_unfinished_one_is_taken_up_again(db: Database) -> None:
    sweep = sweeps.resume(db, "acme", 1000)
    sweeps.advance(db, sweep.id, next_page=2, last_page=3, records=1000, changes=0)
    assert sweeps.resume(db, "acme", 9000) == sweeps.latest(db, "acme")
    assert sweeps.resume(db, "acme", 9000).id == sweep.id


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
