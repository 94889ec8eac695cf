"""When to ask again: the pauses after a failure, and when a sweep or a search is due. Pure decisions."""

from dataclasses import dataclass

from notifier.kpa.failures import ApiFailure, Reason, Remedy
from notifier.ledger.sweeps import Sweep

OPERATOR_PAUSE = 600.0
"""Seconds between two tries while only an operator can help."""

SEARCH_AGAIN_AFTER = 3600.0
"""Seconds between two searches, and two sweeps, for a difference that the first could not explain."""


def pause_after(failure: ApiFailure, rate_limit_pause: float) -> float:
    """Return the seconds during which a source is left alone after a failure; 0.0: until its next round."""
    if failure.reason is Reason.RATE_LIMIT_EXCEEDED:
        return rate_limit_pause
    if failure.remedy is Remedy.OPERATOR:
        return OPERATOR_PAUSE
    return min(failure.retry_after or 0.0, OPERATOR_PAUSE)


def sweep_is_due(latest: Sweep | None, interval: float, now_ms: int) -> bool:
    """Tell whether a sweep must begin or go on: there was none, it is unfinished, or it began an interval ago.

    One that began in the future was noted by a clock that has been set back since, and counts as long ago.
    """
    if latest is None or latest.finished_ms is None:
        return True
    return not 0 <= now_ms - latest.started_ms < interval * 1000


def silence_left(silent_until_ms: int | None, longest: float, now_ms: int) -> float:
    """Return the seconds of a remembered silence that are left, at most `longest` if the clock was set back."""
    if silent_until_ms is None:
        return 0.0
    return min(max(0.0, (silent_until_ms - now_ms) / 1000), longest)


@dataclass(frozen=True, slots=True)
class SearchedInVain:
    """A difference between the API's count and the known records that a search could not explain, and when."""

    difference: int
    at: float


def search_is_due(difference: int, last: SearchedInVain | None, now: float) -> bool:
    """Tell whether to search for what makes the API's count differ: not again for the same difference within an hour.

    `now` is in monotonic seconds.
    """
    if last is None or last.difference != difference:
        return difference != 0
    return now - last.at >= SEARCH_AGAIN_AFTER
