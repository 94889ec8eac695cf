"""The known records by their dates: how many, which, and what a precise question about one of them needs."""

from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.events import DetectedBy, EventType
from notifier.store.database import Database
from notifier.store.file.connection import FileDatabase
from notifier.store.tables import records, records_by_date, sources, view
from notifier.store.tables.records import Findings, SilentRecord
from notifier.store.tables.records_by_date import BEFORE_ALL, DatePosition, RemovalCandidate

if TYPE_CHECKING:
    from notifier.events import Completion
    from tests.integration.store.conftest import MakeChange, MakeCompletion, NewDatabase

TODAY = "2026-11-21"


class Known(NamedTuple):
    """A record of a source, as the store has it."""

    id: int
    source: str
    completed_on: str | None
    removed: bool


class Fill:
    """Writes records to a store as pages do."""

    def __init__(self, completion: "MakeCompletion", change: "MakeChange") -> None:
        self._completion = completion
        self._change = change

    def learn(self, db: Database, *completions: "Completion", source: str = "acme", now_ms: int = 1000) -> None:
        learned = [SilentRecord(one, DetectedBy.SWEEP, "entered_before_first_meeting") for one in completions]
        records.write(db, Findings(source, source, learned=learned), [], now_ms)

    def remove(self, db: Database, *keys: str, source: str = "acme") -> None:
        changes = [self._change(key, EventType.REMOVED, 2) for key in keys]
        records.write(db, Findings(source, source, changes=changes), [], 2000)

    def write(self, db: Database, dates: Sequence[tuple[str | None, str, bool]]) -> list[Known]:
        """Write a record for each row of date, source and whether it was removed; its key is the number of the row."""
        sources.read_or_create(db, "globex")
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
    """Return the existing records of a source by date, dateless ones first, and by number within a date."""
    of_source = [one for one in known if one.source == source and not one.removed]
    return sorted(of_source, key=lambda one: (one.completed_on or "", one.id))


dates = st.none() | st.sampled_from(["0001-01-01", "2019-07-04", "2026-11-20", TODAY, "9999-12-31"])
few_records = st.lists(st.tuples(dates, st.sampled_from(["acme", "acme", "globex"]), st.booleans()), max_size=25)


@settings(max_examples=50)
@given(few_records)
def test_count_by_day_counts_the_existing_records(
    new_database: "NewDatabase", fill: Fill, rows: list[tuple[str | None, str, bool]]
) -> None:
    with new_database() as db:
        known = fill.write(db, rows)
        for source in ("acme", "globex", "elsewhere"):
            assert records_by_date.count_by_day(db, source) == Counter(
                one.completed_on for one in existing(known, source)
            )


@settings(max_examples=50)
@given(few_records, st.integers(1, 10))
def test_ids_after_returns_every_record_once_in_date_order(
    new_database: "NewDatabase", fill: Fill, rows: list[tuple[str | None, str, bool]], limit: int
) -> None:
    with new_database() as db:
        expected = existing(fill.write(db, rows))
        returned: list[int] = []
        place: DatePosition | None = BEFORE_ALL
        while place is not None:
            ids, following = records_by_date.ids_after(db, "acme", place, limit)
            assert len(ids) <= limit
            assert sorted(ids) == sorted(one.id for one in expected[len(returned) : len(returned) + len(ids)])
            returned += ids
            place = following
        assert len(returned) == len(expected)


def test_ids_after_starts_with_dateless_records_and_continues_within_a_day(db: Database, fill: Fill) -> None:
    known = fill.write(db, [(date, "acme", False) for date in (TODAY, None, TODAY, "2019-07-04", TODAY, None)])
    today, dateless = [known[index].id for index in (0, 2, 4)], [known[1].id, known[5].id]
    ids, place = records_by_date.ids_after(db, "acme", BEFORE_ALL, 2)
    assert (sorted(ids), place) == (dateless, DatePosition(None, dateless[1]))
    assert place is not None
    ids, place = records_by_date.ids_after(db, "acme", place, 2)
    assert (ids, place) == ([], DatePosition("", -1))
    assert place is not None
    ids, place = records_by_date.ids_after(db, "acme", place, 2)
    assert (sorted(ids), place) == (sorted([known[3].id, today[0]]), DatePosition(TODAY, today[0]))
    assert place is not None
    ids, place = records_by_date.ids_after(db, "acme", place, 9)
    assert (sorted(ids), place) == (today[1:], None)


@settings(max_examples=50)
@given(few_records, st.none() | st.just("") | dates, dates.map(lambda date: date or ""))
def test_ids_between_excludes_the_older_date_and_includes_the_newer(
    new_database: "NewDatabase",
    fill: Fill,
    rows: list[tuple[str | None, str, bool]],
    older: str | None,
    newer: str,
) -> None:
    with new_database() as db:
        known = existing(fill.write(db, rows))
        between = records_by_date.ids_between(db, "acme", older, newer)
        dated = {one.id for one in known if one.completed_on and (older or "") < one.completed_on <= newer}
        dateless = {one.id for one in known if one.completed_on is None and older is None}
        assert sorted(between) == sorted(dated | dateless)


def test_ids_of_returns_the_ids_of_known_keys_of_the_source(db: Database, fill: Fill) -> None:
    known = fill.write(db, [(TODAY, "acme", False), (None, "acme", True), (TODAY, "globex", False)])
    ids = records_by_date.ids_of(db, "acme", ["0", "1", "2", "3"])
    assert isinstance(ids, array)
    assert sorted(ids) == [known[0].id, known[1].id]
    assert len(records_by_date.ids_of(db, "acme", [])) == 0


def test_removal_candidate_has_the_values_for_a_precise_question(
    db: Database, fill: Fill, completion: "MakeCompletion"
) -> None:
    fill.learn(db, completion("9", user_id="ann", training_id="2"), completion("3", user_id="bob", training_id="1"))
    fill.learn(db, completion("4", user_id="ann", training_id="2"), completion("5", user_id="ann", training_id="1"))
    ids = dict(db.execute("SELECT key, id FROM records WHERE key <> '4'").fetchall())
    days_of = dict(db.execute("SELECT key, completed_on FROM records").fetchall())
    assert records_by_date.removal_candidates(db, [*ids.values(), 9999]) == [
        RemovalCandidate(ids["5"], "5", "ann", "1", days_of["5"]),
        RemovalCandidate(ids["9"], "9", "ann", "2", days_of["9"]),
        RemovalCandidate(ids["3"], "3", "bob", "1", days_of["3"]),
    ]
    assert records_by_date.removal_candidates(db, []) == []


def test_removal_candidates_are_grouped_by_person(db: Database, fill: Fill, completion: "MakeCompletion") -> None:
    keys = ["1", "2", "3", "4", "5", "6"]
    people = ["ann", "bob"] * 3
    fill.learn(db, *(completion(key, user_id=person) for key, person in zip(keys, people, strict=True)))
    assert [
        suspect.key for suspect in records_by_date.removal_candidates(db, records_by_date.ids_of(db, "acme", keys))
    ] == list("135246")


def test_removal_candidates_omit_removed_records(db: Database, fill: Fill) -> None:
    known = fill.write(db, [(TODAY, "acme", False), (TODAY, "acme", True)])
    assert [suspect.key for suspect in records_by_date.removal_candidates(db, [one.id for one in known])] == ["0"]


def test_removal_candidates_omit_records_out_of_view(db: Database, fill: Fill, completion: "MakeCompletion") -> None:
    fill.learn(db, completion("1", training_id="1"), completion("2", training_id="2"))
    ids = records_by_date.ids_of(db, "acme", ["1", "2"])
    view.mark_out_of_view(db, "acme", training_id="2", user_id=None, has_attachments=None)
    assert [suspect.key for suspect in records_by_date.removal_candidates(db, ids)] == ["2"]


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda db: records_by_date.count_by_day(db, "acme"), id="counts"),
        pytest.param(lambda db: records_by_date.ids_after(db, "acme", BEFORE_ALL, 10), id="dateless"),
        pytest.param(lambda db: records_by_date.ids_after(db, "acme", DatePosition("2019-07-04", 3), 10), id="dated"),
        pytest.param(lambda db: records_by_date.ids_between(db, "acme", None, TODAY), id="between"),
    ],
)
def test_queries_by_date_use_only_the_covering_index(file_db: FileDatabase, ask: Callable[[Database], object]) -> None:
    asked: list[tuple[str, list[object]]] = []
    with file_db.tracer(lambda sql, values: asked.append((sql, [*(values or [])]))):
        ask(file_db)
    plans = [file_db.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall() for sql, values in asked]
    steps = [step[-1] for plan in plans for step in plan]
    assert steps
    # No other step: nothing is sorted, and no row of the table itself is read.
    assert all(step.startswith("SEARCH records USING COVERING INDEX records_by_date (source=?") for step in steps)


@settings(max_examples=50)
@given(few_records, st.floats(0, 1, exclude_max=True))
def test_random_day_boundary_is_a_place_where_a_day_begins(
    new_database: "NewDatabase", fill: Fill, wanted: list[tuple[str | None, str, bool]], chance: float
) -> None:
    with new_database() as db:
        listed = sorted(
            (one.completed_on for one in existing(fill.write(db, wanted)) if one.completed_on), reverse=True
        )
        landmark = records_by_date.random_day_boundary(db, "acme", chance)
        if landmark is None:
            assert len(set(listed)) < 2
        else:
            assert landmark.day == listed[landmark.above]
            assert landmark.day_above == listed[landmark.above - 1]
            assert landmark.day < landmark.day_above


def test_random_day_boundary_can_return_every_boundary(db: Database, fill: Fill) -> None:
    fill.write(db, [(f"2026-01-{day:02}", "acme", False) for day in range(1, 11)])
    chosen = {records_by_date.random_day_boundary(db, "acme", chance / 100) for chance in range(100)}
    assert {landmark.above for landmark in chosen if landmark} == set(range(1, 10))
