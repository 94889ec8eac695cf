"""Counters and histograms with labels, as Prometheus understands them, without its library.

They are changed on the event loop, and may be read in a thread meanwhile.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

Labels = tuple[str, ...]


class Counter:
    """A number that only grows, for each combination of labels."""

    def __init__(self, name: str, description: str, labels: Sequence[str]) -> None:
        """Initialize with the name, which is without `_total`, and the names of the labels."""
        self.name = name
        self.description = description
        self.labels = labels
        self._values: dict[Labels, float] = {}

    def begin(self, *labels: str) -> None:
        """Begin a series at 0, unless it exists."""
        self._values.setdefault(labels, 0.0)

    def count(self, *labels: str, times: int = 1) -> None:
        """Count something, once or several times."""
        self._values[labels] = self._values.get(labels, 0.0) + times

    def forget(self, name: str) -> None:
        """Remove the series whose first label has this value."""
        for labels in [labels for labels in self._values if labels[0] == name]:
            del self._values[labels]

    def values(self) -> Iterator[tuple[Labels, float]]:
        """Yield the labels and the number of each series."""
        yield from list(self._values.items())


class Histogram:
    """How many observed values lie at or below each bound, and their sum, for each combination of labels."""

    def __init__(self, name: str, description: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        """Initialize with the name, the names of the labels, and the bounds in rising order, without infinity."""
        self.name = name
        self.description = description
        self.labels = labels
        self.bounds = bounds
        self._buckets: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}
        if not labels:
            self.begin()

    def begin(self, *labels: str) -> None:
        """Begin a series without a value, unless it exists."""
        self._sums.setdefault(labels, 0.0)
        self._buckets.setdefault(labels, [0] * (len(self.bounds) + 1))

    def observe(self, value: float, *labels: str) -> None:
        """Take a value into a series that has begun."""
        self._buckets[labels][bisect_left(self.bounds, value)] += 1
        self._sums[labels] += value

    def forget(self, name: str) -> None:
        """Remove the series whose first label has this value."""
        for labels in [labels for labels in self._buckets if labels[0] == name]:
            del self._buckets[labels], self._sums[labels]

    def values(self) -> Iterator[tuple[Labels, Sequence[int], float]]:
        """Yield for each series its labels, the number of values up to each bound and up to infinity, and their sum."""
        for labels, buckets in list(self._buckets.items()):
            yield labels, list(accumulate(list(buckets))), self._sums.get(labels, 0.0)
