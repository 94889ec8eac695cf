"""Records kept in the order of the list, so that a page anywhere in a million of them is one slice."""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence

from notifier.sandbox.records import Record

Order = Callable[[Record], int]
"""A record's place as a number that no other record has: the higher, the nearer to the top of the list."""

_TIE_BITS = 64
_TIE_MASK = (1 << _TIE_BITS) - 1
_SORT_FROM = 1 / 16
"""From this share of new records on, sorting everything is cheaper than finding a place for each."""


def newest_entry_first(record: Record) -> int:
    """Order by completion date, and what was entered last first among equal dates."""
    return record.date_number << _TIE_BITS | record.id


def shuffled_ties(seed: int) -> Order:
    """Order by completion date, and without recognisable order among equal dates; each seed gives another one."""

    def place(record: Record) -> int:
        return record.date_number << _TIE_BITS | _scrambled(record.id + seed * 0x9E3779B97F4A7C15)

    return place


def _scrambled(number: int) -> int:
    """Map 64-bit numbers one to one onto others that look random (the finishing step of SplitMix64)."""
    number &= _TIE_MASK
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & _TIE_MASK
    number = (number ^ number >> 27) * 0x94D049BB133111EB & _TIE_MASK
    return number ^ number >> 31


class Shelf:
    """Some records in the order of the list, top first."""

    def __init__(self, order: Order) -> None:
        self._order = order
        # Bottom first: almost everything new goes to the top, and a list grows cheaply only at its end.
        self._records: list[Record] = []

    def __len__(self) -> int:
        """Count the records."""
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        """Iterate from the top."""
        return reversed(self._records)

    def add(self, record: Record) -> None:
        """Put one record where it belongs."""
        insort(self._records, record, key=self._order)

    def add_many(self, records: Sequence[Record]) -> None:
        """Put many records where they belong, few or many at a time."""
        if len(records) < len(self) * _SORT_FROM:
            for record in records:
                self.add(record)
        else:
            self._records += records
            self._records.sort(key=self._order)

    def remove(self, record: Record) -> None:
        """Take out a record that stands here."""
        del self._records[bisect_left(self._records, self._order(record), key=self._order)]

    def reorder(self, order: Order) -> None:
        """Put every record where `order` wants it."""
        self._order = order
        self._records.sort(key=order)

    def slice(self, start: int, stop: int) -> list[Record]:
        """Return the records from position `start` up to, without, `stop`, counted from the top."""
        end = len(self)
        return self._records[max(end - stop, 0) : max(end - start, 0)][::-1]
