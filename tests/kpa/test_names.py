"""Of people and trainings only the names are taken."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from notifier.kpa.failures import ApiFailure, Reason
from notifier.kpa.names import Person, read_people, read_trainings
from notifier.transport import Answer


def answer(document: Any) -> Answer:
    return Answer(200, CIMultiDictProxy(CIMultiDict()), json.dumps(document).encode())


def people(*users: object) -> dict[str, Person]:
    return read_people(answer({"ok": True, "users": users}), "")


def trainings(*entries: object) -> dict[str, str]:
    return read_trainings(answer({"ok": True, "trainings": entries}), "")


def test_the_documented_people_are_read(sample: Callable[[str], Any]) -> None:
    assert read_people(answer(sample("users.list.json")), "") == {
        "5804f0f30ef50473af5870c6": Person("Derrick Brown", "DBROWN"),
        "5804f0f40ef50473af5870e6": Person("David Ball", "DAVI2345"),
    }


def test_the_documented_trainings_are_read(sample: Callable[[str], Any]) -> None:
    assert read_trainings(answer(sample("trainings.v2.list.json")), "") == {
        "1024": "Coordinator Training",
        "1035": "Zone Manager Training",
    }
    assert read_trainings(answer(sample("trainings.list.v1.json")), "")["5804f0f70ef50473af5871a9"] == "Ladder Safety"


@pytest.mark.parametrize(
    ("user", "person"),
    [
        ({"firstname": "Ann", "lastname": "Lee"}, Person("Ann Lee", None)),
        ({"firstname": "Ann"}, Person("Ann", None)),
        ({"lastname": "Lee", "firstname": None}, Person("Lee", None)),
        ({"firstname": " Ann \n Mary ", "lastname": "Lee\t"}, Person("Ann Mary Lee", None)),
        ({"firstname": "Ann", "lastname": "Lee", "employeeNumber": 17}, Person("Ann Lee", "17")),
        ({"firstname": "Ann", "lastname": "Lee", "employeeNumber": ""}, Person("Ann Lee", None)),
        ({"firstname": "Ann", "lastname": "Lee", "employeeNumber": ["x"]}, Person("Ann Lee", None)),
        ({"firstname": "Ann", "lastname": {"id": "Lee"}}, Person("Ann", None)),
        ({"firstname": "Ann \ud83d"}, Person("Ann ?", None)),
    ],
)
def test_a_name_is_made_of_what_is_there(user: dict[str, Any], person: Person) -> None:
    assert people({"id": "u1"} | user) == {"u1": person}


NO_IDS: list[Any] = [None, "", True, 1.5, [], {}]


@pytest.mark.parametrize(
    "nobody",
    [None, 5, "Ann", [], {}, {"firstname": "Ann"}, {"id": "u1"}, {"id": "u1", "firstname": " "}]
    + [{"id": no_id, "firstname": "Ann"} for no_id in NO_IDS],
)
def test_who_has_no_name_or_no_id_is_left_out_and_spoils_no_other(nobody: object) -> None:
    assert people(nobody, {"id": "u2", "firstname": "Bo"}) == {"u2": Person("Bo", None)}


def test_a_training_without_a_title_is_left_out() -> None:
    assert trainings(
        {"id": 1}, {"id": 2, "title": ""}, {"id": 3, "title": ["x"]}, {"id": 4, "title": " Ladder\nSafety "}
    ) == {"4": "Ladder Safety"}


@pytest.mark.parametrize("users", [None, {}, "users", 5, True])
def test_a_list_of_another_type_is_an_unexpected_shape(users: object) -> None:
    for read, name in ((read_people, "users"), (read_trainings, "trainings")):
        for document in ({"ok": True, name: users}, {"ok": True}):
            with pytest.raises(ApiFailure) as caught:
                read(answer(document), "")
            assert caught.value.reason is Reason.UNEXPECTED_SHAPE


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["id", "firstname", "lastname", "employeeNumber", "title", "ok"]), inner)
        ),
        max_leaves=10,
    )
)
def test_arbitrary_entries_give_names_or_nothing(value: Any) -> None:
    for user_id, person in people(value, *(value if isinstance(value, list) else [])).items():
        assert user_id
        assert person.name == person.name.strip() != ""
    assert all(title.strip() for title in trainings(value).values())


async def test_a_large_answer_does_not_stop_the_event_loop() -> None:
    user = {"firstname": "Ann", "metavalues": [{"notes": ["x" * number]} for number in range(200)]}
    large = answer({"ok": True, "users": [user | {"id": str(number)} for number in range(500)]})
    started = asyncio.get_running_loop().time()
    reading = asyncio.ensure_future(asyncio.to_thread(read_people, large, ""))
    longest, before = 0.0, time.monotonic()
    while not reading.done():
        await asyncio.sleep(0)
        now = time.monotonic()
        longest, before = max(longest, now - before), now
    assert len(await reading) == 500
    assert longest < (asyncio.get_running_loop().time() - started) / 3
