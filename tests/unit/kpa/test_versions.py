"""How records of both versions are read: each becomes a valid completion or is reported as invalid."""

import hashlib
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from notifier.events import Completion
from notifier.kpa.versions import API_VERSIONS, V1, V2, InvalidRecord, RecordFormat
from tests.support.api_records import RECORD_V1, RECORD_V2, example, records_of

A_LIST, AN_OBJECT = ["5e580f0cb780600088bd2c11"], {"id": 1}
INVALID_IDS = [None, "", "12\x0034", True, False, 1.5, 1e300, A_LIST, AN_OBJECT]
INVALID_OPTIONAL_IDS = [True, False, 1.5, A_LIST, [], AN_OBJECT, {}]
INVALID_MOMENTS = [
    "-1",
    True,
    1.5,
    "yesterday",
    "2020-02-27",
    "1e99",
    "1.5e0",
    "٣",
    [],
    {},
]
IMPLAUSIBLE_MOMENTS = [-1, 5, 1582830441, 1104537599999, 1582830441803000, 253402300800000, 10**19, "1582830441"]
INVALID_DAYS = [20201345, 20210229, 20200000, 20200100, -20200227, 202002270, 1, 99991232, 10**19, "2020-02-27"]
INVALID_DAYS += ["yesterday", True, 1.5, "20200227.5", 2e99, A_LIST, [], {}]
INVALID_TEXTS: list[Any] = [5, 0, True, False, 1.5, ["on paper"], [], {}]
INVALID_LISTS = ["", "card.jpg", 1, 0, True, False, {}, AN_OBJECT]

REQUIRED_FIELDS: list[tuple[RecordFormat, str, list[Any]]] = [
    (V2, "id", INVALID_IDS),
    (V2, "training_id", INVALID_IDS),
    (V2, "m_user_id", INVALID_IDS),
    (V2, "date_number", INVALID_DAYS),
    (V1, "training_id", INVALID_IDS),
    (V1, "user_id", INVALID_IDS),
    (V1, "created", INVALID_MOMENTS),
    (V1, "dateNumber", INVALID_DAYS),
]
OPTIONAL_FIELDS: list[tuple[RecordFormat, str, str, list[Any]]] = [
    (V2, "created", "recorded_at", [*INVALID_MOMENTS, *IMPLAUSIBLE_MOMENTS]),
    (V2, "special_expiration_date_number", "expires_on", INVALID_DAYS),
    (V2, "m_instructor_id", "instructor_id", INVALID_OPTIONAL_IDS),
    (V2, "group_training_id", "group_training_id", INVALID_OPTIONAL_IDS),
    (V2, "notes", "notes", INVALID_TEXTS),
    (V2, "files", "has_attachments", INVALID_LISTS),
    (V1, "specialExpirationDateNumber", "expires_on", INVALID_DAYS),
    (V1, "instructor_id", "instructor_id", INVALID_OPTIONAL_IDS),
    (V1, "groupTraining_id", "group_training_id", INVALID_OPTIONAL_IDS),
]


def only(version: RecordFormat, record: object) -> Completion:
    completions, bad = version.parse([record])
    assert bad == []
    [completion] = completions
    return completion


def fields(completion: Completion) -> Completion:
    """Return a completion that holds only what was read from its JSON, without the JSON itself."""
    return replace(completion, raw=b"", unread=(), stored_raw=None)


def without(record: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in names}


def test_v2_parse_reads_every_field() -> None:
    assert fields(only(V2, RECORD_V2)) == Completion(
        key="1238",
        training_id="1046",
        user_id="5e580f0cb780600088bd2c11",
        completed_on="2020-02-27",
        expires_on="2021-01-01",
        recorded_at=1582830441803,
        instructor_id="5e580f0db780600088bd2ccd",
        group_training_id="1050",
        notes="on paper",
        has_attachments=True,
        raw=b"",
    )


def test_v1_parse_reads_every_field_of_v1() -> None:
    canonical = b'["5804f0f40ef50473af5870e6","5804f0f70ef50473af5871ab","1476718840233"]'
    assert fields(only(V1, RECORD_V1)) == Completion(
        key="v1-" + hashlib.sha256(canonical).hexdigest()[:16],
        training_id="5804f0f70ef50473af5871ab",
        user_id="5804f0f40ef50473af5870e6",
        completed_on="2019-01-01",
        expires_on="2019-12-31",
        recorded_at=1476718840233,
        instructor_id="5804f0f40ef50473af58717c",
        group_training_id="5804f0f80ef50473af5875dc",
        notes=None,
        has_attachments=None,
        raw=b"",
    )


def test_v1_key_is_the_same_in_every_release() -> None:
    assert only(V1, RECORD_V1).key == "v1-28951e5a0a8876e4"


@pytest.mark.parametrize(
    ("version", "name", "keys"),
    [
        ("v2", "completedtrainings.v2.list.2020.json", ["1238", "1236", "1233"]),
        ("v2", "completedtrainings.v2.list.today.json", ["1238"]),
        ("v1", "completedtrainings.list.v1.json", None),
    ],
)
def test_parse_reads_the_documented_examples(
    version: str, name: str, keys: list[str] | None, sample: Callable[[str], Any]
) -> None:
    records = sample(name)["completedtrainings"]
    completions, bad = API_VERSIONS[version].parse(records)
    assert bad == []
    assert [orjson.loads(completion.raw) for completion in completions] == records
    found = [completion.key for completion in completions]
    assert len(set(found)) == len(records)
    assert keys is None or found == keys


@pytest.mark.parametrize("version", [V1, V2])
def test_parse_keeps_unknown_fields_in_raw(version: RecordFormat) -> None:
    record = example(version) | {"brand_new": {"deep": [1, None, "ü"]}, "created": "1582830441803"}
    assert orjson.loads(only(version, record).raw) == record


def test_fill_missing_takes_an_absent_field_from_the_earlier_completion() -> None:
    whole = only(V2, {**example(V2), "files": [{"id": 1}], "notes": "before"})
    narrow = only(V2, {**without(example(V2), "files"), "notes": "after"})
    absent = V2.missing_fields([narrow.raw])
    completed = V2.fill_missing(narrow, whole, absent)
    assert absent == frozenset({"has_attachments"})
    assert (completed.has_attachments, completed.notes) == (True, "after")
    assert only(V2, orjson.loads(completed.raw)).content() == completed.content()


def test_parse_accepts_numbers_as_strings() -> None:
    texts = {"id": "1238", "training_id": "1046", "created": "1582830441803", "date_number": "20200227"}
    texts |= {"special_expiration_date_number": "20210101", "group_training_id": "1050"}
    assert fields(only(V2, RECORD_V2 | texts)) == fields(only(V2, RECORD_V2))
    texts = {"created": "1476718840233", "dateNumber": "20190101", "specialExpirationDateNumber": "20191231"}
    assert fields(only(V1, RECORD_V1 | texts)) == fields(only(V1, RECORD_V1))


@pytest.mark.parametrize(
    ("version", "name", "field"),
    [
        (V2, "created", "recorded_at"),
        (V2, "date_number", "completed_on"),
        (V2, "special_expiration_date_number", "expires_on"),
        (V2, "m_instructor_id", "instructor_id"),
        (V2, "group_training_id", "group_training_id"),
        (V1, "created", "recorded_at"),
        (V1, "dateNumber", "completed_on"),
        (V1, "specialExpirationDateNumber", "expires_on"),
        (V1, "instructor_id", "instructor_id"),
        (V1, "groupTraining_id", "group_training_id"),
    ],
)
def test_parse_treats_absent_null_and_empty_fields_alike(version: RecordFormat, name: str, field: str) -> None:
    absent = fields(only(version, without(example(version), name)))
    assert getattr(absent, field) is None
    assert fields(only(version, example(version) | {name: None})) == absent
    assert fields(only(version, example(version) | {name: ""})) == absent
    if not name.endswith("_id"):
        assert fields(only(version, example(version) | {name: 0})) == absent
        assert fields(only(version, example(version) | {name: "0"})) == absent


def test_v2_parse_treats_absent_and_empty_notes_and_files_alike() -> None:
    before = fields(only(V2, without(RECORD_V2, "notes", "files", "signature")))
    assert (before.notes, before.has_attachments) == ("", False)
    for empty in ({"notes": "", "files": []}, {"notes": None, "files": None}):
        assert fields(only(V2, RECORD_V2 | empty)) == before


@pytest.mark.parametrize(
    ("version", "name", "value"),
    [(version, name, value) for version, name, values in REQUIRED_FIELDS for value in values],
)
def test_parse_with_an_unreadable_required_field_rejects_only_that_record(
    version: RecordFormat, name: str, value: object
) -> None:
    good = example(version)
    completions, bad = version.parse([good | {name: value}, good | {"id": 7, "training_id": "7"}])
    assert [completion.training_id for completion in completions] == ["7"]
    [record] = bad
    assert f"`{name}`" in record.problem
    assert record.field_name == name
    key_fields = {"id"} if version is V2 else {"user_id", "training_id", "created"}
    assert record.key == (None if name in key_fields else only(version, good).key)


@pytest.mark.parametrize(
    ("version", "name", "field", "value"),
    [(version, name, field, value) for version, name, field, values in OPTIONAL_FIELDS for value in values],
)
def test_parse_with_an_unreadable_optional_field_leaves_it_empty_and_names_it(
    version: RecordFormat, name: str, field: str, value: object
) -> None:
    record = example(version) | {name: value}
    completion = only(version, record)
    assert getattr(completion, field) is None
    readable = fields(only(version, example(version)))
    assert fields(replace(completion, **{field: getattr(readable, field)})) == readable
    assert orjson.loads(completion.raw) == record
    [unread] = completion.unread
    assert (unread.name, unread.api_name) == (field, name)
    assert f"`{name}`" in unread.problem


def test_v1_key_depends_on_the_moment_even_if_it_is_implausible() -> None:
    seconds, later = only(V1, RECORD_V1 | {"created": 1476718840}), only(V1, RECORD_V1 | {"created": 1476718841})
    assert seconds.recorded_at is later.recorded_at is None
    assert seconds.key != later.key


@pytest.mark.parametrize("form", [float, lambda number: f"{number}.0", lambda number: f"{float(number):.12e}"])
def test_parse_accepts_whole_numbers_with_a_fraction_or_an_exponent(form: Callable[[Any], object]) -> None:
    names = ("created", "date_number", "special_expiration_date_number")
    record = RECORD_V2 | {"created": 1582830000000}
    written = record | {name: form(record[name]) for name in names}
    assert fields(only(V2, written)) == fields(only(V2, record))
    assert fields(only(V2, record | {"id": 1238.0, "training_id": 1046.0})) == fields(only(V2, record))


def test_parse_rejects_a_record_without_an_id() -> None:
    for version, names in ((V2, ("id", "training_id", "m_user_id")), (V1, ("training_id", "user_id"))):
        for name in names:
            completions, bad = version.parse([without(example(version), name)])
            assert not completions
            assert "missing" in bad[0].problem


@pytest.mark.parametrize("record", [None, True, 5, "text", [], [RECORD_V2]])
def test_parse_rejects_a_record_that_is_no_object(record: object) -> None:
    assert V2.parse([record]) == ([], [InvalidRecord(None, "the record is not an object")])


def test_parse_problem_shows_numbers_but_no_text() -> None:
    [of_number] = V2.parse([RECORD_V2 | {"date_number": 20201345}])[1]
    problem = "`date_number` should be a day (yyyymmdd), but is 20201345"
    assert of_number == InvalidRecord("1238", problem, field_name="date_number")
    [of_text] = V2.parse([RECORD_V2 | {"date_number": "Susan's mobile: 555"}])[1]
    assert of_text.problem == "`date_number` should be a day (yyyymmdd), but is other text"


@pytest.mark.parametrize("damage", [{"notes": "half an emoji: \ud83d"}, {"signature": 10**30}])
def test_parse_rejects_a_record_that_cannot_be_converted_to_json(damage: dict[str, Any]) -> None:
    completions, bad = V2.parse([RECORD_V2 | damage, RECORD_V2 | {"id": 5}])
    assert [completion.key for completion in completions] == ["5"]
    assert "cannot be converted to JSON" in bad[0].problem


def test_parse_rejects_a_record_nested_too_deeply() -> None:
    nested: list[Any] = []
    for _ in range(500):
        nested = [nested]
    assert V2.parse([RECORD_V2 | {"signature": nested}])[1][0].key is None


def test_parse_accepts_days_of_any_year() -> None:
    assert only(V2, RECORD_V2 | {"date_number": 2200227}).completed_on == "0220-02-27"
    assert only(V2, RECORD_V2 | {"date_number": 99991231}).completed_on == "9999-12-31"
    assert only(V2, RECORD_V2 | {"date_number": 20240229}).completed_on == "2024-02-29"


def test_parse_accepts_the_last_moment_of_the_year_9999() -> None:
    completion = only(V2, RECORD_V2 | {"created": 253402300799999})
    assert completion.content()["recorded_at"] == "9999-12-31T23:59:59.999Z"


def test_v1_key_depends_only_on_user_training_and_moment() -> None:
    variants = [
        RECORD_V1,
        RECORD_V1 | {"user_id": "u"},
        RECORD_V1 | {"training_id": "t"},
        RECORD_V1 | {"created": 1476718840234},
        RECORD_V1 | {"created": 0},
    ]
    assert len({only(V1, record).key for record in variants}) == len(variants)
    assert only(V1, RECORD_V1 | {"dateNumber": 20200101, "notes": "x"}).key == only(V1, RECORD_V1).key


def test_v1_parse_numbers_equal_records_in_order() -> None:
    key = only(V1, RECORD_V1).key
    other = RECORD_V1 | {"user_id": "someone else"}
    completions, _ = V1.parse([RECORD_V1, other, RECORD_V1 | {"dateNumber": 20180101}, RECORD_V1])
    assert [completion.key for completion in completions] == [key, only(V1, other).key, f"{key}-2", f"{key}-3"]


def test_v1_parse_numbers_an_unreadable_record_with_its_equals() -> None:
    key = only(V1, RECORD_V1).key
    completions, bad = V1.parse([RECORD_V1 | {"dateNumber": "?"}, RECORD_V1])
    assert [record.key for record in bad] == [key]
    assert [completion.key for completion in completions] == [f"{key}-2"]


def test_v2_parse_rejects_the_second_record_with_the_same_id() -> None:
    completions, bad = V2.parse([RECORD_V2, RECORD_V2 | {"notes": "another"}])
    assert [completion.notes for completion in completions] == ["on paper"]
    assert [record.key for record in bad] == ["1238"]


@pytest.mark.parametrize(
    ("version", "training_id", "sent"),
    [
        (V2, "1046", 1046),
        (V2, "abc", "abc"),
        (V2, "5804f0f70ef50473af5871ab", "5804f0f70ef50473af5871ab"),
        (V2, "9" * 24, "9" * 24),
        (V1, "1" * 24, "1" * 24),
        (V1, "1046", "1046"),
    ],
)
def test_training_filter_sends_numeric_v2_ids_as_numbers(version: RecordFormat, training_id: str, sent: object) -> None:
    assert version.training_filter(training_id) == sent
    assert type(version.training_filter(training_id)) is type(sent)


@given(st.sampled_from([V1, V2]).flatmap(lambda version: st.tuples(st.just(version), st.lists(records_of(version)))))
def test_parse_with_arbitrary_json_returns_valid_completions_or_bad_records(
    drawn: tuple[RecordFormat, list[Any]],
) -> None:
    version, records = drawn
    completions, bad = version.parse(records)
    assert len(completions) + len(bad) == len(records)
    keys = [completion.key for completion in completions]
    assert len(set(keys)) == len(keys)
    for completion in completions:
        assert_well_formed(completion, version)
    for record in bad:
        assert record.key is None or type(record.key) is str
        assert record.problem


def assert_well_formed(completion: Completion, version: RecordFormat) -> None:
    for required in (completion.key, completion.training_id, completion.user_id):
        assert type(required) is str
        assert required
    for optional in (completion.instructor_id, completion.group_training_id):
        assert optional is None or (type(optional) is str and optional)
    for day in (completion.completed_on, completion.expires_on):
        assert day is None or (type(day) is str and len(day) == len("2020-02-27"))
    assert completion.recorded_at is None or (type(completion.recorded_at) is int and completion.recorded_at > 0)
    unread = {field.name for field in completion.unread}
    assert type(completion.notes) is (str if version is V2 and "notes" not in unread else type(None))
    filled = version is V2 and "has_attachments" not in unread
    assert type(completion.has_attachments) is (bool if filled else type(None))
    assert isinstance(orjson.loads(completion.raw), dict)
    orjson.dumps(completion.content())
