"""How far sweeps have come, so that the next run goes on there."""

from array import array
from typing import TYPE_CHECKING, Any

from notifier.store.database import Database
from notifier.store.tables import sources, sweeps
from notifier.store.tables.sweeps import Sweep, SweptPage

if TYPE_CHECKING:
    from tests.integration.store.conftest import Tell


def test_there_is_none_at_first(db: Database) -> None:
    assert sweeps.latest(db, "acme") is None


def test_a_new_one_begins_at_the_first_page(db: Database) -> None:
    sweep = sweeps.resume_or_start(db, "acme", 1000)
    assert sweep == first_sweep(sweep.id)
    assert sweeps.latest(db, "acme") == sweep


def first_sweep(sweep: int, **fields: Any) -> Sweep:
    """Describe a source's first sweep, begun at 1000; `fields` say what is different now."""
    begun: dict[str, Any] = {"finished_ms": None, "next_page": 1, "last_page": None, "records": 0, "changes": 0}
    return Sweep(sweep, "acme", 1000, **(begun | {"first_new_id": 1, "whole": True, "marks": False} | fields))


def swept(sweep: Sweep, number: int, last_page: int | None = 3, **fields: Any) -> SweptPage:
    defaults = {"records": number * 1000, "unreadable": 0, "marks": True}
    return SweptPage(sweep.id, number, last_page, **(defaults | fields))


def ids(*numbers: int) -> bytes:
    return array("q", numbers).tobytes()


def test_each_page_moves_it_on_and_adds_to_its_changes(db: Database) -> None:
    sweep = sweeps.resume_or_start(db, "acme", 1000)
    sweeps.advance(db, swept(sweep, 1, unreadable=4), changes=2, ids=ids())
    sweeps.advance(db, swept(sweep, 2, None, records=1700, unreadable=1), changes=1, ids=ids())
    assert sweeps.latest(db, "acme") == first_sweep(sweep.id, next_page=3, records=1700, changes=3)
    assert sweeps.count_unreadable(db, sweep.id) == 5


def test_the_unfinished_one_is_taken_up_again(db: Database) -> None:
    sweep = sweeps.resume_or_start(db, "acme", 1000)
    sweeps.advance(db, swept(sweep, 1), changes=0, ids=ids())
    sweeps.store_count(db, sweep.id, 2_345, 1)
    taken_up = sweeps.resume_or_start(db, "acme", 9000)
    assert taken_up == sweeps.latest(db, "acme")
    assert (taken_up.id, taken_up.counted, taken_up.counted_page) == (sweep.id, 2_345, 1)


def test_it_remembers_which_records_each_page_held_until_its_end(db: Database) -> None:
    sweep = sweeps.resume_or_start(db, "acme", 1000)
    for number in (1, 2, 3):
        sweeps.advance(db, swept(sweep, number), changes=0, ids=ids(number, number + 10))
    sweeps.advance(db, swept(sweep, 2), changes=0, ids=ids(7))
    assert sweeps.read_page_ids(db, sweep.id, 0, 2) == ([ids(1, 11), ids(7)], 2)
    assert sweeps.read_page_ids(db, sweep.id, 2, 2) == ([ids(3, 13)], 3)
    assert sweeps.read_page_ids(db, sweep.id, 3, 2) == ([], None)
    sweeps.finish(db, sweep, 5000)
    assert sweeps.read_page_ids(db, sweep.id, 0, 2) == ([], None)


def test_a_first_one_leaves_no_marks(db: Database) -> None:
    sweep = sweeps.resume_or_start(db, "acme", 1000)
    sweeps.advance(db, swept(sweep, 1, marks=False), changes=0, ids=ids(1))
    assert sweeps.read_page_ids(db, sweep.id, 0, 2) == ([b""], 1)


def test_it_goes_back_where_the_list_moved_and_never_forth(db: Database) -> None:
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


def end(db: Database, sweep: Sweep, now_ms: int) -> None:
    """Finish a sweep that is a proof."""
    sweeps.finish(db, sweep, now_ms)
    done = sweeps.latest(db, sweep.source)
    assert done is not None
    sweeps.store_proof(db, done)


def test_a_gap_ends_with_a_proof_that_began_after_it(db: Database) -> None:
    sources.record_success(db, "acme", 1_000)
    early = sweeps.resume_or_start(db, "acme", 1_500)
    assert sources.record_success(db, "acme", 900_000, longest_outage_ms=1_000).gap_since_ms == 900_000
    end(db, early, 900_500)
    memory = sources.read_or_create(db, "acme")
    assert (memory.gap_since_ms, memory.swept_at_ms) == (900_000, 900_500)
    end(db, sweeps.resume_or_start(db, "acme", 901_000), 902_000)
    assert sources.read_or_create(db, "acme").gap_since_ms is None


def test_a_later_one_notes_what_pages_held_and_which_records_are_newer(db: Database, tell: "Tell") -> None:
    end(db, sweeps.resume_or_start(db, "acme", 1000), 5000)
    tell(db, "1", "2")
    second = sweeps.resume_or_start(db, "acme", 9000)
    assert second.marks
    assert second.first_new_id == 3


def test_a_page_that_is_not_whole_is_remembered(db: Database) -> None:
    sweep = sweeps.resume_or_start(db, "acme", 1000)
    assert sweep.whole
    sweeps.mark_incomplete(db, sweep.id)
    assert not sweeps.resume_or_start(db, "acme", 2000).whole


def test_an_unfinished_one_that_is_given_up_leaves_nothing(db: Database) -> None:
    end(db, sweeps.resume_or_start(db, "acme", 1000), 5000)
    done = sweeps.latest(db, "acme")
    sweep = sweeps.resume_or_start(db, "acme", 9000)
    sweeps.advance(db, swept(sweep, 1), changes=0, ids=ids(1))
    sweeps.delete_unfinished(db, "acme")
    assert sweeps.latest(db, "acme") == done
    assert sweeps.read_page_ids(db, sweep.id, 0, 9) == ([], None)


def test_the_end_of_the_list_is_noted_and_the_next_one_is_new(db: Database) -> None:
    first = sweeps.resume_or_start(db, "acme", 1000)
    sweeps.finish(db, first, 5000)
    assert sweeps.latest(db, "acme") == first_sweep(first.id, finished_ms=5000)
    assert sources.read_or_create(db, "acme").swept_at_ms is None
    second = sweeps.resume_or_start(db, "acme", 9000)
    assert second.id != first.id
    assert sweeps.latest(db, "acme") == second


def test_each_source_has_its_own(db: Database) -> None:
    sources.read_or_create(db, "globex")
    ours = sweeps.resume_or_start(db, "acme", 1000)
    theirs = sweeps.resume_or_start(db, "globex", 2000)
    sweeps.finish(db, theirs, 5000)
    assert sweeps.latest(db, "acme") == ours
    assert sources.read_or_create(db, "acme").swept_at_ms is None
