"""Which of the waiting deliveries travel together in one request. Pure decisions."""

from collections.abc import Sequence
from dataclasses import dataclass

from notifier.deliver.destination import Grouping
from notifier.deliver.policy import group_limit
from notifier.ledger.outbox import Delivery

MOST_IN_A_DIGEST = 1000
MOST_TOGETHER = 50
"""What belongs together is divided all the same when it is more than this."""


@dataclass(frozen=True, slots=True)
class Group:
    """How many of the waiting deliveries, from the front, go now; 0 with the seconds to wait for company."""

    count: int
    wait: float = 0.0


def next_group(waiting: Sequence[Delivery], grouping: Grouping, waited: float) -> Group:
    """Decide how many of `waiting` (in order, not empty) make the next request.

    `waited` is how long (seconds) the first of them has been ready. A delivery that may have spoiled a request before
    travels with fewer others each time, so that a poisonous one ends up alone.
    """
    if grouping.size == 1 and grouping.digest_above is None:
        return Group(1)
    size = grouping.size
    if grouping.digest_above is not None and len(waiting) > grouping.digest_above:
        size = MOST_IN_A_DIGEST
    limit = size
    count = 0
    for delivery in waiting:
        smaller = min(limit, group_limit(size, delivery.suspicions)) if delivery.suspicions else limit
        if count >= smaller:
            break
        limit = smaller
        count += 1
    # Whoever has failed before has waited long enough.
    fresh = count == len(waiting) < limit and all(delivery.attempts == 0 for delivery in waiting)
    if fresh and waited < grouping.wait:
        return Group(0, grouping.wait - waited)
    if count == grouping.size and not any(waiting[place].suspicions for place in range(count)):
        return Group(_undivided(waiting, count, grouping))
    return Group(count)


def _undivided(waiting: Sequence[Delivery], count: int, grouping: Grouping) -> int:
    """Return where to end a group instead of after `count`, so that what belongs together is not divided."""
    if grouping.together is None or count == len(waiting):
        return count
    belongs = grouping.together(waiting[count].event)
    begin = count
    while belongs is not None and begin and grouping.together(waiting[begin - 1].event) == belongs:
        begin -= 1
    if begin:
        return begin
    for end in range(count, min(len(waiting), MOST_TOGETHER)):
        if waiting[end].suspicions or grouping.together(waiting[end].event) != belongs:
            return end
    return min(len(waiting), MOST_TOGETHER)
