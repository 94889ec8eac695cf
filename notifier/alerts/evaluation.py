"""The latest evaluation of the conditions, which the status, the dashboard and the metrics show."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct, field

from notifier.alerts.conditions import Condition, ConditionKey
from notifier.store.tables.conditions import StoredCondition

STALE_AFTER_SECONDS: Final = 120.0
"""The age at which an evaluation is too old to be used. The daemon makes a new evaluation every half minute."""

UNDELIVERED_AFTER_SECONDS: Final = 900.0
"""How long an alert may wait before the heartbeat stops. A stopped heartbeat is the last way to report a problem."""


class EvaluationFindings(Struct, frozen=True):
    """What an evaluation has found: the conditions that hold now, and those that are withdrawn or unknown."""

    conditions: Collection[Condition] = ()
    withdrawn: Mapping[ConditionKey, str] = field(default_factory=lambda: MappingProxyType({}))
    """The reason for each withdrawal, by the condition's key."""
    unknown: Collection[ConditionKey] = ()
    """The keys of conditions that this process cannot judge yet. If such a condition fires, it does not end."""


class Evaluation(Struct, frozen=True):
    """One evaluation: when it was made, the firing conditions, and the destination of alerts ("" for none)."""

    at_ms: int
    """The time of the evaluation in Unix milliseconds."""
    at_seconds: float
    """The same time in seconds of the monotonic clock."""
    firing: tuple[StoredCondition, ...] = ()
    alerts_to: str = ""
    undelivered_seconds: float | None = None
    """How long the oldest alert has waited; None if no alert waits."""
    refusal_reason: str | None = None
    """Why the destination last refused a waiting alert; None if it has not refused any."""

    @property
    def is_alert_overdue(self) -> bool:
        """Whether an alert has waited for UNDELIVERED_AFTER_SECONDS or longer."""
        return self.undelivered_seconds is not None and self.undelivered_seconds >= UNDELIVERED_AFTER_SECONDS

    def is_stale(self, now: float) -> bool:
        """Return whether the evaluation is too old to be used; `now` is in monotonic seconds."""
        return now - self.at_seconds > STALE_AFTER_SECONDS

    def reports_problems(self, now: float) -> bool:
        """Return whether a problem would be reported: the evaluation is recent, and alerts are delivered.

        Otherwise, the heartbeat must stop.
        """
        return not self.is_alert_overdue and not self.is_stale(now)

    def is_healthy(self, now: float) -> bool:
        """Return whether the evaluation is recent, no condition fires, and alerts are delivered."""
        return not self.firing and self.reports_problems(now)


def readiness_problems(evaluation: Evaluation | None, now: float) -> dict[str, str]:
    """Return the problems that keep the daemon from being ready: a sentence for each key.

    The key is `alerts` for an overdue alert, and `evaluation` for a stale evaluation. If there is no evaluation yet
    (None), the result is empty.
    """
    if evaluation is None:
        return {}
    found = {}
    if evaluation.is_alert_overdue:
        found["alerts"] = (
            f"an alert for {evaluation.alerts_to} has waited for {evaluation.undelivered_seconds or 0.0:.0f} seconds to"
            " be delivered; `notifier status` shows the active conditions"
        )
    if evaluation.is_stale(now):
        found["evaluation"] = f"the notifier has not evaluated its state for {now - evaluation.at_seconds:.0f} seconds"
    return found
