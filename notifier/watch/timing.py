"""Decides when to send the next request after a failure, and when a sweep is due. Pure functions."""

from notifier.kpa.errors import ApiError, ApiErrorReason, Remedy
from notifier.store.tables.sweeps import Sweep


def pause_after(failure: ApiError, rate_limit_pause: float, operator_pause: float) -> float:
    """Return for how many seconds to pause after a failure; 0.0 means that the next round is not delayed."""
    if failure.reason is ApiErrorReason.RATE_LIMIT_EXCEEDED:
        return rate_limit_pause
    if failure.remedy is Remedy.OPERATOR:
        return operator_pause
    return min(failure.retry_after or 0.0, operator_pause)


def sweep_is_due(latest: Sweep | None, interval: float, now_ms: int) -> bool:
    """Return whether to start or continue a sweep.

    A sweep is due if there was none, if the latest is unfinished, or if it began at least `interval` seconds ago. A
    sweep is also due if the latest began in the future, because the clock was set back.
    """
    if latest is None or latest.finished_ms is None:
        return True
    return not 0 <= now_ms - latest.started_ms < interval * 1000


def silence_left(silent_until_ms: int | None, longest: float, now_ms: int) -> float:
    """Return how many seconds of a stored silence are left: at most `longest`, in case the clock was set back."""
    if silent_until_ms is None:
        return 0.0
    return min(max(0.0, (silent_until_ms - now_ms) / 1000), longest)
