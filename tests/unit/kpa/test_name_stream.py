"""Of people and trainings only the names are taken, however the answer arrives."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from notifier.http.exchange import Answer
from notifier.kpa.errors import ApiError, ApiErrorReason
from notifier.kpa.name_stream import NamesReader, Person, people_reader, trainings_reader

TOKEN = "tKn-0123456789"
SECOND_HALF = chr(0xDE00)
FIRST_HALF = chr(0xD83D)


def head(status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, CIMultiDictProxy(CIMultiDict(headers or {})), b"")


def read_all(reader: NamesReader[Any], pieces: Iterable[bytes]) -> dict[str, Any]:
    for piece in pieces:
        reader.feed(piece)
    reader.finish()
    return reader.take()


def read_people(document: Any) -> dict[str, Person]:
    return read_all(people_reader(head(), TOKEN), [json.dumps(document).encode()])


def read_trainings(document: Any) -> dict[str, str]:
    return read_all(trainings_reader(head(), TOKEN), [json.dumps(document).encode()])


def people(*users: object) -> dict[str, Person]:
    return read_people({"ok": True, "users": users})


def trainings(*entries: object) -> dict[str, str]:
    return read_trainings({"ok": True, "trainings": entries})


def failure_of(body: bytes, answer: Answer | None = None) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read_all(people_reader(answer or head(), TOKEN), [body])
    return caught.value


def test_the_documented_people_are_read(sample: Callable[[str], Any]) -> None:
    assert read_people(sample("users.list.json")) == {
        "5804f0f30ef50473af5870c6": Person("Derrick Brown", "DBROWN"),
        "5804f0f40ef50473af5870e6": Person("David Ball", "DAVI2345"),
    }


def test_the_documented_trainings_are_read(sample: Callable[[str], Any]) -> None:
    assert read_trainings(sample("trainings.v2.list.json")) == {
        "1024": "Coordinator Training",
        "1035": "Zone Manager Training",
    }
    assert read_trainings(sample("trainings.list.v1.json"))["5804f0f70ef50473af5871a9"] == "Ladder Safety"


@pytest.mark.parametrize(
    ("user", "person"),
    [
        ({"firstname": "Ann", "lastname": "Lee"}, Person("Ann Lee", None)),
        ({"firstname": " Ann\n ", "lastname": "van  der\tLee"}, Person("Ann van der Lee", None)),
        ({"lastname": "Lee", "employeeNumber": 17}, Person("Lee", "17")),
        ({"firstname": "Ann", "lastname": None, "employeeNumber": ""}, Person("Ann", None)),
        ({"firstname": "Ann", "lastname": ["Lee"], "employeeNumber": 1.5}, Person("Ann", None)),
        ({"firstname": "Ann", "lastname": {"lastname": "Lee"}, "employeeNumber": [{"id": "x"}]}, Person("Ann", None)),
        ({"manager": {"id": "u9", "lastname": "Chief"}, "firstname": "Ann"}, Person("Ann", None)),
        (
            {"firstname": "\U0001f600 Ann", "lastname": f"{FIRST_HALF}Lee{SECOND_HALF}"},
            Person("\U0001f600 Ann ?Lee?", None),
        ),
        ({"firstname": f"Ann {FIRST_HALF}A"}, Person("Ann ?A", None)),
        ({"firstname": "\\ud83d", "lastname": f'\\{SECOND_HALF}"'}, Person('\\ud83d \\?"', None)),
    ],
)
def test_a_name_is_made_of_what_is_there(user: dict[str, Any], person: Person) -> None:
    assert people({"id": "u1"} | user) == {"u1": person}


NO_IDS: list[Any] = [None, "", True, 1.5, [], {}]


@pytest.mark.parametrize(
    "nobody",
    [None, 5, "Ann", [], [{"id": "u3", "firstname": "Ann"}], {}, {"firstname": "Ann"}, {"id": "u1"}]
    + [{"id": "u1", "firstname": " "}]
    + [{"id": no_id, "firstname": "Ann"} for no_id in NO_IDS],
)
def test_who_has_no_name_or_no_id_is_left_out_and_spoils_no_other(nobody: object) -> None:
    assert people(nobody, {"id": "u2", "firstname": "Bo"}) == {"u2": Person("Bo", None)}


def test_a_whole_number_is_an_id_too() -> None:
    ids = [17, 2**63 - 1, 1 - 2**63]
    assert people(*({"id": id_, "firstname": "Bo"} for id_ in ids)).keys() == {str(id_) for id_ in ids}


def test_a_training_without_a_title_is_left_out() -> None:
    assert trainings(
        {"id": 1}, {"id": 2, "title": ""}, {"id": 3, "title": ["x"]}, {"id": 4, "title": " Ladder\nSafety "}
    ) == {"4": "Ladder Safety"}


def test_lists_of_another_name_or_in_another_place_are_not_the_list() -> None:
    ann, bo = {"id": "a", "firstname": "Ann"}, {"id": "b", "firstname": "Bo"}
    document = {"roles": [ann], "paging": {"users": [ann]}, "users": [bo | {"users": [ann]}], "ok": True}
    assert read_people(document) == {"b": Person("Bo", None)}


@pytest.mark.parametrize("users", [None, {}, {"item": [{"id": "u1", "firstname": "Ann"}]}, "users", 5, True])
def test_a_list_of_another_type_is_an_unexpected_shape(users: object) -> None:
    for read, name in ((read_people, "users"), (read_trainings, "trainings")):
        for document in ({"ok": True, name: users}, {"ok": True}):
            with pytest.raises(ApiError) as caught:
                read(document)
            assert caught.value.reason is ApiErrorReason.UNEXPECTED_SHAPE


@pytest.mark.parametrize("document", [None, [], [{"ok": True, "users": []}], "ok", 5, {}, {"ok": {"ok": True}}])
def test_what_does_not_say_ok_is_an_unexpected_shape(document: object) -> None:
    assert failure_of(json.dumps(document).encode()).reason is ApiErrorReason.UNEXPECTED_SHAPE


@pytest.mark.parametrize(
    "body",
    [
        b'{"ok": false, "error": "token_permission", "description": "Not with tKn-0123456789.", "users": []}',
        b'{"users": [], "description": "Not with tKn-0123456789.", "error": "token_permission", "ok": false}',
    ],
    ids=["first", "last"],
)
def test_a_refusal_is_named_wherever_it_stands(body: bytes) -> None:
    failure = failure_of(body)
    assert failure.reason is ApiErrorReason.TOKEN_PERMISSION
    assert "Not with [secret]." in failure.message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"<!doctype html>",
        b'{"ok": true, "users": [{"id": "u1", "firstname": "Ann"}',
        b'{"ok": true, "users": [{"id": "u1", "firstname": "Ann\\u00',
        b'{"ok": true, "users": []} {}',
        b'{"ok": true, "users": [\xff]}',
        b'{"ok": true, "users": ["\xff"]}',
        b'{"ok": true, "users": ["\xed\xa0\xbd"]}',
        b'{"ok": true, "users": [' + b"9" * 5000 + b"]}",
        b'{"ok": true, "users": ' + b"[" * 1000 + b"]" * 1000 + b"}",
    ],
)
def test_what_is_no_json_or_beyond_reason_is_named(body: bytes) -> None:
    failure = failure_of(body, head(headers={"Content-Type": f"text/html; by={TOKEN}"}))
    assert failure.reason is ApiErrorReason.NOT_JSON
    assert f"(after {len(body)} bytes of text/html; by=[secret])" in failure.message


def test_a_failure_quotes_nothing_of_what_people_told_the_api() -> None:
    failure = failure_of(b'{"ok": true, "users": [{"id": "u1", "emergencyContact": "Spouse: (405) 555-1234" oops')
    assert failure.reason is ApiErrorReason.NOT_JSON
    assert failure.__suppress_context__
    assert "Spouse" not in f"{failure!r} {failure.message}"


def test_what_does_not_come_from_the_api_is_named_by_its_status() -> None:
    failure = failure_of(b"", head(302, {"Location": "https://elsewhere.example.com/"}))
    assert failure.reason is ApiErrorReason.HTTP_STATUS
    assert "redirect to https://elsewhere.example.com/" in failure.message


def test_names_are_there_as_soon_as_their_entry_is() -> None:
    reader = people_reader(head(), TOKEN)
    reader.feed(b'{"users": [{"id": "u1", "firstname": "Ann"}, {"id": "u2", "firstname": "B')
    assert reader.take() == {"u1": Person("Ann", None)}
    reader.feed(b'o"}], "ok"')
    assert reader.take() == {"u2": Person("Bo", None)}
    reader.feed(b": true}")
    reader.finish()
    assert reader.take() == {}


words = st.text(st.sampled_from(["a", "é", "\\", '"', "u", "d", "8", "\n", "\U0001f600", FIRST_HALF, SECOND_HALF]))


@given(
    users=st.lists(st.fixed_dictionaries({"id": st.integers(0, 99), "firstname": words, "lastname": words})),
    cuts=st.lists(st.integers(0, 400), max_size=20),
    escaped=st.booleans(),
)
@example(users=[{"id": 1, "firstname": "\U0001f600" * 3, "lastname": ""}], cuts=list(range(400)), escaped=True)
@example(users=[{"id": 1, "firstname": SECOND_HALF * 3, "lastname": "\\" * 9}], cuts=list(range(400)), escaped=True)
def test_names_are_the_same_however_the_answer_is_cut(
    users: list[dict[str, Any]], cuts: list[int], escaped: bool
) -> None:
    body = json.dumps({"ok": True, "users": users}, ensure_ascii=escaped).encode("utf-8", "replace")
    bounds = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    names = read_all(people_reader(head(), TOKEN), [body[start:end] for start, end in pairwise(bounds)])
    expected = {}
    for user in json.loads(body)["users"]:
        told = re.sub("[\ud800-\udfff]", "?", f"{user['firstname']} {user['lastname']}")
        if told := " ".join(told.split()):
            expected[str(user["id"])] = told
    assert {id_: person.name for id_, person in names.items()} == expected


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(1 - 2**63, 2**63 - 1) | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["id", "firstname", "lastname", "employeeNumber", "title", "ok"]), inner)
        ),
        max_leaves=10,
    )
)
def test_arbitrary_entries_give_names_or_nothing(value: Any) -> None:
    sane = json.loads(json.dumps(value), parse_constant=lambda _: None)
    for user_id, person in people(sane, *(sane if isinstance(sane, list) else [])).items():
        assert user_id
        assert person.name == person.name.strip() != ""
    assert all(title.strip() for title in trainings(sane).values())
