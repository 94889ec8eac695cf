"""A set of numbers that takes one byte for each number up to the largest."""

from array import array

from hypothesis import given
from hypothesis import strategies as st

from notifier.watch.detection.number_set import NumberSet

numbers = st.lists(st.integers(0, 3000))


@given(st.lists(numbers), numbers)
def test_number_set_contains_exactly_the_added_numbers(added: list[list[int]], asked: list[int]) -> None:
    known, expected = NumberSet(), {number for some in added for number in some}
    for some in added:
        known.add(array("q", some))
    assert [number in known for number in asked] == [number in expected for number in asked]
    assert known.absent(asked) == [number for number in asked if number not in expected]
