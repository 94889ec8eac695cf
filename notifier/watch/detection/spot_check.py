"""Spot checks: the request for the count reads a place where a day begins, to see whether it has moved. Pure.

An entry and a deletion together leave the count unchanged, but all records between the two places move by one. Every
page of one record states the count, so the check needs no request of its own. An entry and a deletion on neighbouring
days are found only by chance, those on the same day by the next sweep.
"""

from dataclasses import dataclass

from notifier.store.tables.records_by_date import DayBoundary
from notifier.watch.detection.bisection import Day, day_of


@dataclass(frozen=True, slots=True)
class Probe:
    """A place in the list, from 1, and the day of the record there if the list has not moved."""

    place: int
    day: Day


def probe_at(boundary: DayBoundary, chance: float) -> Probe:
    """Return one of the two records next to the beginning of a day; `chance` is in [0, 1).

    The first record of the day shows whether the list has moved down. The last record of the day above shows whether it
    has moved up.
    """
    if chance < 1 / 2:
        return Probe(boundary.above + 1, day_of(boundary.day))
    return Probe(boundary.above, day_of(boundary.day_above))
