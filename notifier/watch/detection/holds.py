"""Decides when to hold changes back: removals, late arrivals of old records, or changes of one field. Pure.

Many such changes at once are probably an error in a filter, a permission or the API. A condition reports them. The hold
ends when an operator releases the changes, or when the records are again as they were before.
"""

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct, field


class Direction(StrEnum):
    """The kinds of changes that can be held back, as `notifier release` names them."""

    REMOVALS = "removals"
    ARRIVALS = "arrivals"
    CHANGES = "changes"


def hold_limit(above: float, known: int, few: int) -> int:
    """Return how many changes may be announced at once; if there are more, they are held back.

    `above` is the configured limit: below 1, a share of the `known` records; otherwise, a number of changes. The result
    is at least `few`.
    """
    return max(few, int(above * known) if above < 1 else int(above))


class HoldLimits(Struct, frozen=True):
    """How many arrivals, and changes of one field, may be announced in one sweep or time window."""

    arrivals: int
    changes: int


class Tally(Struct):
    """The number of arrivals, and of changes of each field, since `begun_at` (monotonic seconds)."""

    begun_at: float
    arrivals: int = 0
    changes: Counter[str] = field(default_factory=Counter)

    def add(self, arrivals: int, changes: Mapping[str, int]) -> None:
        """Add the arrivals and changes of an answer."""
        self.arrivals += arrivals
        self.changes.update(changes)


def must_hold_arrivals(arrivals: int, counted: int, limit: int, *, held_already: bool) -> bool:
    """Return whether to hold back the arrivals of an answer.

    `counted` is the number of arrivals in earlier answers of this sweep or time window. `held_already` means that
    earlier arrivals are held back.
    """
    return arrivals > 0 and (held_already or counted + arrivals > limit)


def fields_to_hold(
    changed: Mapping[str, int], counted: Mapping[str, int], limit: int, held_already: str | None
) -> set[str]:
    """Return the fields whose changes are held back.

    `changed` counts the changed records of this answer by field, `counted` those of earlier answers (of this sweep or
    time window). `held_already` is a field that is held back already.
    """
    return {name for name, records in changed.items() if name == held_already or counted.get(name, 0) + records > limit}
