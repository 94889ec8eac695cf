"""A compact set of the numbers by which the store identifies records."""

from collections.abc import Sequence


class NumberSet:
    """A set of numbers that takes one byte for each number up to the largest; a Python set of a million takes 60 MB."""

    def __init__(self) -> None:
        self._marks = bytearray()

    def __contains__(self, number: int) -> bool:
        """Return whether the set has this number."""
        return number < len(self._marks) and self._marks[number] == 1

    def add(self, numbers: Sequence[int]) -> None:
        """Add these numbers to the set."""
        if not numbers:
            return
        marks = self._marks
        marks.extend(bytes(max(0, max(numbers) + 1 - len(marks))))
        for number in numbers:
            marks[number] = 1

    def absent(self, numbers: Sequence[int]) -> list[int]:
        """Return the given numbers that are not in the set, in order."""
        marks, end = self._marks, len(self._marks)
        return [number for number in numbers if number >= end or not marks[number]]
