"""Keeps records sorted, so that any page of a list is one slice, even in a list of a million records."""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from notifier.sandbox.records import Record

Order = Callable[[Record], int]
"""Returns the sort key of a record, a unique number. The record with the highest number is at the top of the list."""

_TIE_BITS = 64
_TIE_MASK = (1 << _TIE_BITS) - 1
_RESORT_SHARE = 1 / 16
"""If new records are at least this share of the list, sorting the list is faster than inserting each new record."""


def newest_entry_first(record: Record) -> int:
    """Return the sort key of a record: by completion date and, among equal dates, by the order of entry."""
    return record.date_number << _TIE_BITS | record.id


def shuffled_ties(seed: int) -> Order:
    """Return a sort key function: by completion date and, among equal dates, in a random order given by `seed`."""

    def place(record: Record) -> int:
        return record.date_number << _TIE_BITS | scramble(record.id + seed * 0x9E3779B97F4A7C15)

    return place


@lru_cache(maxsize=2**16)
def scramble(number: int) -> int:
    """Map a 64-bit number to another one that looks random; no two numbers give the same result.

    This is the final step of SplitMix64. Results are cached, because some faults map the ids of the whole list for each
    request.
    """
    number &= _TIE_MASK
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & _TIE_MASK
    number = (number ^ number >> 27) * 0x94D049BB133111EB & _TIE_MASK
    return number ^ number >> 31


class SortedRecords:
    """Records sorted by `order`; the record with the highest sort key comes first."""

    def __init__(self, order: Order) -> None:
        self._order = order
        # Stored in reverse: almost all new records have the highest sort key, and appending to a list is cheap.
        self._records: list[Record] = []

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        """Iterate over the records, highest sort key first."""
        return reversed(self._records)

    def add(self, record: Record) -> None:
        """Insert one record at its place."""
        insort(self._records, record, key=self._order)

    def add_many(self, records: Sequence[Record]) -> None:
        """Insert records at their places. This is fast for few and for many records."""
        if len(records) < len(self) * _RESORT_SHARE:
            for record in records:
                self.add(record)
        else:
            self._records += records
            self._records.sort(key=self._order)

    def remove(self, record: Record) -> None:
        """Remove a record, which must be among these records."""
        del self._records[bisect_left(self._records, self._order(record), key=self._order)]

    def reorder(self, order: Order) -> None:
        """Sort the records by `order` from now on."""
        self._order = order
        self._records.sort(key=order)

    def slice(self, start: int, stop: int) -> list[Record]:
        """Return the records from position `start` up to, but not including, position `stop`."""
        end = len(self)
        return self._records[max(end - stop, 0) : max(end - start, 0)][::-1]
