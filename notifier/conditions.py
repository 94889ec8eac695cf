"""What can be wrong with the notifier itself, as operational notices (`notifier.alert`) and `/v1/status` say it."""

from dataclasses import dataclass
from enum import StrEnum

Key = tuple[str, str]
"""What tells a condition from all others: its name and its subject."""

STORE = "store"
"""The state file as the subject of a condition."""


class ConditionName(StrEnum):
    """The conditions that people are told of; the word stands in the notice, the status and the log."""

    GAP = "gap"
    REMOVALS_HELD = "removals_held"
    SOURCE_FAILING = "source_failing"
    DESTINATION_FAILING = "destination_failing"
    DESTINATION_DISABLED = "destination_disabled"
    DELIVERIES_DEAD = "deliveries_dead"
    DISK_NEARLY_FULL = "disk_nearly_full"
    STATE_REBUILT = "state_rebuilt"


@dataclass(frozen=True, slots=True)
class Condition:
    """What is wrong now.

    `subject` is which source or destination is in it, as `source_subject` and `destination_subject` write it.
    `summary` says in a sentence what it means; what a peer said in it is redacted.
    """

    name: ConditionName
    subject: str
    summary: str

    @property
    def key(self) -> Key:
        """What tells it from all others."""
        return self.name, self.subject


def source_subject(name: str) -> str:
    """Name a source as the subject of a condition."""
    return f"sources/{name}"


def destination_subject(name: str) -> str:
    """Name a destination as the subject of a condition."""
    return f"destinations/{name}"
