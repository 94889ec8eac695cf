"""The types of answers about events, records and people, and of answers to actions on a source."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema
from typing_extensions import TypedDict

from notifier.events import DetectedBy
from notifier.store.subscriptions import Filter
from notifier.store.tables.second_looks import LookKind
from notifier.watch.detection.holds import Direction
from notifier.watch.rounds import RoundResult
from notifier.web.query_parameters import MAX_PAGE_ENTRIES
from notifier.web.response_models.deliveries import DeliveryDocument
from notifier.web.response_models.shared import Count, Moment
from notifier.web.response_models.status import SweepDocument


class EventPageDocument(TypedDict):
    """A page of events."""

    events: Annotated[
        list[dict[str, Any]], Field(max_length=MAX_PAGE_ENTRIES, description="In the order of their detection.")
    ]
    next: Annotated[Count, Field(description="The number after which the next page begins.")]


class PollDocument(TypedDict):
    """The result of a poll, or the reason why the source was not polled."""

    source: Annotated[str, Field(description="The source.")]
    result: Annotated[RoundResult, Field(description="The result of the poll.")]
    events: Annotated[Count, Field(description="New events.")]
    message: Annotated[str, Field(description="Why the poll was not done; empty if it was.")]


class SweepBegunDocument(TypedDict):
    """The sweep that was started or continued, or the reason why no sweep is possible now."""

    source: Annotated[str, Field(description="The source.")]
    message: Annotated[str, Field(description="Why no sweep can be made now; empty if one can.")]
    sweep: SweepDocument | None


class ReleasedDocument(TypedDict):
    """The changes that were released."""

    source: Annotated[str, Field(description="The source.")]
    what: Annotated[Direction, Field(description="The kind of changes.")]
    silently: Annotated[bool, Field(description="Whether the changes are accepted without reporting them.")]
    records: Annotated[Count, Field(description="Records with such a change; 0 if none was held back.")]


class FoundDocument(TypedDict):
    """How a record or event was found, and why it was reported or only stored."""

    net: Annotated[DetectedBy, Field(description="The detection method that found it.")]
    reason: Annotated[str, Field(description="Why it was reported (news), or only stored (history).")]
    found: Annotated[str, Field(description="How it was found, in words.")]
    why: Annotated[str, Field(description="The reason in words.")]


class AttemptDocument(TypedDict):
    """One attempt of a delivery."""

    attempted_at: Annotated[Moment, Field(description="When it was made.")]
    milliseconds: Annotated[Count, Field(description="How many milliseconds it took.")]
    decision: Annotated[str, Field(description="What was decided after it.")]
    reason: Annotated[str, Field(description="Its result.")]
    status: Annotated[Count | None, Field(description="The HTTP status, if it was answered.")]
    detail: Annotated[str | None, Field(description="What the receiver or the network reported, without secrets.")]


class DeliveryLifeDocument(DeliveryDocument):
    """One event's delivery to one destination, with all attempts."""

    attempt_log: Annotated[list[AttemptDocument], Field(description="All attempts in order.")]


class ChangeDocument(TypedDict):
    """The values of a field before and after an update."""

    old: Any
    new: Any


class LifeEventDocument(FoundDocument):
    """One event about a record."""

    sequence: Annotated[Count, Field(description="The event's number.")]
    id: Annotated[str, Field(description="The event's id.")]
    type: Annotated[str, Field(description="The event's type.")]
    revision: Annotated[Count, Field(description="The record's revision that it reports.")]
    detected_at: Annotated[Moment, Field(description="When it was detected.")]
    changes: Annotated[dict[str, ChangeDocument], Field(description="The fields that an update has changed.")]
    deliveries: list[DeliveryLifeDocument]
    not_told: Annotated[
        Mapping[str, str], Field(description="The destinations that do not get the event, each with the reason.")
    ]
    not_told_why: Annotated[
        Mapping[str, str], Field(description="The destinations of `not_told`, each with the reason in words.")
    ]
    not_judged: Annotated[
        Mapping[str, tuple[Filter, ...]],
        Field(
            description="The destinations that get the event although some of their filters could not be evaluated,"
            " because titles or facts about people were unknown; each with these filters."
        ),
    ]
    not_judged_why: Annotated[
        Mapping[str, str], Field(description="The destinations of `not_judged`, each with an explanation in words.")
    ]


class WithheldDocument(TypedDict):
    """A change of a record that is not reported yet."""

    what: Annotated[
        str,
        WithJsonSchema(
            {
                "type": "string",
                "enum": [*LookKind, f"held_{Direction.ARRIVALS}", f"held_{Direction.CHANGES}", "unreadable"],
            }
        ),
        Field(description="What it waits for: a second look, an operator's release, or a record that can be read."),
    ]
    why: Annotated[str, Field(description="Why it is not reported yet, in words.")]
    missing: Annotated[str, Field(description="What has to happen before it is reported, in words.")]
    since: Annotated[
        Moment | None,
        Field(
            description="Since when the change waits; null if unknown, or if a later answer contradicted the change."
        ),
    ]
    not_before: Annotated[Moment | None, Field(description="When it can be reported at the earliest; null if unknown.")]


class LifeDocument(FoundDocument):
    """A record's history at one source."""

    source: Annotated[str, Field(description="The source.")]
    key: Annotated[str, Field(description="The record's key.")]
    user_id: Annotated[str, Field(description="The id of the person who completed the training.")]
    user_name: Annotated[str | None, Field(description="The person's name.")]
    training_id: Annotated[str, Field(description="The id of the training.")]
    training_title: Annotated[str | None, Field(description="The training's title.")]
    completed_on: Annotated[
        str | None,
        WithJsonSchema({"type": ["string", "null"], "format": "date"}),
        Field(description="The day of completion."),
    ]
    recorded_at: Annotated[Moment | None, Field(description="When the record was entered.")]
    seen_at: Annotated[Moment, Field(description="When the notifier first read it.")]
    removed_at: Annotated[Moment | None, Field(description="When it was found to be gone.")]
    revision: Annotated[Count, Field(description="1 when it was first read, and one more with every change.")]
    in_view: Annotated[
        bool, Field(description="Whether the record is in the part of the list that the source requests now.")
    ]
    withheld: Annotated[list[WithheldDocument], Field(description="Its changes that are not reported yet.")]
    forgotten: Annotated[tuple[int, ...], Field(description="The revisions whose events were deleted.")]
    events: list[LifeEventDocument]


class RecordDocument(TypedDict):
    """A record's history at each source that knows it."""

    key: Annotated[str, Field(description="The record's key.")]
    sources: Annotated[dict[str, LifeDocument], Field(description="Its history at each source that knows it.")]


class PersonDocument(TypedDict):
    """A person at one source."""

    source: Annotated[str, Field(description="The source that knows the person.")]
    id: Annotated[str, Field(description="The person's id there.")]
    name: Annotated[str | None, Field(description="The person's name, if it is known.")]


class PersonForgottenDocument(TypedDict):
    """How much of a person's data was erased, and who the person is."""

    people: Annotated[list[PersonDocument], Field(description="The person at each source.")]
    dry_run: Annotated[bool, Field(description="Whether nothing was erased.")]
    events: Annotated[Count, Field(description="Events that were deleted.")]
    deliveries: Annotated[Count, Field(description="Deliveries of these events, including waiting ones.")]
    records: Annotated[Count, Field(description="Removed records whose content was erased.")]
    names: Annotated[Count, Field(description="Names that were deleted.")]
    living: Annotated[Count, Field(description="Records that stay, because the account still has them.")]
    unreached: Annotated[list[str], Field(description="Other places where the person's data may be.")]
