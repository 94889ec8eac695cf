"""Sentences for operators about a record: how it was found, why it is history or news, and why nothing was sent."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from notifier.events import DetectedBy
from notifier.store.subscriptions import Filter
from notifier.store.tables.second_looks import LookKind
from notifier.watch.detection.news import NewsReason

FOUND: Final[Mapping[DetectedBy, str]] = MappingProxyType(
    {
        DetectedBy.HEAD: "by a poll of the newest records",
        DetectedBy.COUNT: "by the list's count, which led to its place",
        DetectedBy.SWEEP: "by a sweep of the whole list",
    }
)

HISTORY: Final[Mapping[str, str]] = MappingProxyType(
    {
        NewsReason.FIRST_ANSWER: "it stood in the first answer that the API ever gave",
        NewsReason.ENTERED_BEFORE: "it was entered before the notifier first met the account",
        NewsReason.UNDATED_BEFORE_SWEEP: "it has no moment of entry, and the list had not been read to its end yet",
        NewsReason.READ_BEFORE_DAMAGE: "it was lost with a damaged state file, and had been read and told before",
        NewsReason.WAS_UNREADABLE: "it could not be read before the list had been read to its end",
        NewsReason.ENTERED_BEFORE_VIEW: "it was entered before the source asked for what it asks for now",
        NewsReason.LEARNED_ON_RELEASE: "it had arrived with many others, and an operator released them silently",
        NewsReason.HELD: "it arrived with many others that were entered before the notifier first met the account",
    }
)
"""The reasons for learning a record silently, so that its first revision has no event."""

NEWS: Final[Mapping[str, str]] = MappingProxyType(
    {
        NewsReason.ENTERED_SINCE: "it was entered since the notifier first met the account",
        NewsReason.UNDATED_AFTER_SWEEP: "it has no moment of entry, and came after the list had been read to its end",
        NewsReason.APPEARED_AFTER_SWEEP: (
            "it was entered before the notifier first met the account, and came into the list after that had been read"
            " to its end"
        ),
        NewsReason.RELEASED: "it had arrived with many others, was held back, and an operator released them",
        NewsReason.FIRST_RUN: "it was there before the notifier, and `first_run` announces such records",
        NewsReason.CAME_BACK: "it was removed, and came back",
        NewsReason.CONTENT_CHANGED: "its content changed",
        NewsReason.GONE: "it is gone from the list",
    }
)
"""The reasons for writing an event about a record."""


WAITS_FOR: Final[Mapping[LookKind, str]] = MappingProxyType(
    {
        LookKind.REMOVAL: "an answer lacks it: it may be gone",
        LookKind.RETURN: "it was removed, and an answer shows it again",
        LookKind.EARLIER_FORM: "an answer shows a content that it had before",
    }
)
"""The change of a record that one answer shows and that a second answer has to confirm."""

MISSING: Final[Mapping[LookKind, str]] = MappingProxyType(
    {
        LookKind.REMOVAL: (
            "a precise question about its training that lacks it too, and a count of the API that has room for it to"
            " be gone"
        ),
        LookKind.RETURN: "a precise question about its person and training that shows it too",
        LookKind.EARLIER_FORM: "a precise question about its person and training that shows the same content",
    }
)
"""The confirmation that is still needed before the change is reported."""


class NotTold(StrEnum):
    """Why a destination has no delivery of an event: the filter that excludes it, or a later configuration."""

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
    """Return a reason in words, with whether it means history or news; an unknown reason is returned unchanged."""
    if reason == NewsReason.HELD:
        return f"held back: {HISTORY[reason]}"
    if reason in HISTORY:
        return f"history: {HISTORY[reason]}"
    if reason in NEWS:
        return f"news: {NEWS[reason]}"
    return reason
