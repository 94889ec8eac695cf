"""Names of people and trainings, source by source."""

import json
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.events import Names
from notifier.facts import PersonField, TrainingFacts
from notifier.store.database import Database
from notifier.store.tables import names
from notifier.store.tables.names import NameList, PersonName
from tests.support.table_rows import table_rows

if TYPE_CHECKING:
    from tests.integration.store.conftest import NewDatabase

# All text that orjson accepts, except U+0000, which no name contains.
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


def test_find_names_returns_known_ids_and_omits_unknown_ones(db: Database) -> None:
    names.store_people(db, "acme", [PersonName("5e58", "David Ball", "D1"), PersonName("5e59", "Ana Cruz", None)])
    names.store_trainings(db, "acme", [("1046", "Ladder Safety")])
    found = names.find_names(db, "acme", ["5e58", "nobody"], ["1046", "1047"])
    assert found == Names({"5e58": "David Ball"}, {"1046": "Ladder Safety"}, {"5e58": {}})
    assert names.find_names(db, "globex", ["5e58"], ["1046"]) == Names({}, {})


def test_later_list_of_names_updates_and_adds_but_deletes_none(db: Database) -> None:
    names.store_people(db, "acme", [PersonName("1", "Ana Cruz", "A1"), PersonName("2", "David Ball", None)])
    names.store_people(db, "acme", [PersonName("1", "Ana Diaz", None), PersonName("3", "Omar Khan", None)])
    assert names.find_names(db, "acme", "123", []).people == {"1": "Ana Diaz", "2": "David Ball", "3": "Omar Khan"}
    names.store_trainings(db, "acme", [("1", "Ladders"), ("2", "Cranes")])
    names.store_trainings(db, "acme", [("1", "Ladder Safety")])
    assert names.find_names(db, "acme", [], "12").trainings == {"1": "Ladder Safety", "2": "Cranes"}


def test_store_people_sets_changes_and_clears_an_employee_number(db: Database) -> None:
    for number in (None, "A1", "A2", None):
        names.store_people(db, "acme", [PersonName("1", "Ana Cruz", number)])
        assert [row["employee_number"] for row in table_rows(db, "people")] == [number]


ALL = {field: ["x"] if field.endswith("ids") else "x" for field in PersonField if field != "job_title"}


def test_find_names_returns_only_the_requested_facts(db: Database) -> None:
    names.store_people(db, "acme", [PersonName("1", "Ana Cruz", "A1", {field.value: ALL[field] for field in ALL})])
    names.store_trainings(db, "acme", [("7", "Cranes"), ("8", "Ladders")], {"7": TrainingFacts("rolling", 12, 30)})
    found = names.find_names(db, "acme", ["1"], ["7", "8"], [PersonField.FIELD_OFFICE_IDS])
    assert found.person_facts == {"1": {"field_office_ids": ["x"]}}
    assert found.training_facts == {"7": TrainingFacts("rolling", 12, 30)}
    assert names.find_names(db, "acme", ["1"], []).person_facts == {"1": {}}


def test_find_names_looks_up_the_job_title_by_its_id(db: Database) -> None:
    people = [PersonName("1", "Ana", None, {"job_title_id": "j1"}), PersonName("2", "Bo", None, {"job_title_id": None})]
    names.store_people(db, "acme", people)
    both = [PersonField.JOB_TITLE, PersonField.JOB_TITLE_ID]
    found = names.find_names(db, "acme", ["1", "2"], [], both).person_facts
    assert found == {"1": {"job_title_id": "j1"}, "2": {"job_title_id": None, "job_title": None}}
    names.store_job_titles(db, "acme", [("j1", "Rigger")])
    names.store_job_titles(db, "globex", [("j1", "Driver")])
    assert names.find_names(db, "acme", ["1"], [], both).person_facts["1"]["job_title"] == "Rigger"


@given(kept=st.sets(st.sampled_from(PersonField)))
@settings(max_examples=20)
def test_erase_other_facts_keeps_only_the_chosen_facts(new_database: "NewDatabase", kept: set[PersonField]) -> None:
    with new_database() as db:
        facts = {field.value: ALL[field] for field in ALL}
        for source in ("acme", "globex"):
            names.store_people(db, source, [PersonName("1", "Ana Cruz", "x", facts)])
            names.store_job_titles(db, source, [("x", "Rigger")])
        names.erase_other_facts(db, "acme", kept)
        row, other = table_rows(db, "people")
        left = {field.value for field in kept} - {"job_title"} | ({"job_title_id"} if "job_title" in kept else set())
        assert json.loads(row["facts"]) == {name: facts[name] for name in facts if name in left}
        assert (row["employee_number"] is None) is ("employee_number" not in kept)
        assert json.loads(other["facts"]) == facts
        assert [row["source"] for row in table_rows(db, "job_titles")] == (
            ["acme", "globex"] if "job_title" in kept else ["globex"]
        )


def test_unchanged_names_are_not_written_again(db: Database) -> None:
    people = [PersonName("1", "Ana Cruz", "A1"), PersonName("2", "David Ball", None)]
    titles = [("1", "Ladders"), ("2", "Cranes")]
    names.store_people(db, "acme", people)
    names.store_trainings(db, "acme", titles)
    before = db.changes
    names.store_people(db, "acme", [*people, PersonName("3", "Omar Khan", None)])
    names.store_trainings(db, "acme", titles)
    assert db.changes == before + 1


def test_store_fetch_stores_the_time_and_outcome_of_each_list(db: Database) -> None:
    assert names.last_fetches(db, "acme") == {}
    assert names.store_fetch(db, "acme", NameList.PEOPLE, 1000, "ok") is None
    assert names.store_fetch(db, "acme", NameList.TRAININGS, 2000, "token_permission") is None
    assert names.last_fetches(db, "acme") == {NameList.PEOPLE: (1000, ""), NameList.TRAININGS: (2000, "")}
    assert names.store_fetch(db, "acme", NameList.TRAININGS, 3000, "ok", "schedule") == "token_permission"
    assert names.last_fetches(db, "acme") == {NameList.PEOPLE: (1000, ""), NameList.TRAININGS: (3000, "schedule")}
    assert names.last_fetches(db, "globex") == {}
    fetches = table_rows(db, "names_fetched")
    assert {row["list"]: row["outcome"] for row in fetches} == {
        "people": "ok",
        "trainings": "ok",
    }


@settings(max_examples=40)
@given(people=st.dictionaries(words, words, max_size=5), trainings=st.dictionaries(words, words, max_size=5))
def test_find_names_returns_any_text_as_it_was_stored(
    new_database: "NewDatabase", people: dict[str, str], trainings: dict[str, str]
) -> None:
    with new_database() as db:
        names.store_people(db, "acme", [PersonName(id_, name, name) for id_, name in people.items()])
        names.store_trainings(db, "acme", trainings.items())
        assert names.find_names(db, "acme", people, trainings) == Names(people, trainings, {id_: {} for id_ in people})
