"""The keys of records of version 1, which has no ids: equal records are distinguished by number and content."""

from hypothesis import given
from hypothesis import strategies as st

from notifier.events import Completion, fingerprint
from notifier.kpa.v1_keys import (
    assign_keys,
    assign_keys_of_answer,
    bases_at_ends,
    group_by_base,
    key_base,
    key_number,
    key_without_id,
    numbered_key,
)
from notifier.store.tables.record_lookups import StoredRecord

BASE = "v1-0123456789abcdef"
OTHER = "v1-fedcba9876543210"


def record(content: int, number: int = 1, base: str = BASE) -> Completion:
    key = numbered_key(base, number)
    return Completion(key, "t", "u", None, None, 1, None, None, None, None, b"%d" % content)


def known(contents: list[int], removed: frozenset[int] = frozenset()) -> dict[str, StoredRecord]:
    return {
        numbered_key(BASE, number): StoredRecord(1, fingerprint(b"%d" % content), number in removed)
        for number, content in enumerate(contents, start=1)
    }


contents = st.lists(st.integers(0, 4), max_size=6)


@given(contents, contents)
def test_assign_keys_complete_gives_each_record_a_key_with_the_fewest_changes(api: list[int], store: list[int]) -> None:
    assigned = assign_keys([record(content) for content in api], known(store), complete=True)
    keys = [one.key for one in assigned.assigned]
    assert assigned.unclear == ()
    assert len(keys) == len(set(keys)) == len(api)
    assert sorted(one.raw for one in assigned.assigned) == sorted(b"%d" % content for content in api)
    same = sum(min(api.count(content), store.count(content)) for content in set(api))
    before = {key: memory.fingerprint for key, memory in known(store).items()}
    assert sum(before.get(one.key) == fingerprint(one.raw) for one in assigned.assigned) == same
    assert len(set(keys) - set(before)) == max(0, len(api) - len(store))


@given(contents, contents, st.sets(st.integers(1, 6)))
def test_assign_keys_incomplete_never_gives_a_known_key_to_another_record(
    page: list[int], store: list[int], removed: set[int]
) -> None:
    memory = known(store, frozenset(removed))
    assigned = assign_keys([record(content) for content in page], memory, complete=False)
    for one in assigned.assigned:
        assert one.key not in memory or memory[one.key].fingerprint == fingerprint(one.raw)
    assert len(assigned.assigned) + len(assigned.unclear) == len(page)


def test_assign_keys_of_answer_that_is_not_whole_believes_a_repeated_record_once() -> None:
    twice = [record(1), record(1)]
    for memory, keys in ((known([1]), [BASE]), (known([]), [BASE]), (known([1, 1], frozenset({2})), [BASE])):
        assert [one.key for one in assign_keys_of_answer(twice, memory, is_whole=False)] == keys
    assert len(assign_keys_of_answer(twice, known([1]), is_whole=True)) == 2


def test_assign_keys_of_answer_that_is_not_whole_gives_no_key_to_a_record_that_may_be_a_changed_one() -> None:
    assert assign_keys_of_answer([record(1), record(2)], known([3]), is_whole=False) == ()


def test_assign_keys_of_answer_that_is_not_whole_finds_an_unchanged_record_at_any_place() -> None:
    [found] = assign_keys_of_answer([record(2), record(1)], known([1]), is_whole=False)
    assert (found.key, found.raw) == (BASE, record(1).raw)


@given(contents, contents, st.sets(st.integers(1, 6)))
def test_assign_keys_of_answer_that_is_not_whole_never_adds_an_equal_record(
    answer: list[int], store: list[int], removed: set[int]
) -> None:
    memory = known(store, frozenset(removed))
    existing = sum(not each.removed for each in memory.values())
    assigned = assign_keys_of_answer([record(content) for content in answer], memory, is_whole=False)
    assert len(assigned) <= max(1, existing)
    assert existing == 0 or all(one.key in memory for one in assigned)


def test_assign_keys_gives_a_returned_record_its_earlier_key() -> None:
    [back] = assign_keys([record(7)], known([7], removed=frozenset({1})), complete=False).assigned
    assert back.key == BASE


def test_assign_keys_prefers_a_present_record_to_a_removed_equal_one() -> None:
    [one] = assign_keys([record(7)], known([7, 7], removed=frozenset({1})), complete=False).assigned
    assert one.key == numbered_key(BASE, 2)


def test_assign_keys_continues_after_the_highest_known_number() -> None:
    assigned = assign_keys([record(1), record(2), record(3)], known([1, 2]), complete=False)
    assert [one.key for one in assigned.assigned] == [BASE, f"{BASE}-2", f"{BASE}-3"]


@given(st.integers(1, 10**6))
def test_numbered_key_keeps_its_base_and_number(number: int) -> None:
    key = numbered_key(BASE, number)
    assert (key_base(key), key_number(key)) == (BASE, number)
    assert numbered_key(key, 1) == BASE


def test_key_without_id_is_derived_from_person_training_and_moment() -> None:
    key = key_without_id("u", "t", 5)
    assert key == key_base(key) == key_without_id("u", "t", 5)
    assert len({key, key_without_id("t", "u", 5), key_without_id("u", "t", 6), key_without_id("u", "t", None)}) == 4


@given(st.lists(st.tuples(st.sampled_from([BASE, OTHER]), st.integers(1, 3)), max_size=8))
def test_group_by_base_keeps_every_record_in_order(keys: list[tuple[str, int]]) -> None:
    page = [record(place, number, base) for place, (base, number) in enumerate(keys)]
    groups = group_by_base(page)
    assert all(groups[base] == [one for one in page if key_base(one.key) == base] for base in groups)
    assert sum(map(len, groups.values())) == len(page)


def test_bases_at_ends_returns_the_bases_of_equal_records_at_an_end() -> None:
    def page(*bases: str) -> list[Completion]:
        return [record(place, base=base) for place, base in enumerate(bases)]

    assert bases_at_ends([]) == bases_at_ends(page(BASE)) == bases_at_ends(page(BASE, OTHER)) == frozenset()
    assert bases_at_ends(page(BASE, BASE, OTHER)) == bases_at_ends(page(OTHER, BASE, BASE)) == {BASE}
    assert bases_at_ends(page(OTHER, BASE, BASE, "v1-0000000000000000")) == frozenset()
