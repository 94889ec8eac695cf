"""Sentences for people: how a record was found, why it was taken for history or for news, why somebody was not told."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from notifier.completions import Net
from notifier.ledger.subscriptions import Filter
from notifier.watch.verdicts import Reason

FOUND: Final[Mapping[Net, str]] = MappingProxyType(
    {
        Net.HEAD: "by a poll of the newest records",
        Net.COUNT: "by the list's count, which led to its place",
        Net.SWEEP: "by a sweep of the whole list",
    }
)

HISTORY: Final[Mapping[str, str]] = MappingProxyType(
    {
        Reason.FIRST_ANSWER: "it stood in the first answer that the API ever gave",
        Reason.ENTERED_BEFORE: "it was entered before the notifier first met the account",
        Reason.UNDATED_BEFORE_SWEEP: "it has no moment of entry, and the list had not been read to its end yet",
        Reason.READ_BEFORE_DAMAGE: "it was lost with a damaged state file, and had been read and told before",
    }
)
"""Why a record was learned silently: its first revision has no event."""

NEWS: Final[Mapping[str, str]] = MappingProxyType(
    {
        Reason.ENTERED_SINCE: "it was entered since the notifier first met the account",
        Reason.UNDATED_AFTER_SWEEP: "it has no moment of entry, and came after the list had been read to its end",
        Reason.FIRST_RUN: "it was there before the notifier, and `first_run` announces such records",
        Reason.CAME_BACK: "it was removed, and came back",
        Reason.CONTENT_CHANGED: "its content changed",
        Reason.GONE: "it is gone from the list",
    }
)
"""Why something was told of a record."""


class NotTold(StrEnum):
    """Why a destination has no delivery of an event: the filter that keeps it away, or none that does now."""

    EVENTS = Filter.EVENTS.value
    SOURCES = Filter.SOURCES.value
    TRAINING_IDS = Filter.TRAINING_IDS.value
    USER_IDS = Filter.USER_IDS.value
    CONFIGURED_LATER = "configured_later"


NOT_TOLD: Final[Mapping[NotTold, str]] = MappingProxyType(
    {
        NotTold.EVENTS: "its `events` leave this type out",
        NotTold.SOURCES: "its `sources` leave this source out",
        NotTold.TRAINING_IDS: "its `training_ids` leave this training out",
        NotTold.USER_IDS: "its `user_ids` leave this person out",
        NotTold.CONFIGURED_LATER: "it was added, or its filters were changed, after the event was detected",
    }
)


def why(reason: str) -> str:
    """Say whether a reason makes history or news, and what it means; a word of another version stands for itself."""
    if reason in HISTORY:
        return f"history: {HISTORY[reason]}"
    if reason in NEWS:
        return f"news: {NEWS[reason]}"
    return reason
