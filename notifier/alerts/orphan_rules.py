"""The conditions of deliveries to destinations that are no longer configured. Pure, except `report`."""

import logging
from collections.abc import Iterable, Iterator

from notifier.alerts.conditions import Condition, ConditionName, destination_subject
from notifier.store.queries.orphans import Orphan

_log = logging.getLogger(__name__)


def sentence(orphan: Orphan) -> str:
    """Return a sentence with the number of events that wait for an unconfigured destination, and the remedies."""
    name = orphan.destination
    waiting = f"{orphan.pending:,} {'event waits' if orphan.pending == 1 else 'events wait'}"
    given_up = f" ({orphan.dead:,} more were given up)" if orphan.dead else ""
    return (
        f"{waiting} for `{name}`, which is not configured{given_up}:"
        f" name it again, hand them over with `notifier deliveries move {name} OTHER`, or drop them with"
        f" `notifier deliveries drop {name} --yes`"
    )


def conditions(orphans: Iterable[Orphan]) -> Iterator[Condition]:
    """Yield a condition for each unconfigured destination for which events wait."""
    for orphan in orphans:
        if orphan.pending:
            yield Condition(
                ConditionName.DELIVERIES_ORPHANED, destination_subject(orphan.destination), sentence(orphan)
            )


def report(orphans: Iterable[Orphan]) -> None:
    """Log the unconfigured destinations for which events wait; called at the start and after each reload."""
    for orphan in orphans:
        if orphan.pending:
            _log.warning(sentence(orphan), extra={"destination": orphan.destination, "deliveries": orphan.pending})
