"""What people must be told of a source: that not everything can be proven to be seen. Pure decisions."""

from collections.abc import Iterator

from notifier.clock import iso_utc
from notifier.conditions import Condition, ConditionName, source_subject
from notifier.ledger.sources import SourceMemory

_MOST_INTERVALS = 2


def conditions(source: str, memory: SourceMemory, sweep_interval: float, now_ms: int) -> Iterator[Condition]:
    """Yield what is wrong with a source, by what is remembered of it; `sweep_interval` is in seconds."""
    subject = source_subject(source)
    if reason := gap(memory, sweep_interval, now_ms):
        yield Condition(ConditionName.GAP, subject, f"{source}: {reason}")
    if memory.held:
        yield Condition(
            ConditionName.REMOVALS_HELD,
            subject,
            f"{source}: {memory.held:,} of {memory.records:,} known records are gone from the list at once, so their"
            " removal is held back; look for a filter or a permission that has changed. If they were really deleted,"
            f" set `hold_removals_above` higher and run `notifier sweep {source}`",
        )


def gap(memory: SourceMemory, sweep_interval: float, now_ms: int) -> str | None:
    """Say why it cannot be proven that everything was seen; None when it can.

    Only a whole sweep proves it; before the first meeting there is nothing to miss.
    """
    if memory.met_at_ms is None:
        return None
    proven_ms = memory.swept_at_ms or memory.met_at_ms
    if now_ms - proven_ms > _MOST_INTERVALS * sweep_interval * 1000:
        return (
            f"no sweep has read the whole list since {iso_utc(proven_ms)}: what was entered, changed or removed below"
            " the first page may have gone unseen; the last error in `notifier status` may tell why"
        )
    if memory.gap_since_ms is not None:
        return (
            f"before {iso_utc(memory.gap_since_ms)} it was not read for longer than the retention: what was entered and"
            " removed in that time was never seen; a whole sweep finds the rest"
        )
    return None
