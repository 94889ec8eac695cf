"""The known records by their dates: how many, which, and what a precise question about one of them needs."""

from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from notifier.completions import EventType, Net
from notifier.ledger import days, records, sources
from notifier.ledger.days import FIRST, Place, Suspect
from notifier.ledger.records import Findings, Learned

if TYPE_CHECKING:
    from notifier.completions import Completion
    from tests.ledger.conftest import MakeChange, MakeCompletion, NewDatabase

TODAY = "2026-11-21"


class Known(NamedTuple):
    """A record of a source, and what the ledger says of it."""

    id: int
    source: str
    completed_on: str | None
    removed: bool


class Fill:
    """Writes records to a ledger as pages do."""

    def __init__(self, completion: "MakeCompletion", change: "MakeChange") -> None:
        self._completion = completion
        self._change = change

    def learn(self, db: Database, *completions: "Completion", source: str = "acme", now_ms: int = 1000) -> None:
        learned = [Learned(one, Net.SWEEP, "entered_before_first_meeting") for one in completions]
        records.write(db, Findings(source, source, learned=learned), [], now_ms)

    def remove(self, db: Database, *keys: str, source: str = "acme") -> None:
        changes = [self._change(key, EventType.REMOVED, 2) for key in keys]
        records.write(db, Findings(source, source, changes=changes), [], 2000)

    def write(self, db: Database, dates: Sequence[tuple[str | None, str, bool]]) -> list[Known]:
        """Write records of these dates, sources, and whether they were removed; the number in the row is the key."""
        sources.recall(db, "globex")
        for key, (completed_on, source, removed) in enumerate(dates):
            self.learn(db, self._completion(str(key), completed_on=completed_on), source=source)
            if removed:
                self.remove(db, str(key), source=source)
        ids = {int(key): id_ for key, id_ in db.execute("SELECT key, id FROM records")}
        return [Known(ids[key], source, date, removed) for key, (date, source, removed) in enumerate(dates)]


@pytest.fixture(scope="session")
def fill(completion: "MakeCompletion", change: "MakeChange") -> Fill:
    return Fill(completion, change)


def existing(known: Sequence[Known], source: str = "acme") -> list[Known]:
    """Pick those of a source that exist, in the order of dates: dateless ones first, then by number."""
    of_source = [one for one in known if one.source == source and not one.removed]
    return sorted(of_source, key=lambda one: (one.completed_on or "", one.id))


dates = st.none() | st.sampled_from(["0001-01-01", "2019-07-04", "2026-11-20", TODAY, "9999-12-31"])
few_records = st.lists(st.tuples(dates, st.sampled_from(["acme", "acme", "globex"]), st.booleans()), max_size=25)


@settings(max_examples=50)
@given(few_records)
def test_what_exists_is_counted_by_date(
    new_database: "NewDatabase", fill: Fill, rows: list[tuple[str | None, str, bool]]
) -> None:
    with new_database() as db:
        known = fill.write(db, rows)
        for source in ("acme", "globex", "elsewhere"):
            assert days.counts(db, source) == Counter(one.completed_on for one in existing(known, source))


@settings(max_examples=50)
@given(few_records, st.integers(1, 10))
def test_piece_by_piece_every_record_is_returned_once_and_in_order(
    new_database: "NewDatabase", fill: Fill, rows: list[tuple[str | None, str, bool]], limit: int
) -> None:
    with new_database() as db:
        expected = existing(fill.write(db, rows))
        returned: list[int] = []
        place: Place | None = FIRST
        while place is not None:
            ids, following = days.ids_after(db, "acme", place, limit)
            assert len(ids) <= limit
            assert bool(ids) is (following is not None)
            returned += ids
            place = following
        assert returned == [one.id for one in expected]


def test_dateless_records_come_first_and_ties_go_on_behind_the_end_of_a_piece(db: Database, fill: Fill) -> None:
    known = fill.write(db, [(date, "acme", False) for date in (TODAY, None, TODAY, "2019-07-04", TODAY, None)])
    today, dateless = [known[index].id for index in (0, 2, 4)], [known[1].id, known[5].id]
    ids, place = days.ids_after(db, "acme", FIRST, 2)
    assert (ids, place) == (dateless, Place(None, dateless[1]))
    assert place is not None
    ids, place = days.ids_after(db, "acme", place, 2)
    assert (ids, place) == ([known[3].id, today[0]], Place(TODAY, today[0]))
    assert place is not None
    assert days.ids_after(db, "acme", place, 9) == (today[1:], Place(TODAY, today[2]))
    assert days.ids_after(db, "acme", Place(TODAY, today[2]), 9) == ([], None)


@settings(max_examples=50)
@given(few_records, st.none() | st.just("") | dates, dates.map(lambda date: date or ""))
def test_a_stretch_holds_what_was_completed_after_its_older_end_and_up_to_the_newer(
    new_database: "NewDatabase",
    fill: Fill,
    rows: list[tuple[str | None, str, bool]],
    older: str | None,
    newer: str,
) -> None:
    with new_database() as db:
        known = existing(fill.write(db, rows))
        between = days.ids_between(db, "acme", older, newer)
        dated = {one.id for one in known if one.completed_on and (older or "") < one.completed_on <= newer}
        dateless = {one.id for one in known if one.completed_on is None and older is None}
        assert sorted(between) == sorted(dated | dateless)


def test_the_ids_of_keys_are_those_of_known_records_of_the_source(db: Database, fill: Fill) -> None:
    known = fill.write(db, [(TODAY, "acme", False), (None, "acme", True), (TODAY, "globex", False)])
    ids = days.ids_of(db, "acme", ["0", "1", "2", "3"])
    assert isinstance(ids, array)
    assert sorted(ids) == [known[0].id, known[1].id]
    assert len(days.ids_of(db, "acme", [])) == 0


def test_a_suspect_is_told_with_what_a_precise_question_needs(
    db: Database, fill: Fill, completion: "MakeCompletion"
) -> None:
    fill.learn(db, completion("9", user_id="ann", training_id="2"), completion("3", user_id="bob", training_id="1"))
    fill.learn(db, completion("4", user_id="ann", training_id="2"), completion("5", user_id="ann", training_id="1"))
    ids = [id_ for (id_,) in db.execute("SELECT id FROM records WHERE key <> '4'")]
    assert days.suspects(db, [*ids, 9999]) == [
        Suspect("5", "ann", "1"),
        Suspect("9", "ann", "2"),
        Suspect("3", "bob", "1"),
    ]
    assert days.suspects(db, []) == []


def test_suspects_of_one_question_stand_together(db: Database, fill: Fill, completion: "MakeCompletion") -> None:
    keys = ["1", "2", "3", "4", "5", "6"]
    people = ["ann", "bob"] * 3
    fill.learn(db, *(completion(key, user_id=person) for key, person in zip(keys, people, strict=True)))
    assert [suspect.key for suspect in days.suspects(db, days.ids_of(db, "acme", keys))] == list("135246")


def test_what_was_removed_already_is_no_suspect(db: Database, fill: Fill) -> None:
    known = fill.write(db, [(TODAY, "acme", False), (TODAY, "acme", True)])
    assert [suspect.key for suspect in days.suspects(db, [one.id for one in known])] == ["0"]


@pytest.mark.parametrize(("before_ms", "suspected"), [(None, "12"), (5001, "12"), (5000, "1"), (1001, "1"), (1000, "")])
def test_what_was_first_met_since_a_moment_is_no_suspect(
    db: Database, fill: Fill, completion: "MakeCompletion", before_ms: int | None, suspected: str
) -> None:
    fill.learn(db, completion("1"), now_ms=1000)
    fill.learn(db, completion("2"), now_ms=5000)
    ids = days.ids_of(db, "acme", ["1", "2"])
    found = days.suspects(db, ids, first_seen_before_ms=before_ms)
    assert [suspect.key for suspect in found] == list(suspected)


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda db: days.counts(db, "acme"), id="counts"),
        pytest.param(lambda db: days.ids_after(db, "acme", FIRST, 10), id="dateless"),
        pytest.param(lambda db: days.ids_after(db, "acme", Place("2019-07-04", 3), 10), id="dated"),
        pytest.param(lambda db: days.ids_between(db, "acme", None, TODAY), id="between"),
    ],
)
def test_the_index_alone_answers(db: Database, ask: Callable[[Database], object]) -> None:
    asked: list[tuple[str, list[object]]] = []
    with db.tracer(lambda sql, values: asked.append((sql, [*(values or [])]))):
        ask(db)
    plans = [db.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall() for sql, values in asked]
    steps = [step[-1] for plan in plans for step in plan]
    assert steps
    # No other step: nothing is sorted, and no row of the table itself is read.
    assert all(step.startswith("SEARCH records USING COVERING INDEX records_by_date (source=?") for step in steps)


@settings(max_examples=50)
@given(few_records, st.floats(0, 1, exclude_max=True))
def test_a_landmark_is_a_place_where_a_day_begins(
    new_database: "NewDatabase", fill: Fill, wanted: list[tuple[str | None, str, bool]], chance: float
) -> None:
    with new_database() as db:
        listed = sorted(
            (one.completed_on for one in existing(fill.write(db, wanted)) if one.completed_on), reverse=True
        )
        landmark = days.landmark(db, "acme", chance)
        if landmark is None:
            assert len(set(listed)) < 2
        else:
            assert landmark.day == listed[landmark.above]
            assert landmark.day_above == listed[landmark.above - 1]
            assert landmark.day < landmark.day_above


def test_each_place_where_a_day_begins_may_be_chosen(db: Database, fill: Fill) -> None:
    fill.write(db, [(f"2026-01-{day:02}", "acme", False) for day in range(1, 11)])
    chosen = {days.landmark(db, "acme", chance / 100) for chance in range(100)}
    assert {landmark.above for landmark in chosen if landmark} == set(range(1, 10))
