"""The readers of people, trainings and job titles keep only names and requested facts, however the answer is split."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from notifier.facts import PersonField, TrainingFacts
from notifier.http.exchange import Answer
from notifier.kpa.errors import ApiError, ApiErrorReason
from notifier.kpa.name_stream import NamesReader, Person, job_titles_reader, people_reader, trainings_reader

TOKEN = "tKn-0123456789"


def named(name: str, number: str | None) -> Person:
    return Person(name, {"employee_number": number})


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
    found = read_all(trainings_reader(head(), TOKEN), [json.dumps(document).encode()])
    return {id_: training.title for id_, training in found.items()}


def people(*users: object) -> dict[str, Person]:
    return read_people({"ok": True, "users": users})


def trainings(*entries: object) -> dict[str, str]:
    return read_trainings({"ok": True, "trainings": entries})


def failure_of(body: bytes, answer: Answer | None = None) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read_all(people_reader(answer or head(), TOKEN), [body])
    return caught.value


def test_people_reader_reads_the_documented_example(sample: Callable[[str], Any]) -> None:
    assert read_people(sample("users.list.json")) == {
        "5804f0f30ef50473af5870c6": named("Derrick Brown", "DBROWN"),
        "5804f0f40ef50473af5870e6": named("David Ball", "DAVI2345"),
    }


def test_trainings_reader_reads_the_documented_examples(sample: Callable[[str], Any]) -> None:
    assert read_trainings(sample("trainings.v2.list.json")) == {
        "1024": "Coordinator Training",
        "1035": "Zone Manager Training",
    }
    assert read_trainings(sample("trainings.list.v1.json"))["5804f0f70ef50473af5871a9"] == "Ladder Safety"


@pytest.mark.parametrize(
    ("user", "person"),
    [
        ({"firstname": "Ann", "lastname": "Lee"}, named("Ann Lee", None)),
        ({"firstname": " Ann\n ", "lastname": "van  der\tLee"}, named("Ann van der Lee", None)),
        ({"lastname": "Lee", "employeeNumber": 17}, named("Lee", "17")),
        ({"firstname": "Ann", "lastname": None, "employeeNumber": ""}, named("Ann", None)),
        ({"firstname": "Ann", "lastname": ["Lee"], "employeeNumber": 1.5}, named("Ann", None)),
        ({"firstname": "Ann", "lastname": {"lastname": "Lee"}, "employeeNumber": [{"id": "x"}]}, named("Ann", None)),
        ({"manager": {"id": "u9", "lastname": "Chief"}, "firstname": "Ann"}, named("Ann", None)),
        (
            {"firstname": "\U0001f600 Ann", "lastname": f"{FIRST_HALF}Lee{SECOND_HALF}"},
            named("\U0001f600 Ann ?Lee?", None),
        ),
        ({"firstname": f"Ann {FIRST_HALF}A"}, named("Ann ?A", None)),
        ({"firstname": "\\ud83d", "lastname": f'\\{SECOND_HALF}"'}, named('\\ud83d \\?"', None)),
    ],
)
def test_people_reader_reads_name_and_number_from_the_usable_fields(user: dict[str, Any], person: Person) -> None:
    assert people({"id": "u1"} | user) == {"u1": person}


EVERY_FACT = {
    "id": "u1",
    "firstname": "Ann",
    "employeeNumber": "E1",
    "fieldOffice_id": ["f1", 2, "f1", "", None, {"id": "f9"}, ["f8"], "x" * 201],
    "lineOfBusiness_id": "b1",
    "jobTitle_id": "j1",
    "terminationDate": "1582830441803",
    "email": "ann@example.com",
    "metavalues": {"fieldOffice_id": ["f7"]},
    "cellPhone": "(555) 555-5555",
}


def test_people_reader_reads_only_the_requested_facts() -> None:
    def facts(*fields: str) -> Any:
        document = json.dumps({"ok": True, "users": [EVERY_FACT]}).encode()
        reader = people_reader(head(), TOKEN, [PersonField(field) for field in fields])
        return read_all(reader, [document[:50], document[50:]])["u1"].facts

    assert facts() == {}
    assert facts("employee_number") == {"employee_number": "E1"}
    assert facts("field_office_ids", "line_of_business_ids") == {
        "field_office_ids": ["f1", "2"],
        "line_of_business_ids": ["b1"],
    }
    assert facts("job_title") == facts("job_title_id") == {"job_title_id": "j1"}
    assert facts("terminated_on") == {"terminated_on": "2020-02-27"}


@pytest.mark.parametrize("nothing", [None, "", 0, [], {}, True, "soon", 1.5, -1, "9" * 30, {"id": "f1"}])
def test_people_reader_ignores_missing_or_invalid_facts(nothing: Any) -> None:
    user = {"id": "u1", "firstname": "Ann"} | dict.fromkeys(
        ("jobTitle_id", "terminationDate", "fieldOffice_id"), nothing
    )
    fields = [PersonField.JOB_TITLE_ID, PersonField.TERMINATED_ON, PersonField.FIELD_OFFICE_IDS]
    found = read_all(people_reader(head(), TOKEN, fields), [json.dumps({"ok": True, "users": [user]}).encode()])["u1"]
    assert found.name == "Ann"
    number = type(nothing) is int and nothing
    assert found.facts["job_title_id"] in (None, str(nothing))
    assert found.facts["terminated_on"] is None or number == -1
    assert found.facts["field_office_ids"] in ([], [str(nothing)])


def test_people_reader_keeps_at_most_200_field_offices() -> None:
    user = {"id": "u1", "firstname": "Ann", "fieldOffice_id": [*range(1000)]}
    reader = people_reader(head(), TOKEN, [PersonField.FIELD_OFFICE_IDS])
    found = read_all(reader, [json.dumps({"ok": True, "users": [user]}).encode()])["u1"]
    assert found.facts["field_office_ids"] == [str(number) for number in range(200)]


@pytest.mark.parametrize(
    ("training", "facts"),
    [
        ({"schedule_type": "rolling", "renewal_months": 12, "expiring_days": 14}, TrainingFacts("rolling", 12, 14)),
        ({"scheduleType": "rolling", "renewalMonths": "24", "expiringDays": None}, TrainingFacts("rolling", 24, None)),
        ({"renewal_months": 0}, TrainingFacts(None, 0, None)),
        ({"schedule_type": ["rolling"], "renewal_months": -3, "expiring_days": "soon"}, TrainingFacts()),
        ({"renewal_months": {"months": 3}, "expiring_days": 1.5}, TrainingFacts()),
    ],
)
def test_trainings_reader_reads_the_rules_of_both_versions(training: dict[str, Any], facts: TrainingFacts) -> None:
    document = {"ok": True, "trainings": [{"id": 1, "title": "Ladders"} | training]}
    assert read_all(trainings_reader(head(), TOKEN), [json.dumps(document).encode()])["1"].facts == facts


def test_job_titles_reader_maps_ids_to_titles() -> None:
    document = {"ok": True, "jobtitles": [{"id": "j1", "title": " Crane  Operator "}, {"id": "j2"}, 5]}
    assert read_all(job_titles_reader(head(), TOKEN), [json.dumps(document).encode()]) == {"j1": "Crane Operator"}


NO_IDS: list[Any] = [None, "", True, 1.5, [], {}]


@pytest.mark.parametrize(
    "skipped",
    [None, 5, "Ann", [], [{"id": "u3", "firstname": "Ann"}], {}, {"firstname": "Ann"}, {"id": "u1"}]
    + [{"id": "u1", "firstname": " "}]
    + [{"id": no_id, "firstname": "Ann"} for no_id in NO_IDS],
)
def test_people_reader_skips_entries_without_name_or_id_and_keeps_the_others(skipped: object) -> None:
    assert people(skipped, {"id": "u2", "firstname": "Bo"}) == {"u2": named("Bo", None)}


def test_people_reader_accepts_whole_numbers_as_ids() -> None:
    ids = [17, 2**63 - 1, 1 - 2**63]
    assert people(*({"id": id_, "firstname": "Bo"} for id_ in ids)).keys() == {str(id_) for id_ in ids}


def test_trainings_reader_skips_trainings_without_a_title() -> None:
    assert trainings(
        {"id": 1}, {"id": 2, "title": ""}, {"id": 3, "title": ["x"]}, {"id": 4, "title": " Ladder\nSafety "}
    ) == {"4": "Ladder Safety"}


def test_people_reader_ignores_nested_lists_and_lists_of_another_name() -> None:
    ann, bo = {"id": "a", "firstname": "Ann"}, {"id": "b", "firstname": "Bo"}
    document = {"roles": [ann], "paging": {"users": [ann]}, "users": [bo | {"users": [ann]}], "ok": True}
    assert read_people(document) == {"b": named("Bo", None)}


@pytest.mark.parametrize("users", [None, {}, {"item": [{"id": "u1", "firstname": "Ann"}]}, "users", 5, True])
def test_people_and_trainings_readers_without_a_list_raise_unexpected_shape(users: object) -> None:
    for read, name in ((read_people, "users"), (read_trainings, "trainings")):
        for document in ({"ok": True, name: users}, {"ok": True}):
            with pytest.raises(ApiError) as caught:
                read(document)
            assert caught.value.reason is ApiErrorReason.UNEXPECTED_SHAPE


@pytest.mark.parametrize("document", [None, [], [{"ok": True, "users": []}], "ok", 5, {}, {"ok": {"ok": True}}])
def test_people_reader_without_ok_raises_unexpected_shape(document: object) -> None:
    assert failure_of(json.dumps(document).encode()).reason is ApiErrorReason.UNEXPECTED_SHAPE


@pytest.mark.parametrize(
    "body",
    [
        b'{"ok": false, "error": "token_permission", "description": "Not with tKn-0123456789.", "users": []}',
        b'{"users": [], "description": "Not with tKn-0123456789.", "error": "token_permission", "ok": false}',
    ],
    ids=["first", "last"],
)
def test_people_reader_raises_the_api_error_wherever_it_is_in_the_answer(body: bytes) -> None:
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
def test_people_reader_with_invalid_or_excessive_json_raises_not_json(body: bytes) -> None:
    failure = failure_of(body, head(headers={"Content-Type": f"text/html; by={TOKEN}"}))
    assert failure.reason is ApiErrorReason.NOT_JSON
    assert f"(after {len(body)} bytes of text/html; by=[secret])" in failure.message


def test_people_reader_error_contains_no_personal_data() -> None:
    failure = failure_of(b'{"ok": true, "users": [{"id": "u1", "emergencyContact": "Spouse: (405) 555-1234" oops')
    assert failure.reason is ApiErrorReason.NOT_JSON
    assert failure.__suppress_context__
    assert "Spouse" not in f"{failure!r} {failure.message}"


def test_people_reader_with_a_redirect_raises_http_status() -> None:
    failure = failure_of(b"", head(302, {"Location": "https://elsewhere.example.com/"}))
    assert failure.reason is ApiErrorReason.HTTP_STATUS
    assert "redirect to https://elsewhere.example.com/" in failure.message


def test_people_reader_returns_each_person_as_soon_as_the_entry_is_complete() -> None:
    reader = people_reader(head(), TOKEN)
    reader.feed(b'{"users": [{"id": "u1", "firstname": "Ann"}, {"id": "u2", "firstname": "B')
    assert reader.take() == {"u1": named("Ann", None)}
    reader.feed(b'o"}], "ok"')
    assert reader.take() == {"u2": named("Bo", None)}
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
def test_people_reader_returns_the_same_names_for_any_chunks(
    users: list[dict[str, Any]], cuts: list[int], escaped: bool
) -> None:
    body = json.dumps({"ok": True, "users": users}, ensure_ascii=escaped).encode("utf-8", "replace")
    bounds = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    names = read_all(people_reader(head(), TOKEN), [body[start:end] for start, end in pairwise(bounds)])
    expected = {}
    for user in json.loads(body)["users"]:
        full_name = re.sub("[\ud800-\udfff]", "?", f"{user['firstname']} {user['lastname']}")
        if full_name := " ".join(full_name.split()):
            expected[str(user["id"])] = full_name
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
def test_readers_with_arbitrary_entries_return_only_non_empty_names(value: Any) -> None:
    sane = json.loads(json.dumps(value), parse_constant=lambda _: None)
    for user_id, person in people(sane, *(sane if isinstance(sane, list) else [])).items():
        assert user_id
        assert person.name == person.name.strip() != ""
    assert all(title.strip() for title in trainings(sane).values())
