"""That the state file was damaged and had to be rebuilt, as people are told of it. A pure decision."""

from collections.abc import Collection, Iterator

from notifier.clock import iso_utc
from notifier.conditions import STORE, Condition, ConditionName
from notifier.ledger.rebuilding.rebuilds import Rebuild
from notifier.ledger.sources import SourceMemory


def conditions(rebuild: Rebuild | None, watched: Collection[SourceMemory]) -> Iterator[Condition]:
    """Yield `state_rebuilt` until every source has been swept since: then all that there is is known again."""
    if rebuild is None or all((source.swept_at_ms or 0) > rebuild.at_ms for source in watched):
        return
    if rebuild.set_aside is None:
        old = "nothing was left of it"
    else:
        old = f"it lies in {rebuild.set_aside}, and may be deleted once nobody wants to look into it"
    lost = "nothing was lost" if rebuild.lost == "nothing" else f"what could not be read: {rebuild.lost}"
    yield Condition(
        ConditionName.STATE_REBUILT,
        STORE,
        f"the state file was damaged ({rebuild.problem}) and was rebuilt at {iso_utc(rebuild.at_ms)}; {lost}; {old}."
        " Events go on under the same ids. This ends when every source has been swept; check the disk",
    )
