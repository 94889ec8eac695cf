"""The progress of sweeps, from which the next run continues."""

from array import array
from typing import TYPE_CHECKING, Any

from notifier.store.database import Database
from notifier.store.tables import sources, sweeps
from notifier.store.tables.sweeps import Sweep, SweptPage

if TYPE_CHECKING:
    from tests.integration.store.conftest import WriteEvents


def test_latest_sweep_is_none_at_first(db: Database) -> None:
    assert sweeps.latest(db, "acme") is None


def test_new_sweep_begins_at_the_first_page(db: Database) -> None:
    sweep = sweeps.resume_or_start(db, "acme", 1000)
    assert sweep == first_sweep(sweep.id)
    assert sweeps.latest(db, "acme") == sweep


def first_sweep(sweep: int, **fields: Any) -> Sweep:
    """Describe a source's first sweep, which began at 1000; `fields` holds the values that differ."""
    begun: dict[str, Any] = {"finished_ms": None, "next_page": 1, "last_page": None, "records": 0, "changes": 0}
    return Sweep(sweep, "acme", 1000, **(begun | {"first_new_id": 1, "whole": True, "marks": False} | fields))


def swept(sweep: Sweep, number: int, last_page: int | None = 3, **fields: Any) -> SweptPage:
    defaults = {"records": number * 1000, "unreadable": 0, "marks": True}
    return SweptPage(sweep.id, number, last_page, **(defaults | fields))


def ids(*numbers: int) -> bytes:
    return array("q", numbers).tobytes()


def test_advance_moves_to_the_next_page_and_adds_to_the_changes(db: Database) -> None:
    sweep = sweeps.resume_or_start(db, "acme", 1000)
    sweeps.advance(db, swept(sweep, 1, unreadable=4), changes=2, ids=ids())
    sweeps.advance(db, swept(sweep, 2, None, records=1700, unreadable=1), changes=1, ids=ids())
    assert sweeps.latest(db, "acme") == first_sweep(sweep.id, next_page=3, records=1700, changes=3)
    assert sweeps.count_unreadable(db, sweep.id) == 5


def test_unfinished_sweep_is_resumed(db: Database) -> None:
    sweep = sweeps.resume_or_start(db, "acme", 1000)
    sweeps.advance(db, swept(sweep, 1), changes=0, ids=ids())
    sweeps.store_count(db, sweep.id, 2_345, 1)
    taken_up = sweeps.resume_or_start(db, "acme", 9000)
    assert taken_up == sweeps.latest(db, "acme")
    assert (taken_up.id, taken_up.counted, taken_up.counted_page) == (sweep.id, 2_345, 1)


def test_sweep_keeps_the_ids_of_each_page_until_it_is_finished(db: Database) -> None:
    sweep = sweeps.resume_or_start(db, "acme", 1000)
    for number in (1, 2, 3):
        sweeps.advance(db, swept(sweep, number), changes=0, ids=ids(number, number + 10))
    sweeps.advance(db, swept(sweep, 2), changes=0, ids=ids(7))
    assert sweeps.read_page_ids(db, sweep.id, 0, 2) == ([ids(1, 11), ids(7)], 2)
    assert sweeps.read_page_ids(db, sweep.id, 2, 2) == ([ids(3, 13)], 3)
    assert sweeps.read_page_ids(db, sweep.id, 3, 2) == ([], None)
    sweeps.finish(db, sweep, 5000)
    assert sweeps.read_page_ids(db, sweep.id, 0, 2) == ([], None)


def test_page_without_marks_stores_no_ids(db: Database) -> None:
    sweep = sweeps.resume_or_start(db, "acme", 1000)
    sweeps.advance(db, swept(sweep, 1, marks=False), changes=0, ids=ids(1))
    assert sweeps.read_page_ids(db, sweep.id, 0, 2) == ([b""], 1)


def test_step_back_moves_a_sweep_only_to_an_earlier_page(db: Database) -> None:
    sweep = sweeps.resume_or_start(db, "acme", 1000)
    for number in (1, 2, 3, 4):
        sweeps.advance(db, swept(sweep, number, unreadable=1), changes=0, ids=ids())
    sweeps.step_back(db, sweep.id, 3)
    assert sweeps.resume_or_start(db, "acme", 0).next_page == 3
    sweeps.step_back(db, sweep.id, 5)
    assert sweeps.resume_or_start(db, "acme", 0).next_page == 3
    for number in (3, 4):
        sweeps.advance(db, swept(sweep, number, unreadable=1), changes=0, ids=ids())
    assert sweeps.latest(db, "acme") == first_sweep(sweep.id, next_page=5, last_page=3, records=4000)
    assert sweeps.count_unreadable(db, sweep.id) == 4


def finish_with_proof(db: Database, sweep: Sweep, now_ms: int) -> None:
    """Finish a sweep and store it as a proof."""
    sweeps.finish(db, sweep, now_ms)
    done = sweeps.latest(db, sweep.source)
    assert done is not None
    sweeps.store_proof(db, done)


def test_gap_ends_with_a_sweep_that_began_after_it(db: Database) -> None:
    sources.record_success(db, "acme", 1_000)
    early = sweeps.resume_or_start(db, "acme", 1_500)
    assert sources.record_success(db, "acme", 900_000, longest_outage_ms=1_000).gap_since_ms == 900_000
    finish_with_proof(db, early, 900_500)
    memory = sources.read_or_create(db, "acme")
    assert (memory.gap_since_ms, memory.swept_at_ms) == (900_000, 900_500)
    finish_with_proof(db, sweeps.resume_or_start(db, "acme", 901_000), 902_000)
    assert sources.read_or_create(db, "acme").gap_since_ms is None


def test_later_sweep_has_marks_and_the_first_new_id(db: Database, write_events: "WriteEvents") -> None:
    finish_with_proof(db, sweeps.resume_or_start(db, "acme", 1000), 5000)
    write_events(db, "1", "2")
    second = sweeps.resume_or_start(db, "acme", 9000)
    assert second.marks
    assert second.first_new_id == 3


def test_incomplete_sweep_stays_marked_when_it_is_resumed(db: Database) -> None:
    sweep = sweeps.resume_or_start(db, "acme", 1000)
    assert sweep.whole
    sweeps.mark_incomplete(db, sweep.id)
    assert not sweeps.resume_or_start(db, "acme", 2000).whole


def test_delete_unfinished_deletes_the_sweep_and_its_page_ids(db: Database) -> None:
    finish_with_proof(db, sweeps.resume_or_start(db, "acme", 1000), 5000)
    done = sweeps.latest(db, "acme")
    sweep = sweeps.resume_or_start(db, "acme", 9000)
    sweeps.advance(db, swept(sweep, 1), changes=0, ids=ids(1))
    sweeps.delete_unfinished(db, "acme")
    assert sweeps.latest(db, "acme") == done
    assert sweeps.read_page_ids(db, sweep.id, 0, 9) == ([], None)


def test_finished_sweep_is_followed_by_a_new_one(db: Database) -> None:
    first = sweeps.resume_or_start(db, "acme", 1000)
    sweeps.finish(db, first, 5000)
    assert sweeps.latest(db, "acme") == first_sweep(first.id, finished_ms=5000)
    assert sources.read_or_create(db, "acme").swept_at_ms is None
    second = sweeps.resume_or_start(db, "acme", 9000)
    assert second.id != first.id
    assert sweeps.latest(db, "acme") == second


def test_each_source_has_its_own_sweep(db: Database) -> None:
    sources.read_or_create(db, "globex")
    ours = sweeps.resume_or_start(db, "acme", 1000)
    theirs = sweeps.resume_or_start(db, "globex", 2000)
    sweeps.finish(db, theirs, 5000)
    assert sweeps.latest(db, "acme") == ours
    assert sources.read_or_create(db, "acme").swept_at_ms is None
