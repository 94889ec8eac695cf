"""Which of the waiting deliveries travel together in one request. Pure decisions."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from notifier.deliver.destination import Grouping
from notifier.deliver.policy import group_limit
from notifier.ledger.outbox import Delivery

MOST_IN_A_DIGEST = 1000


@dataclass(frozen=True, slots=True)
class Group:
    """How many of the waiting deliveries, from the front, go now; 0 with the seconds to wait for company."""

    count: int
    wait: float = 0.0


def next_group(waiting: Sequence[Delivery], grouping: Grouping, waited: float) -> Group:
    """Decide how many of `waiting` (in order, not empty) make the next request.

    `waited` is how long (seconds) the first of them has been ready. A delivery that has failed before
    travels with fewer others each time, so that a poisonous one ends up alone.
    """
    size = grouping.size
    if grouping.digest_above is not None and len(waiting) > grouping.digest_above:
        size = MOST_IN_A_DIGEST
    limit = group_limit(size, waiting[0].attempts)
    fitting = takewhile(
        lambda numbered: numbered[0] < min(limit, group_limit(size, numbered[1].attempts)), enumerate(waiting)
    )
    count = sum(1 for _ in fitting)
    fresh = count == len(waiting) and count < limit and waiting[0].attempts == 0
    if fresh and waited < grouping.wait:
        return Group(0, grouping.wait - waited)
    return Group(count)
