"""Known records under other keys: when they are searched for, and which ones match."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from notifier.events import Completion
from notifier.store.tables.silent_updates import Adoption
from notifier.store.tables.sources import SourceMemory
from notifier.watch.detection.renumbering import find_adoptions, may_be_renumbered

SWEPT = SourceMemory(swept_at_ms=1, records=100, unreadable=2, count_offset=-1)


def completion(key: str, training_id: str = "t") -> Completion:
    return Completion(key, training_id, "u", "2020-02-27", None, 1, None, None, None, None, json.dumps(key).encode())


@given(st.integers(1, 300), st.none() | st.integers(0, 500))
def test_may_be_renumbered_is_false_before_the_first_sweep(unknown: int, max_records: int | None) -> None:
    assert not may_be_renumbered(unknown, replace(SWEPT, swept_at_ms=None), max_records, 0)


@pytest.mark.parametrize(
    ("unknown", "max_records", "may_be"),
    [(1, 102, False), (1, 101, True), (20, 121, False), (20, 120, True), (20, None, False), (21, None, True)],
)
def test_may_be_renumbered_if_unknown_records_exceed_the_room_or_are_many(
    unknown: int, max_records: int | None, may_be: bool
) -> None:
    assert may_be_renumbered(unknown, SWEPT, max_records, 0) is may_be


unknowns = st.lists(st.sampled_from("tuv"), max_size=8).map(
    lambda trainings: [completion(f"new-{place}", training) for place, training in enumerate(trainings)]
)
known_pairs = st.tuples(st.integers(0, 9).map(str), st.sampled_from("tuv"))
matches = st.dictionaries(st.integers(0, 7).map(lambda place: f"new-{place}"), st.lists(known_pairs, max_size=4))


@given(unknowns, matches, st.sets(st.integers(0, 9).map(str)), st.booleans())
def test_find_adoptions_matches_each_known_record_once_and_no_present_one(
    unknown: list[Completion], alike: dict[str, list[tuple[str, str]]], present: set[str], expected: bool
) -> None:
    found = find_adoptions(unknown, alike, present, expected=expected)
    assert len({adoption.old_key for adoption in found}) == len({one.completion.key for one in found}) == len(found)
    assert not {adoption.old_key for adoption in found} & present
    for adoption in found:
        trainings = dict(alike[adoption.completion.key])
        assert adoption.old_key in trainings
        same = (adoption.old_key, adoption.completion.training_id) in alike[adoption.completion.key]
        assert expected or same
    assert expected or 2 * len(found) >= len(unknown) or not found


def test_find_adoptions_requires_most_records_to_match_unless_expected() -> None:
    unknown = [completion(f"new-{place}") for place in range(5)]
    two = {"new-0": [("1", "t")], "new-1": [("2", "t")]}
    three = {**two, "new-2": [("3", "t")]}
    assert find_adoptions(unknown, two, (), expected=False) == []
    assert find_adoptions(unknown, three, (), expected=False) == [
        Adoption(key, completion(new)) for key, new in (("1", "new-0"), ("2", "new-1"), ("3", "new-2"))
    ]
    assert len(find_adoptions(unknown, two, (), expected=True)) == 2


def test_find_adoptions_matches_another_training_only_if_expected() -> None:
    alike = {"new": [("1", "other")]}
    assert find_adoptions([completion("new")], alike, (), expected=False) == []
    assert find_adoptions([completion("new")], alike, (), expected=True) == [Adoption("1", completion("new"))]
