"""Sentences for operators about the history of a record, such as how it was found and why an event was not sent."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from notifier.events import DetectedBy
from notifier.store.subscriptions import Filter
from notifier.store.tables.second_looks import LookKind
from notifier.watch.detection.news import NewsReason

DETECTION_SENTENCES: Final[Mapping[DetectedBy, str]] = MappingProxyType(
    {
        DetectedBy.HEAD: "by a poll of the newest records",
        DetectedBy.COUNT: "by the API's count, which started a search",
        DetectedBy.SWEEP: "by a sweep of the whole list",
        DetectedBy.CALENDAR: "by the daily look at when completions run out",
    }
)

HISTORY_SENTENCES: Final[Mapping[str, str]] = MappingProxyType(
    {
        NewsReason.FIRST_ANSWER: "it was in the first answer of the API",
        NewsReason.ENTERED_BEFORE: "it was entered before the notifier first read the account",
        NewsReason.UNDATED_BEFORE_SWEEP: "it has no time of entry, and the list had not been read to its end yet",
        NewsReason.READ_BEFORE_DAMAGE: "it was lost with a damaged state file, and had been read and reported before",
        NewsReason.WAS_UNREADABLE: "it could not be read until the list had been read to its end",
        NewsReason.ENTERED_BEFORE_VIEW: "it was entered before the source's present filters were set",
        NewsReason.LEARNED_ON_RELEASE: "it appeared together with many others, and was released silently",
        NewsReason.HELD: (
            "it appeared together with many others that were entered before the notifier first read the account"
        ),
    }
)
"""The reason why a record was stored silently (without an event), as a sentence."""

NEWS_SENTENCES: Final[Mapping[str, str]] = MappingProxyType(
    {
        NewsReason.ENTERED_SINCE: "it was entered after the notifier first read the account",
        NewsReason.UNDATED_AFTER_SWEEP: "it has no time of entry, and appeared after the list had been read to its end",
        NewsReason.APPEARED_AFTER_SWEEP: (
            "it was entered before the notifier first read the account, and appeared in the list after that had"
            " been read to its end"
        ),
        NewsReason.RELEASED: "it appeared together with many others, was held back, and was released",
        NewsReason.FIRST_RUN: (
            "it existed before the notifier first read the account, and `first_run` reports such records"
        ),
        NewsReason.CAME_BACK: "it was removed, and came back",
        NewsReason.CONTENT_CHANGED: "its content changed",
        NewsReason.GONE: "it is no longer in the list",
        NewsReason.RUNS_OUT: "its last day is near, and no newer completion follows it",
        NewsReason.RAN_OUT: "its last day is over, and no newer completion follows it",
        NewsReason.RENEWED: "it no longer has the end that was announced",
    }
)
"""The reason why an event about a record was written, as a sentence."""


UNCONFIRMED_CHANGES: Final[Mapping[LookKind, str]] = MappingProxyType(
    {
        LookKind.REMOVAL: "an answer does not contain it: it may have been removed",
        LookKind.RETURN: "it was removed, and an answer contains it again",
        LookKind.EARLIER_FORM: "an answer shows a content that it had before",
    }
)
"""For each kind of second look, the change that one answer showed and a later answer must confirm."""

NEEDED_ANSWERS: Final[Mapping[LookKind, str]] = MappingProxyType(
    {
        LookKind.REMOVAL: (
            "a request for its training that does not contain it either, and counts of the API that are low enough"
        ),
        LookKind.RETURN: "a request for its person and training that contains it too",
        LookKind.EARLIER_FORM: "a request for its person and training that shows the same content",
    }
)
"""For each kind of second look, the answer that must arrive before the change is reported."""


class UnsentReason(StrEnum):
    """Why an event is not sent to a destination: the key of the filter that excludes it, or `configured_later`.

    `configured_later` has three possible causes, which the store cannot tell apart: the delivery was dropped; the
    destination was added after the event was detected; or the destination's filters were changed after the detection.
    """

    EVENTS = Filter.EVENTS.value
    SOURCES = Filter.SOURCES.value
    TRAINING_IDS = Filter.TRAINING_IDS.value
    USER_IDS = Filter.USER_IDS.value
    TRAININGS = Filter.TRAININGS.value
    PEOPLE = Filter.PEOPLE.value
    JOB_TITLES = Filter.JOB_TITLES.value
    FIELD_OFFICES = Filter.FIELD_OFFICES.value
    LINES_OF_BUSINESS = Filter.LINES_OF_BUSINESS.value
    CONFIGURED_LATER = "configured_later"


UNSENT_SENTENCES: Final[Mapping[UnsentReason, str]] = MappingProxyType(
    {
        UnsentReason.EVENTS: "its `events` exclude this type",
        UnsentReason.SOURCES: "its `sources` exclude this source",
        UnsentReason.TRAINING_IDS: "its `training_ids` exclude this training",
        UnsentReason.USER_IDS: "its `user_ids` exclude this person",
        UnsentReason.TRAININGS: "its `trainings` exclude the title of this training",
        UnsentReason.PEOPLE: "its `people` exclude this person",
        UnsentReason.JOB_TITLES: "its `job_titles` exclude this person's job title",
        UnsentReason.FIELD_OFFICES: "its `field_offices` exclude this person's field offices",
        UnsentReason.LINES_OF_BUSINESS: "its `lines_of_business` exclude this person's lines of business",
        UnsentReason.CONFIGURED_LATER: (
            "it was added or its filters were changed after the event was detected, or the delivery was dropped"
        ),
    }
)

_COMPARED_PROPERTIES: Final[Mapping[Filter, str]] = MappingProxyType(
    {
        Filter.TRAININGS: "the training's title",
        Filter.PEOPLE: "the person's employee number",
        Filter.JOB_TITLES: "the person's job title",
        Filter.FIELD_OFFICES: "the person's field offices",
        Filter.LINES_OF_BUSINESS: "the person's lines of business",
    }
)
"""For each filter with patterns, the data that it compares with the patterns."""


def unjudged_sentence(filters: Iterable[Filter]) -> str:
    """Return the sentence about an event that was sent although these filters could not be applied."""
    keys = tuple(filters)
    written = " and ".join(f"`{key}`" for key in keys)
    unknown = " and ".join(_COMPARED_PROPERTIES[key] for key in keys)
    verb = "was" if len(keys) == 1 else "were"
    return (
        f"sent although its {written} could not be judged: {unknown} {verb} unknown when the event was made, and a"
        " filter lets an event pass if what it checks is unknown"
    )


def reason_sentence(reason: str) -> str:
    """Return the sentence for a reason. The sentence begins with "history: ", "news: " or "held back: ".

    An unknown reason is returned unchanged.
    """
    if reason == NewsReason.HELD:
        return f"held back: {HISTORY_SENTENCES[reason]}"
    if reason in HISTORY_SENTENCES:
        return f"history: {HISTORY_SENTENCES[reason]}"
    if reason in NEWS_SENTENCES:
        return f"news: {NEWS_SENTENCES[reason]}"
    return reason
