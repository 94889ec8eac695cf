"""The conditions that alerts (`notifier.alert`) and `/v1/status` report: their names, subjects and fields."""

from enum import StrEnum

from msgspec import Struct

ConditionKey = tuple[str, str]
"""The key of a condition: its name and its subject."""

STORE = "store"
"""The state file as the subject of a condition."""

CLOCK = "clock"
"""This machine's clock as the subject of a condition."""

ALERTS = "alerts"
"""The destination of alerts as the subject of a condition."""

HEARTBEAT = "heartbeat"
"""The heartbeat, the regular requests to a monitoring service, as the subject of a condition."""

CONFIGURATION = "configuration"
"""The configuration file as the subject of a condition."""

INTERFACE = "interface"
"""The local HTTP interface as the subject of a condition."""

PROCESS = "process"
"""The daemon's process as the subject of a condition."""


class ConditionName(StrEnum):
    """The names of the conditions. Alerts, the status and the log use the same names."""

    GAP = "gap"
    REMOVALS_HELD = "removals_held"
    ARRIVALS_HELD = "arrivals_held"
    CHANGES_HELD = "changes_held"
    RECORDS_UNREADABLE = "records_unreadable"
    COUNT_UNEXPLAINED = "count_unexplained"
    ANSWERS_DISAGREE = "answers_disagree"
    RECORDS_RENUMBERED = "records_renumbered"
    LIST_UNSEARCHABLE = "list_unsearchable"
    SEARCH_GIVEN_UP = "search_given_up"
    BUDGET_EXHAUSTED = "budget_exhausted"
    SOURCE_FAILING = "source_failing"
    DESTINATION_FAILING = "destination_failing"
    DESTINATION_DISABLED = "destination_disabled"
    DESTINATION_BEHIND = "destination_behind"
    DELIVERIES_ORPHANED = "deliveries_orphaned"
    DELIVERIES_DEAD = "deliveries_dead"
    DISK_NEARLY_FULL = "disk_nearly_full"
    STATE_REBUILT = "state_rebuilt"
    CLOCK_OFF = "clock_off"
    STATE_BEHIND = "state_behind"
    STORE_UNWRITABLE = "store_unwritable"
    ESSENTIALS_NOT_KEPT = "essentials_not_kept"
    COUNT_FAILING = "count_failing"
    SWEEP_FAILING = "sweep_failing"
    NAMES_UNKNOWN = "names_unknown"
    RESTARTING = "restarting"
    CONFIGURATION_BROKEN = "configuration_broken"
    HEARTBEAT_FAILING = "heartbeat_failing"
    ALERTS_UNDELIVERED = "alerts_undelivered"
    INTERFACE_DOWN = "interface_down"
    DESCRIPTORS_LOW = "descriptors_low"


class Condition(Struct, frozen=True):
    """A problem of the notifier or its surroundings that exists now."""

    name: ConditionName
    subject: str
    """What the condition is about: `STORE`, `CLOCK` and so on, or the result of `source_subject` or
    `destination_subject`.
    """
    summary: str
    """A sentence for people, without secrets."""
    cause: str = ""
    """A fixed word for the reason of the condition."""
    category: str = ""
    """The kind of request to a source's API that the condition is about; otherwise empty."""
    remedy: str = ""
    """What people should do about the condition."""
    begins_after_seconds: float = 0.0
    """Seconds for which the condition must be seen before it is reported."""
    ends_after_seconds: float = 0.0
    """Seconds for which the condition must not be seen before it ends."""
    seen_seconds: float = 0.0
    """How long this process has seen the condition."""

    @property
    def key(self) -> ConditionKey:
        """The name and the subject, which together identify the condition."""
        return self.name, self.subject


def source_subject(name: str) -> str:
    """Return a source's name as the subject of a condition."""
    return f"sources/{name}"


def destination_subject(name: str) -> str:
    """Return a destination's name as the subject of a condition."""
    return f"destinations/{name}"
