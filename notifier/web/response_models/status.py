"""The types of answers about the whole process: health, readiness, status, reload, and the sign-in link."""

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from notifier.delivery.health import DestinationState
from notifier.watch.source_health import SourceState
from notifier.web.response_models.shared import Count, Moment


class HealthDocument(TypedDict):
    """Whether the process works. If it does not, only a restart helps."""

    ok: Annotated[bool, Field(description="Whether every part of the daemon makes progress.")]
    hanging: NotRequired[
        Annotated[
            list[str],
            Field(
                description="The parts that make no progress, such as a source's name. Only for clients that may see"
                " the status."
            ),
        ]
    ]


class ReadinessDocument(TypedDict):
    """Whether every source was polled successfully within its last three poll intervals, and alerts are working."""

    ready: Annotated[bool, Field(description="Whether every source can be relied on.")]
    unready: NotRequired[
        Annotated[
            dict[str, str],
            Field(
                description="The sources that are not ready, each with the reason; also `alerts` and `evaluation`. Only"
                " for clients that may see the status."
            ),
        ]
    ]


class SignInLinkDocument(TypedDict):
    """A link that signs a browser in once."""

    url: Annotated[
        str,
        Field(
            description="The link, which is a secret until it is used. It has no scheme and host if the daemon listens"
            " only on a Unix socket: add those of the proxy or tunnel that leads there."
        ),
    ]
    valid_seconds: Annotated[Count, Field(description="How many seconds it can be used.")]


class LastErrorDocument(TypedDict):
    """The latest error of a source or destination."""

    reason: Annotated[str, Field(description="The error's name.")]
    message: Annotated[str, Field(description="What happened, without secrets.")]
    at: Annotated[Moment, Field(description="When it happened.")]


class UnreadableDocument(TypedDict):
    """A record that cannot be read."""

    record: Annotated[str | None, Field(description="The record's key; null if the key itself cannot be read.")]
    field: Annotated[str | None, Field(description="The API's name of the unreadable field; null if it is no field.")]
    problem: Annotated[str | None, Field(description="What is wrong, in a sentence.")]


class HeldRemovalsDocument(TypedDict):
    """The removals that are held back."""

    records: Annotated[Count, Field(description="Records whose removal is held back.")]


class HeldArrivalsDocument(TypedDict):
    """The arrivals that are held back."""

    records: Annotated[Count, Field(description="Records whose arrival is held back.")]
    example: Annotated[str | None, Field(description="The key of one of them.")]


class HeldChangesDocument(TypedDict):
    """The changes that are held back."""

    records: Annotated[Count, Field(description="Records with a change that is held back.")]
    field: Annotated[str | None, Field(description="A field that has changed in all of them.")]
    example: Annotated[str | None, Field(description="The key of one of them.")]


class HeldDocument(TypedDict):
    """The changes that are held back until an operator releases them, or until the records are as before."""

    removals: HeldRemovalsDocument
    arrivals: HeldArrivalsDocument
    changes: HeldChangesDocument


# The name of one field is a keyword.
WaitingDocument = TypedDict(
    "WaitingDocument",
    {
        "removal": Annotated[Count, Field(description="Records that may be gone.")],
        "return": Annotated[Count, Field(description="Removed records that may be back.")],
        "earlier_form": Annotated[Count, Field(description="Records that may have an earlier content again.")],
    },
)
"""The records with a change that one answer has shown and a second look has to confirm."""


class RequestsDocument(TypedDict):
    """The requests of the last minute by purpose; null without a running daemon."""

    head: Annotated[Count | None, Field(description="For head polls.")]
    count: Annotated[Count | None, Field(description="For the API's count.")]
    confirm: Annotated[Count | None, Field(description="For second looks.")]
    search: Annotated[Count | None, Field(description="For searches that locate a change.")]
    sweep: Annotated[Count | None, Field(description="For sweeps.")]
    names: Annotated[Count | None, Field(description="For names of people and trainings.")]


class BudgetDocument(TypedDict):
    """A source's request rate: its limits and its use. Values are null if no daemon runs."""

    configured: Annotated[float | None, Field(description="Requests per minute according to the configuration.")]
    allowed: Annotated[float | None, Field(description="Requests per minute that are allowed now.")]
    used: Annotated[Count | None, Field(description="Requests of the last minute.")]
    waiting: Annotated[Count | None, Field(description="Requests that wait for their turn.")]
    by: RequestsDocument


class FailureDocument(TypedDict):
    """Why a kind of request to the API fails now."""

    reason: Annotated[str, Field(description="The error's name.")]
    message: Annotated[str, Field(description="What happened, without secrets.")]


class SweepDocument(TypedDict):
    """One sweep: the reading of a source's whole list."""

    running: Annotated[bool, Field(description="Whether it is under way.")]
    started_at: Annotated[Moment, Field(description="When it began.")]
    finished_at: Annotated[Moment | None, Field(description="When it reached the end of the list.")]
    next_page: Annotated[Count, Field(description="The first page that it has not read yet.")]
    last_page: Annotated[Count | None, Field(description="The last page of the list; null if it is not known yet.")]
    records: Annotated[Count, Field(description="Records on the pages that it has read.")]
    changes: Annotated[Count, Field(description="Changes that it has found.")]


class SourceDocument(TypedDict):
    """The state of one source."""

    state: Annotated[SourceState, Field(description="The source's state.")]
    records: Annotated[Count, Field(description="Known records that exist.")]
    unreadable: Annotated[
        Count, Field(description="Records of the list that are left out, because they cannot be read.")
    ]
    unreadable_example: Annotated[UnreadableDocument | None, Field(description="One of the unreadable records.")]
    unexplained: Annotated[
        int,
        Field(
            description="How many more records than expected the API counts, for an unknown reason; negative if it"
            " counts fewer."
        ),
    ]
    count_offset: Annotated[
        int,
        Field(description="The constant error of the API's count, found by two whole sweeps at least an hour apart."),
    ]
    held: HeldDocument
    waiting: WaitingDocument
    last_success: Annotated[Moment | None, Field(description="When a poll last succeeded.")]
    next_poll: Annotated[Moment | None, Field(description="When the next poll is due.")]
    requests: Annotated[Count, Field(description="Requests since the daemon started.")]
    budget: BudgetDocument
    searching: Annotated[bool, Field(description="Whether a search locates a change that head polls cannot see.")]
    last_error: LastErrorDocument | None
    failing: Annotated[
        dict[str, FailureDocument],
        Field(description="The kinds of requests that fail now: `head`, `count`, `search`, `scan`, `names`."),
    ]
    sweep: Annotated[SweepDocument | None, Field(description="The latest sweep; null before the first.")]
    last_sweep: Annotated[
        Moment | None, Field(description="When a sweep last read the whole list; null before the first has.")
    ]


class LearnedDocument(TypedDict):
    """The limits that a destination's answers have shown to be lower than configured. Any other limit is null."""

    rate: Annotated[float | None, Field(description="Requests per second that it accepts.")]
    batch_size: Annotated[Count | None, Field(description="Events that it accepts in one request.")]


class DestinationDocument(TypedDict):
    """The state of one destination."""

    state: Annotated[DestinationState, Field(description="The destination's state.")]
    reason: Annotated[str | None, Field(description="Why it is in that state.")]
    pending: Annotated[Count, Field(description="Events that wait to be delivered to it.")]
    delivered: Annotated[Count, Field(description="Events delivered to it.")]
    dead: Annotated[Count, Field(description="Events whose delivery to it was given up.")]
    oldest_pending: Annotated[Moment | None, Field(description="When the oldest waiting event was detected.")]
    next_attempt: Annotated[
        Moment | None,
        Field(description="When the next waiting delivery is tried; null if that is now, or if none waits."),
    ]
    scheduled: Annotated[
        Count, Field(description="Pending events that wait for the destination's `schedule`, or a quiet time's end.")
    ]
    scheduled_for: Annotated[
        Moment | None, Field(description="When the first scheduled event may be sent; null if none is scheduled.")
    ]
    learned: LearnedDocument
    last_error: LastErrorDocument | None


class EvaluationDocument(TypedDict):
    """The latest evaluation of the notifier's own conditions."""

    at: Annotated[Moment | None, Field(description="When it was made; null while no daemon runs.")]
    age_seconds: Annotated[float | None, Field(description="How many seconds ago it was made.")]
    well: Annotated[
        bool, Field(description="Whether it is recent, no condition fires, and no alert has waited too long.")
    ]
    alerts_to: Annotated[
        str | None, Field(description="The destination of alerts, or `heartbeat`; null if there is neither.")
    ]
    undelivered_seconds: Annotated[
        float | None, Field(description="How many seconds an alert has waited to be delivered; null if none waits.")
    ]


class ConditionDocument(TypedDict):
    """One condition that fires."""

    condition: Annotated[str, Field(description="The condition's name.")]
    subject: Annotated[str, Field(description="The source or destination concerned.")]
    summary: Annotated[str, Field(description="What it means, in a sentence.")]
    since: Annotated[Moment, Field(description="When it began.")]
    net: Annotated[str | None, Field(description="The kind of request to a source's API that it is about.")]
    cause: Annotated[str | None, Field(description="The name of its cause.")]
    remedy: Annotated[str | None, Field(description="What to do.")]
    lived_seconds: Annotated[Count, Field(description="How many seconds it was observed, over all runs of the daemon.")]


class ReplayUnderWayDocument(TypedDict):
    """One destination's part of an unfinished replay."""

    id: Annotated[Count, Field(description="The replay's number.")]
    destination: Annotated[str, Field(description="The destination.")]
    deliveries: Annotated[Count, Field(description="Deliveries that it sends there in total.")]
    queued: Annotated[Count, Field(description="Deliveries that it has put into the queue so far.")]


class StoreDocument(TypedDict):
    """The store of the notifier's state, and the process that holds it."""

    kind: Annotated[Literal["file", "postgres"], Field(description="A state file, or a schema in PostgreSQL.")]
    holder: Annotated[
        str | None,
        Field(description="The machine and process that hold the database; null if none does, and for a state file."),
    ]
    since: Annotated[Moment | None, Field(description="Since when that process holds the database.")]
    clock_ahead_seconds: Annotated[
        float | None,
        Field(
            description="How many seconds, at least, the database server's clock is ahead of this machine's clock"
            " (negative: behind); null for a state file."
        ),
    ]


class StatusDocument(TypedDict):
    """The state of all sources and destinations."""

    version: Annotated[str, Field(description="The version of the program.")]
    started_at: Annotated[Moment | None, Field(description="When the daemon started.")]
    sources: Annotated[dict[str, SourceDocument], Field(description="The sources by name.")]
    destinations: Annotated[dict[str, DestinationDocument], Field(description="The destinations by name.")]
    evaluation: EvaluationDocument
    conditions: Annotated[list[ConditionDocument], Field(description="The conditions that fire, the oldest first.")]
    replays: Annotated[list[ReplayUnderWayDocument], Field(description="The replays that are not finished.")]
    store: StoreDocument


class DifferencesDocument(TypedDict):
    """The names of sources or destinations that are new, changed, or removed."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


class ReloadDocument(TypedDict):
    """The result of a reload."""

    sources: DifferencesDocument
    destinations: DifferencesDocument
    left_to_restart: Annotated[
        tuple[str, ...], Field(description="Changed keys that take effect only at the next start.")
    ]
    handed_over: Annotated[
        tuple[str, ...], Field(description="Keys that systemd passes at the start only, so that a reload keeps them.")
    ]
    unmatched: Annotated[
        dict[str, int],
        Field(description="The number of waiting events that no longer pass the filters, by destination."),
    ]
    message: str


class ReloadFailedDocument(TypedDict):
    """Why the configuration could not be read or applied."""

    reason: Annotated[str, Field(description="The error's name.")]
    message: Annotated[str, Field(description="Why it failed, and what was changed nevertheless.")]
