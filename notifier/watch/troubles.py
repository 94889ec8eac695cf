"""What people must be told of a source: that it is out of reach, or that not everything is seen. Pure decisions."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from notifier.clock import iso_utc
from notifier.conditions import Condition, ConditionName, Key, source_subject
from notifier.config import SourceSettings
from notifier.kpa.failures import Reason
from notifier.ledger.sources import SourceMemory

FAILING_FOR = 900.0
"""Seconds without a successful poll after which people are told, where three poll intervals are not longer."""

_MOST_POLLS = 3
_MOST_SWEEPS = 2

_POOL_USED_UP = (
    "the API's limit of about 80 requests a minute, which all of the customer's integrations share, is exceeded again"
    " and again; lower `requests_per_minute` here, or let the other integrations ask for less"
)


@dataclass(frozen=True, slots=True)
class Polls:
    """How a source's polls have gone since this process began.

    `without_success` are the seconds since the last one that succeeded, or since the beginning where none has.
    """

    without_success: float
    any_succeeded: bool


def conditions(
    source: str, memory: SourceMemory, settings: SourceSettings, polls: Polls, firing: Collection[Key], now_ms: int
) -> Iterator[Condition]:
    """Yield what is wrong with a source, by what is remembered of it; `firing` is what was wrong until now."""
    subject = source_subject(source)
    stands = (ConditionName.SOURCE_FAILING, subject) in firing
    if fails_for_long(polls, settings.poll_interval, stands=stands):
        yield Condition(ConditionName.SOURCE_FAILING, subject, f"{source}: {_failure(memory)}")
    if reason := gap(memory, settings.sweep_interval, now_ms):
        yield Condition(ConditionName.GAP, subject, f"{source}: {reason}")
    if memory.held:
        yield Condition(
            ConditionName.REMOVALS_HELD,
            subject,
            f"{source}: {memory.held:,} of {memory.records:,} known records are gone from the list at once, so their"
            " removal is held back; look for a filter or a permission that has changed. If they were really deleted,"
            f" set `hold_removals_above` higher and run `notifier sweep {source}`",
        )


def fails_for_long(polls: Polls, poll_interval: float, *, stands: bool) -> bool:
    """Tell whether a source has failed, or was left alone for its rate limit, for so long that people must know.

    Only time in which this process ran counts, so that no stop, however long, is taken for a failure. What stood
    (`stands`) when the process began goes on until a poll succeeds.
    """
    if stands and not polls.any_succeeded:
        return True
    return polls.without_success >= max(FAILING_FOR, _MOST_POLLS * poll_interval)


def _failure(memory: SourceMemory) -> str:
    """Say since when no poll has succeeded, why, and what to do.

    A rate limit is no condition of its own: a source out of reach may fail in turns of both kinds.
    """
    error, success_ms = memory.error, memory.last_success_ms
    since = "no poll has succeeded " + ("yet" if success_ms is None else f"since {iso_utc(success_ms)}")
    if error is None or error.at_ms < (success_ms or 0):
        return f"{since}; the log may tell why"
    return f"{since}: {_POOL_USED_UP if error.reason == Reason.RATE_LIMIT_EXCEEDED else error.message}"


def gap(memory: SourceMemory, sweep_interval: float, now_ms: int) -> str | None:
    """Say why it cannot be proven that everything was seen; None when it can.

    Only a whole sweep proves it; before the first meeting there is nothing to miss. `sweep_interval` is in seconds.
    """
    if memory.met_at_ms is None:
        return None
    proven_ms = memory.swept_at_ms or memory.met_at_ms
    if now_ms - proven_ms > _MOST_SWEEPS * sweep_interval * 1000:
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
