"""Finding records by what people know: a key, a name, a number."""

from typing import TYPE_CHECKING

import pytest

from notifier.events import DetectedBy, EventType
from notifier.store.database import Database
from notifier.store.queries.search import MAX_PEOPLE, MAX_RECORDS, FoundRecords, find
from notifier.store.tables import names, sources
from notifier.store.tables.names import PersonName
from notifier.store.tables.records import Findings, SilentRecord, write
from notifier.store.tables.records_by_person import create_index, has_index

if TYPE_CHECKING:
    from tests.integration.store.conftest import MakeChange, MakeCompletion


@pytest.fixture(params=["prepared", "as yet unprepared"])
def known(request: pytest.FixtureRequest, db: Database, completion: "MakeCompletion") -> Database:
    """One source with two people, who have two records and one; another source has a person with one of their ids."""
    people = [PersonName("u1", "David Ball", "D-1"), PersonName("u2", "Zoë Ångström", None)]
    names.store_people(db, "acme", people)
    names.store_people(db, "beta", [PersonName("u1", "100% Other_Person", None)])
    names.store_trainings(db, "acme", [("7", "Ladder Safety")])
    sources.read_or_create(db, "beta")
    records: dict[str, list[tuple[str, str, str | None, str]]] = {
        "acme": [("1", "u1", "2026-01-01", "7"), ("2", "u1", "2026-03-01", "8"), ("3", "u2", None, "7")],
        "beta": [("9", "u1", "2026-02-01", "7")],
    }
    for source, those in records.items():
        learned = [
            SilentRecord(
                completion(key, user_id=user, completed_on=on, training_id=training), DetectedBy.HEAD, "first_answer"
            )
            for key, user, on, training in those
        ]
        write(db, Findings(source, source, learned=learned), [], 0)
    if request.param == "prepared":
        db.execute("UPDATE sources SET met_at = 1, swept_at = 2")
        create_index(db)
    return db


def keys(finds: FoundRecords) -> list[str]:
    return [record.key for record in finds.records]


def test_find_reports_a_known_key_despite_surrounding_spaces(known: Database) -> None:
    assert find(known, " 9 ").is_key
    assert find(known, "4") == FoundRecords()


@pytest.mark.parametrize("text", ["david ball", "BALL", "avid", "Ball Da", "D-1"])
def test_find_matches_people_by_name_parts_or_employee_number(known: Database, text: str) -> None:
    found = find(known, text)
    assert [person.name for person in found.people] == ["David Ball"]
    assert keys(found) == ["2", "1"]
    assert (found.records[1].training, found.records[0].training) == ("Ladder Safety", "8")


@pytest.mark.parametrize("text", ["zoë", "ZOË", "ångström", "Zoë ång"])
def test_find_ignores_the_case_of_non_ascii_letters(known: Database, text: str) -> None:
    assert keys(find(known, text)) == ["3"]


def test_find_by_person_ignores_the_same_id_in_another_source(known: Database) -> None:
    found = find(known, "Other_Person")
    assert [(record.source, record.key) for record in found.records] == [("beta", "9")]


@pytest.mark.parametrize("text", ["", "  ", "D", "%", "_a", "100%x", "' OR 1=1 --", "\udcff", "\\", "ball ball nobody"])
def test_find_returns_nothing_for_text_that_matches_no_person(known: Database, text: str) -> None:
    assert find(known, text) == FoundRecords()


def test_find_treats_sql_wildcards_as_plain_characters(known: Database) -> None:
    assert keys(find(known, "100%")) == ["9"]
    assert keys(find(known, "r_P")) == ["9"]


def test_find_returns_removed_records_marked_as_removed(known: Database, change: "MakeChange") -> None:
    write(known, Findings("acme", "acme", changes=[change("2", EventType.REMOVED, 2)]), [], 5)
    assert [(record.key, record.removed) for record in find(known, "Ball").records] == [("2", True), ("1", False)]


def test_find_limits_the_people_and_records_it_returns(db: Database, completion: "MakeCompletion") -> None:
    names.store_people(db, "acme", [PersonName(f"u{n}", f"Ball {n}", None) for n in range(50)])
    learned = [
        SilentRecord(completion(str(n), user_id="u1"), DetectedBy.HEAD, "first_answer") for n in range(500, 1000)
    ]
    write(db, Findings("acme", "acme", learned=learned), [], 0)
    found = find(db, "ball")
    assert (len(found.people), len(found.records)) == (MAX_PEOPLE, MAX_RECORDS)
    assert find(db, "ball " * 5000).people


def test_create_index_ignores_sources_that_are_no_longer_watched(
    db: Database, completion: "MakeCompletion", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.store.tables.records_by_person.FEW_RECORDS", 2)
    names.store_people(db, "acme", [PersonName("u1", "David Ball", None)])
    learned = [SilentRecord(completion(str(n), user_id="u1"), DetectedBy.SWEEP, "first_sweep") for n in range(3)]
    write(db, Findings("acme", "acme", learned=learned), [], 0)
    db.execute("UPDATE sources SET met_at = 1, swept_at = 2")
    db.execute("INSERT INTO sources (name, met_at) VALUES ('removed', 1)")
    create_index(db, ["acme", "removed"])
    assert find(db, "ball").too_early
    create_index(db, ["acme"])
    assert keys(find(db, "ball")) == ["2", "1", "0"]


def test_find_returns_people_without_records_during_a_first_sweep(
    db: Database, completion: "MakeCompletion", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.store.tables.records_by_person.FEW_RECORDS", 2)
    names.store_people(db, "acme", [PersonName("u1", "David Ball", None)])
    learned = [SilentRecord(completion(str(n), user_id="u1"), DetectedBy.SWEEP, "first_sweep") for n in range(3)]
    write(db, Findings("acme", "acme", learned=learned), [], 0)
    db.execute("UPDATE sources SET met_at = 1, swept_at = 2")
    db.execute("INSERT INTO sources (name, met_at) VALUES ('beta', 1)")
    create_index(db)
    found = find(db, "ball")
    assert (len(found.people), found.records, found.too_early) == (1, (), True)
    assert find(db, "2").is_key
    db.execute("UPDATE sources SET swept_at = 2 WHERE name = 'beta'")
    create_index(db)
    create_index(db)
    found = find(db, "ball")
    assert (keys(found), found.too_early) == (["2", "1", "0"], False)


def test_create_index_does_not_wait_for_a_source_without_contact(db: Database) -> None:
    create_index(db)
    assert not has_index(db)
    db.execute("INSERT INTO sources (name) VALUES ('never')")
    db.execute("UPDATE sources SET met_at = 1, swept_at = 2 WHERE name = 'acme'")
    create_index(db)
    assert has_index(db)
