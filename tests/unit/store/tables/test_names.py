"""Names of people and trainings, source by source."""

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.events import Names
from notifier.store.database import Database
from notifier.store.tables import names
from notifier.store.tables.names import NameList, PersonName
from tests.support.table_rows import table_rows

if TYPE_CHECKING:
    from tests.unit.store.conftest import NewDatabase

# What orjson lets into a record, but for U+0000, which no name has: they are words.
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


def test_names_are_found_by_id_and_unknown_ids_are_absent(db: Database) -> None:
    names.learn_people(db, "acme", [PersonName("5e58", "David Ball", "D1"), PersonName("5e59", "Ana Cruz", None)])
    names.learn_trainings(db, "acme", [("1046", "Ladder Safety")])
    found = names.find(db, "acme", ["5e58", "nobody"], ["1046", "1047"])
    assert found == Names({"5e58": "David Ball"}, {"1046": "Ladder Safety"})
    assert names.find(db, "globex", ["5e58"], ["1046"]) == Names({}, {})


def test_a_later_list_renames_and_adds_but_forgets_nobody(db: Database) -> None:
    names.learn_people(db, "acme", [PersonName("1", "Ana Cruz", "A1"), PersonName("2", "David Ball", None)])
    names.learn_people(db, "acme", [PersonName("1", "Ana Diaz", None), PersonName("3", "Omar Khan", None)])
    assert names.find(db, "acme", "123", []).people == {"1": "Ana Diaz", "2": "David Ball", "3": "Omar Khan"}
    names.learn_trainings(db, "acme", [("1", "Ladders"), ("2", "Cranes")])
    names.learn_trainings(db, "acme", [("1", "Ladder Safety")])
    assert names.find(db, "acme", [], "12").trainings == {"1": "Ladder Safety", "2": "Cranes"}


def test_an_employee_number_is_learned_changed_and_taken_back(db: Database) -> None:
    for number in (None, "A1", "A2", None):
        names.learn_people(db, "acme", [PersonName("1", "Ana Cruz", number)])
        assert [row["employee_number"] for row in table_rows(db, "people")] == [number]


def test_names_that_have_not_changed_are_not_written_again(db: Database) -> None:
    people = [PersonName("1", "Ana Cruz", "A1"), PersonName("2", "David Ball", None)]
    titles = [("1", "Ladders"), ("2", "Cranes")]
    names.learn_people(db, "acme", people)
    names.learn_trainings(db, "acme", titles)
    before = db.changes
    names.learn_people(db, "acme", [*people, PersonName("3", "Omar Khan", None)])
    names.learn_trainings(db, "acme", titles)
    assert db.changes == before + 1


def test_every_fetch_leaves_its_moment_and_outcome(db: Database) -> None:
    assert names.fetched(db, "acme") == {}
    assert names.note_fetch(db, "acme", NameList.PEOPLE, 1000, "ok") is None
    assert names.note_fetch(db, "acme", NameList.TRAININGS, 2000, "token_permission") is None
    assert names.fetched(db, "acme") == {NameList.PEOPLE: 1000, NameList.TRAININGS: 2000}
    assert names.note_fetch(db, "acme", NameList.TRAININGS, 3000, "ok") == "token_permission"
    assert names.fetched(db, "acme") == {NameList.PEOPLE: 1000, NameList.TRAININGS: 3000}
    assert names.fetched(db, "globex") == {}
    fetches = table_rows(db, "names_fetched")
    assert {row["list"]: row["outcome"] for row in fetches} == {
        "people": "ok",
        "trainings": "ok",
    }


@settings(max_examples=40)
@given(people=st.dictionaries(words, words, max_size=5), trainings=st.dictionaries(words, words, max_size=5))
def test_any_words_come_back_as_they_were(
    new_database: "NewDatabase", people: dict[str, str], trainings: dict[str, str]
) -> None:
    with new_database() as db:
        names.learn_people(db, "acme", [PersonName(id_, name, name) for id_, name in people.items()])
        names.learn_trainings(db, "acme", trainings.items())
        assert names.find(db, "acme", people, trainings) == Names(people, trainings)
