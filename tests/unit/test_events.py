"""The ids of events and batches, and the data of events."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from notifier.events import (
    CONTENT_FIELDS,
    Change,
    Completion,
    DetectedBy,
    EventType,
    Names,
    batch_id,
    event_data,
    event_id,
    fingerprint,
    fingerprints,
)
from tests.support.completions import DAVID, LADDERS, completion

COMPLETION = completion(raw=b'{"id":1238,"surprise":[1,2.50,"\\u00fc"]}')
BEFORE = replace(COMPLETION, notes="old")
CREATED = Change(EventType.CREATED, COMPLETION, 1, DetectedBy.HEAD, "entered_since")
UPDATED = Change(EventType.UPDATED, COMPLETION, 2, DetectedBy.SWEEP, "content_changed", BEFORE)
REMOVED = Change(EventType.REMOVED, COMPLETION, 3, DetectedBy.SWEEP, "gone")

days = st.none() | st.dates().map(str)
texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
completions = st.builds(
    Completion,
    key=st.text("ab1-", max_size=4),
    training_id=st.text("ab1", max_size=3),
    user_id=st.text("ab1", max_size=3),
    completed_on=days,
    expires_on=days,
    recorded_at=st.none() | st.integers(0, 2**41),
    instructor_id=texts,
    group_training_id=texts,
    notes=texts,
    has_attachments=st.none() | st.booleans(),
    raw=st.just(b"{}"),
)
changes = st.builds(
    lambda kind, completion, revision, previous: Change(
        kind, completion, revision, DetectedBy.HEAD, "", previous if kind is EventType.UPDATED else None
    ),
    st.sampled_from([EventType.CREATED, EventType.UPDATED, EventType.REMOVED]),
    completions,
    st.integers(1, 5),
    completions,
)


def data_of(change: Change, names: Names | None = None) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(event_data(change, names or Names()))
    return data


# Ids


@pytest.mark.parametrize(
    ("change", "identifier"),
    [
        (CREATED, "evt_tofbshskqtor6ra3r2mqgsi22k"),
        (UPDATED, "evt_yv4rgyfwudadvo6yspre7xusfv"),
        (REMOVED, "evt_kbe7r3c3lzno57etr7d3erb45g"),
    ],
)
def test_event_id_is_the_same_in_every_version_of_the_program(change: Change, identifier: str) -> None:
    assert event_id("acme", change) == identifier


def test_batch_id_is_the_same_in_every_version_of_the_program() -> None:
    assert batch_id(("evt_a", "evt_b")) == "msg_he2i3olotti3zllbxz3htojuor"


@given(changes, st.text("ac-", max_size=5))
def test_event_id_is_a_prefix_and_26_characters(change: Change, namespace: str) -> None:
    assert re.fullmatch(r"evt_[a-z2-7]{26}", event_id(namespace, change))


@given(changes, changes, st.text("ab1", max_size=3), st.text("ab1", max_size=3))
def test_event_ids_are_equal_exactly_for_the_same_change(one: Change, other: Change, here: str, there: str) -> None:
    def essence(namespace: str, change: Change) -> object:
        was = None if change.previous is None else (change.previous.content(), change.completion.content())
        return (namespace, change.completion.key, change.type, change.revision, was)

    same = essence(here, one) == essence(there, other)
    assert (event_id(here, one) == event_id(there, other)) == same


@given(changes)
def test_event_id_ignores_detection_method_reason_and_raw(change: Change) -> None:
    found_otherwise = replace(change, detected_by=DetectedBy.COUNT, reason="another")
    shown_otherwise = replace(change, completion=replace(change.completion, raw=b'{"more":1}'))
    assert event_id("acme", found_otherwise) == event_id("acme", shown_otherwise) == event_id("acme", change)


def test_event_id_is_new_each_time_a_record_changes_back_and_forth() -> None:
    there = [replace(UPDATED, revision=revision) for revision in (2, 4, 6)]
    back = [replace(UPDATED, revision=revision, completion=BEFORE, previous=COMPLETION) for revision in (3, 5)]
    assert len({event_id("acme", change) for change in [*there, *back]}) == 5


@given(st.lists(st.text("evt_ab", min_size=1), max_size=4), st.lists(st.text("evt_ab", min_size=1), max_size=4))
def test_batch_id_is_equal_exactly_for_the_same_events(these: list[str], those: list[str]) -> None:
    assert (batch_id(tuple(these)) == batch_id(tuple(those))) == (these == those)
    assert re.fullmatch(r"msg_[a-z2-7]{26}", batch_id(tuple(these)))


# Data


def test_event_data_has_exactly_the_documented_fields() -> None:
    names = Names({DAVID: "David Ball"}, {LADDERS: "Ladder Safety"})
    assert data_of(CREATED, names) == {
        "completion": {
            "key": "1238",
            "training_id": LADDERS,
            "training_title": "Ladder Safety",
            "user_id": DAVID,
            "user_name": "David Ball",
            "instructor_id": None,
            "instructor_name": None,
            "group_training_id": None,
            "completed_on": "2020-02-27",
            "expires_on": None,
            "recorded_at": "2020-02-27T19:07:21.803Z",
            "notes": "",
            "has_attachments": False,
            "user_employee_number": None,
            "instructor_employee_number": None,
            "valid_until": None,
            "valid_until_source": None,
            "occasion": None,
        },
        "previous": None,
        "user": None,
        "training": None,
        "record": {"id": 1238, "surprise": [1, 2.50, "ü"]},
    }


def test_event_data_contains_the_record_as_the_api_returned_it() -> None:
    assert event_data(CREATED, Names()).endswith(b'"record":' + COMPLETION.raw + b"}")


def test_event_data_has_null_for_unknown_names() -> None:
    taught = replace(COMPLETION, instructor_id="5e580f0cb780600088bd2c99")
    completion = data_of(replace(CREATED, completion=taught), Names({}, {"1047": "Another"}))["completion"]
    assert (completion["user_name"], completion["instructor_name"], completion["training_title"]) == (None, None, None)


def test_event_data_names_the_instructor() -> None:
    taught = replace(COMPLETION, instructor_id=DAVID)
    assert data_of(replace(CREATED, completion=taught), Names({DAVID: "David Ball"}))["completion"][
        "instructor_name"
    ] == ("David Ball")


@given(completions, completions)
def test_previous_contains_only_the_changed_fields_with_their_old_values(old: Completion, new: Completion) -> None:
    data = data_of(Change(EventType.UPDATED, new, 2, DetectedBy.SWEEP, "content_changed", old))
    before, now = old.content(), new.content()
    assert data["previous"] == {name: before[name] for name in CONTENT_FIELDS if before[name] != now[name]}
    assert set(data["previous"]) <= set(data["completion"])


@given(completions)
def test_content_has_the_content_fields_and_its_fingerprint_ignores_raw(completion: Completion) -> None:
    assert tuple(completion.content()) == CONTENT_FIELDS
    assert completion.content_fingerprint() == replace(completion, raw=b'{"something":"else"}').content_fingerprint()


@given(st.lists(st.binary()))
def test_fingerprints_returns_the_fingerprint_of_each(raws: list[bytes]) -> None:
    assert [*fingerprints(raws)] == [fingerprint(raw) for raw in raws]
