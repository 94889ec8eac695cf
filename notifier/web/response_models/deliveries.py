"""The types of answers about deliveries, destinations and replays."""

from typing import Annotated

from pydantic import Field, WithJsonSchema
from typing_extensions import TypedDict

from notifier.destinations.outcome import AttemptResult
from notifier.store.tables.destinations import HealthState
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.replays import ReplayState
from notifier.web.query_parameters import MAX_PAGE_ENTRIES
from notifier.web.response_models.shared import Count, Moment


class DeliveryDocument(TypedDict):
    """One event's delivery to one destination."""

    sequence: Annotated[Count, Field(description="The event's number.")]
    event: Annotated[str, Field(description="The event's id.")]
    type: Annotated[str, Field(description="The event's type.")]
    source: Annotated[str, Field(description="The source's name; empty for alerts.")]
    record: Annotated[str, Field(description="The record's key.")]
    destination: Annotated[str, Field(description="The destination.")]
    state: Annotated[DeliveryState, Field(description="The delivery's state.")]
    attempts: Annotated[Count, Field(description="Attempts so far.")]
    decision: Annotated[str | None, Field(description="What was decided after the last attempt.")]
    reason: Annotated[str | None, Field(description="The result of the last attempt.")]
    status: Annotated[Count | None, Field(description="The HTTP status of the last attempt, if it was answered.")]
    detail: Annotated[str | None, Field(description="What the receiver or the network reported, without secrets.")]
    last_attempt: Annotated[Moment | None, Field(description="When the last attempt was made.")]
    next_attempt: Annotated[
        Moment | None, Field(description="When the next attempt is due; null if that is now, or if there will be none.")
    ]
    scheduled_for: Annotated[
        Moment | None,
        Field(description="Until when it waits for the destination's `schedule` or quiet time; null if it does not."),
    ]


class DeliveryPageDocument(TypedDict):
    """A page of deliveries."""

    deliveries: Annotated[
        list[DeliveryDocument], Field(max_length=MAX_PAGE_ENTRIES, description="In order of event, then destination.")
    ]
    next: Annotated[str, Field(description="The place after which the next page begins.")]


_Deliveries = Annotated[dict[str, int], Field(description="The number of deliveries by destination, if above 0.")]


class RetriedDocument(TypedDict):
    """The deliveries that were put back into the queue."""

    deliveries: Annotated[Count, Field(description="Deliveries that were put back.")]
    destinations: _Deliveries
    waited: Annotated[list[str], Field(description="Destinations that were failing; their next attempt is made now.")]
    message: Annotated[str, Field(description="Why no delivery was put back; empty if there was one.")]


class DroppedDocument(TypedDict):
    """The deliveries that were removed from the queue."""

    deliveries: Annotated[Count, Field(description="Deliveries that were removed or, in a dry run, would be.")]
    destinations: _Deliveries
    dry_run: Annotated[bool, Field(description="Whether the deliveries were only counted.")]


class MovedDocument(TypedDict):
    """The number of deliveries that were moved to another destination, or the reason why none was moved."""

    deliveries: Annotated[Count, Field(description="Deliveries that were moved.")]
    message: Annotated[str, Field(description="Why no delivery could be moved; empty if one could.")]


class TriedDocument(TypedDict):
    """The result of trying a failing destination now."""

    destination: Annotated[str, Field(description="The destination.")]
    waited: Annotated[bool, Field(description="Whether it was failing and waited for its next attempt.")]


class UnfollowedDocument(TypedDict):
    """The changes of a destination's configuration that the daemon has not loaded yet."""

    unfollowed: Annotated[
        tuple[str, ...],
        Field(
            description="The keys changed since the daemon read the configuration, as `destinations.NAME.KEY`, or"
            " `destinations.NAME` if the destination is new or gone."
        ),
    ]
    message: Annotated[str, Field(description="What an operator should know about the destination; may be empty.")]


class SwitchedDocument(UnfollowedDocument):
    """The state of a destination that was enabled or disabled."""

    destination: Annotated[str, Field(description="The destination.")]
    state: Annotated[HealthState, Field(description="The destination's state.")]
    reason: Annotated[str | None, Field(description="Why it is in that state.")]
    waited: Annotated[bool, Field(description="Whether it was failing, and is tried now.")]


class StandingDocument(UnfollowedDocument):
    """The state of a destination, in the fields that several answers share."""

    state: Annotated[
        HealthState | None, Field(description="The destination's state; null if the daemon has not loaded it yet.")
    ]
    reason: Annotated[str | None, Field(description="Why it is in that state.")]


class DestinationStandingDocument(StandingDocument):
    """The state of one destination, and the changes of its configuration that the daemon has not loaded."""

    destination: Annotated[str, Field(description="The destination.")]


class TestedDocument(StandingDocument):
    """The result of sending a sample event."""

    destination: Annotated[str, Field(description="The destination.")]
    event: Annotated[str, Field(description="The sample event's id.")]
    result: Annotated[AttemptResult, Field(description="The result of the attempt.")]
    status: Annotated[Count | None, Field(description="The HTTP status, if the attempt was answered.")]
    answer: Annotated[str, Field(description="What the receiver or the network reported, without secrets.")]
    waited: Annotated[bool, Field(description="Whether it was failing, and is tried now.")]
    milliseconds: Annotated[Count, Field(description="How many milliseconds the attempt took.")]


class ReplayTargetDocument(TypedDict):
    """One destination's part of a replay."""

    state: Annotated[ReplayState, Field(description="The state of this part.")]
    deliveries: Annotated[Count, Field(description="Deliveries that it sends there in total.")]
    queued: Annotated[Count, Field(description="Deliveries that it has put into the queue so far.")]
    waits: Annotated[str | None, Field(description="Why it cannot put more into the queue now.")]


_StateOfAll = Annotated[
    ReplayState,
    # Only the part for a destination can be removed.
    WithJsonSchema({"type": "string", "enum": [it.value for it in ReplayState if it is not ReplayState.REMOVED]}),
]


class ReplayDocument(TypedDict):
    """A replay. If there was no replay, counts are 0 and all other fields are null or empty."""

    id: Annotated[Count | None, Field(description="The replay's number.")]
    state: Annotated[_StateOfAll | None, Field(description="The replay's state; null if there was no replay.")]
    events: Annotated[Count, Field(description="Events that it sends in total.")]
    deliveries: Annotated[Count, Field(description="Deliveries that it sends in total.")]
    queued: Annotated[Count, Field(description="Deliveries that it has put into the queue so far.")]
    waits_for: Annotated[list[str], Field(description="Destinations for which it is not finished.")]
    goes_on_since: Annotated[
        Moment | None, Field(description="The `since` with which another replay would continue this one.")
    ]
    since: Annotated[Moment | None, Field(description="It sends events detected from then on.")]
    until: Annotated[Moment | None, Field(description="It sends events detected before then.")]
    source: Annotated[str | None, Field(description="It sends only events of this source.")]
    type: Annotated[str | None, Field(description="It sends only events of this type.")]
    begun_at: Annotated[Moment | None, Field(description="When it was requested.")]
    ended_at: Annotated[Moment | None, Field(description="When it was finished or stopped.")]
    destinations: Annotated[dict[str, ReplayTargetDocument], Field(description="Its parts by destination.")]


class ReplayProgressDocument(ReplayDocument):
    """The latest replay, the one before it, and earlier ones that are not finished."""

    previous: Annotated[ReplayDocument | None, Field(description="The replay before the latest one.")]
    others: Annotated[list[ReplayDocument], Field(description="Earlier replays that are not finished.")]


class PlanDocument(TypedDict):
    """How many events and deliveries a replay would send, counted before it starts."""

    events: Annotated[Count, Field(description="Events that are sent again.")]
    deliveries: Annotated[Count, Field(description="Deliveries of these events.")]
    destinations: Annotated[dict[str, int], Field(description="The number of deliveries by destination.")]
    forgotten_before: Annotated[
        Moment | None, Field(description="Events that were delivered before then may have been deleted already.")
    ]


class ReplayPlanDocument(PlanDocument):
    """What a replay sends. In a dry run, no replay is started."""

    id: Annotated[Count | None, Field(description="The replay's number; null for a dry run.")]
    message: str
