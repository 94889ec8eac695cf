"""Spot checks: the request that asks for the count looks at a place where a day begins, and sees whether it moved.

An entry and a deletion leave the count as it was; but between the places of the two every record stands one place
higher or lower. Any one-record page tells the count, so the look costs nothing.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from notifier.completions import Net
from notifier.kpa.budget import Urgency
from notifier.ledger import days
from notifier.ledger.days import Landmark
from notifier.ledger.ledger import Ledger
from notifier.watch.count import told_by
from notifier.watch.reader import Reader
from notifier.watch.stretches import Day, day_of

Chance = Callable[[], float]
"""Draws a number from 0 up to, without, 1."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in the list, from 1 on, and the day of the record that stands there unless the list has moved."""

    place: int
    day: Day


@dataclass(frozen=True, slots=True)
class Look:
    """What a look came to: the API's count, if it told, and the place where the list has moved, if it has."""

    count: int | None
    moved_at: int | None = None


def spot_at(landmark: Landmark, chance: float) -> Spot:
    """Choose one of the two records beside the place where a day begins.

    The first of the day tells whether the list moved down, the last one of the day above whether it moved up.
    """
    if chance < 1 / 2:
        return Spot(landmark.above + 1, day_of(landmark.day))
    return Spot(landmark.above, day_of(landmark.day_above))


class SpotCheck:
    """Looks at one source's list, at a place chosen by chance. Raises ApiFailure and LedgerError."""

    def __init__(self, source: str, reader: Reader, ledger: Ledger, chance: Chance = random.random) -> None:
        self._source = source
        self._reader = reader
        self._ledger = ledger
        self._chance = chance

    async def look(self) -> Look:
        """Ask for the record at some place, and with it for the count."""
        landmark = await self._ledger.run(days.landmark, self._source, self._chance())
        if landmark is None:
            return Look(await self._reader.count())
        spot = spot_at(landmark, self._chance())
        page = await self._reader.fetch(spot.place, Urgency.LOCATION, limit=1)
        await self._reader.take(page, Net.COUNT)
        count = told_by(page).exactly
        if count is None:
            return Look(await self._reader.count())
        moved = any(day_of(completion.completed_on) != spot.day for completion in page.completions)
        return Look(count, spot.place if moved else None)
