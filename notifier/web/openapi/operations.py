"""The operations of the local HTTP interface: one entry for each route that programs use, with its types."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final

from msgspec import Struct, field
from pydantic import Field, WithJsonSchema

from notifier.web.query_parameters import BaseQuery, DeliveriesQuery, PageQuery, StreamHeaders, StreamQuery
from notifier.web.requests import (
    BaseRequest,
    DropRequest,
    ForgetRequest,
    MoveRequest,
    ReleaseRequest,
    ReplayRequest,
    RetryRequest,
    StopReplayRequest,
)
from notifier.web.response_models import deliveries, records, status
from notifier.web.response_models.shared import MessageDocument

JSON: Final = "application/json"

_PROMETHEUS = Annotated[str, Field(description="Prometheus's text format 0.0.4.")]
_STREAM = Annotated[
    str, Field(description="Server-sent events: `id` is the event's number, `data` the CloudEvent on one line.")
]
_OPENAPI = Annotated[
    dict[str, Any],
    WithJsonSchema({"type": "object", "required": ["openapi", "info", "paths"], "description": "OpenAPI 3.1."}),
]

PATH_PARAMETERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "sources": "The source's name in the configuration.",
        "destinations": "The destination's name in the configuration.",
        "records": "The record's key.",
    }
)
"""The descriptions of path parameters, by the part of the path before each parameter."""


class Operation(Struct, frozen=True):
    """One method of a path, such as `GET /v1/status`."""

    route: str
    name: str
    summary: str
    answer: Any
    """The type of the answer with status 200. A type's description is also the description of the answer."""
    description: str = ""
    other_answers: Mapping[int, Any] = field(default_factory=lambda: MappingProxyType({}))
    """The types of answers with other statuses, by status."""
    media_type: str = JSON
    query: type[BaseQuery] | None = None
    headers: type[BaseQuery] | None = None
    body: type[BaseRequest] | None = None
    errors: tuple[int, ...] = ()
    """The error statuses that are particular to this operation.

    The OpenAPI document adds the error statuses that all operations share, and those that follow from the parameters
    and the body.
    """


_GENERAL: Final = (
    Operation(
        "GET /healthz",
        "healthz",
        "Return whether the process works; if it does not, restart it",
        status.HealthDocument,
        other_answers={503: status.HealthDocument},
    ),
    Operation(
        "GET /readyz",
        "readyz",
        "Return whether every source was polled successfully within three intervals",
        status.ReadinessDocument,
        other_answers={503: status.ReadinessDocument},
    ),
    Operation(
        "GET /metrics",
        "metrics",
        "Return the metrics for Prometheus",
        _PROMETHEUS,
        media_type="text/plain",
        errors=(503,),
    ),
    Operation("GET /openapi.json", "openapi", "Return this description", _OPENAPI),
    Operation(
        "GET /v1/status",
        "status",
        "Return the state of all sources and destinations",
        status.StatusDocument,
        errors=(503,),
    ),
    Operation(
        "POST /v1/sign-in-link",
        "signInLink",
        "Make a link that signs a browser in once; only over the owner's socket",
        status.SignInLinkDocument,
        other_answers={409: MessageDocument},
    ),
    Operation(
        "POST /v1/reload",
        "reload",
        "Read the configuration again, and apply it",
        status.ReloadDocument,
        other_answers={409: status.ReloadFailedDocument},
    ),
)

_FEED: Final = (
    Operation(
        "GET /v1/events",
        "events",
        "Return detected events, a page at a time",
        records.EventPageDocument,
        "Repeat the request with `after` set to the `next` of the previous page until a page is empty: only then are"
        " there no more events for now. A number that this state file has never reached comes from another state file;"
        " the feed then starts from its beginning.",
        query=PageQuery,
        errors=(404, 503),
    ),
    Operation(
        "GET /v1/events/stream",
        "stream",
        "Return new events as they are detected",
        _STREAM,
        "Without `after` and `Last-Event-ID` the stream begins with the next new event. A client that reads too slowly"
        " is disconnected; it can reconnect and continue after the last event that it received.",
        media_type="text/event-stream",
        query=StreamQuery,
        headers=StreamHeaders,
        errors=(404, 503),
    ),
)

_SOURCES: Final = (
    Operation(
        "POST /v1/sources/{name}/poll",
        "poll",
        "Look for new completions now",
        records.PollDocument,
        other_answers={409: records.PollDocument},
    ),
    Operation(
        "POST /v1/sources/{name}/sweep",
        "sweep",
        "Begin to read the whole list, or continue",
        records.SweepBegunDocument,
        other_answers={409: records.SweepBegunDocument},
        errors=(503,),
    ),
    Operation(
        "POST /v1/sources/{name}/release",
        "release",
        "Report the changes that are held back, or accept them without reporting them",
        records.ReleasedDocument,
        "Arrivals are released at once; removals and changes by a sweep of the whole list, which begins now.",
        body=ReleaseRequest,
        errors=(503,),
    ),
    Operation(
        "GET /v1/records/{key}",
        "record",
        "Return one record's history: how it was found, what was sent where, each attempt",
        records.RecordDocument,
        errors=(503,),
    ),
)

_DELIVERIES: Final = (
    Operation(
        "GET /v1/deliveries",
        "deliveries",
        "Return deliveries, a page at a time",
        deliveries.DeliveryPageDocument,
        query=DeliveriesQuery,
        errors=(404, 503),
    ),
    Operation(
        "POST /v1/deliveries/retry",
        "retry",
        "Put deliveries back into the queue",
        deliveries.RetriedDocument,
        body=RetryRequest,
        errors=(404, 503),
    ),
    Operation(
        "POST /v1/deliveries/drop",
        "drop",
        "Remove deliveries from the queue for good",
        deliveries.DroppedDocument,
        body=DropRequest,
        errors=(404, 503),
    ),
    Operation(
        "POST /v1/deliveries/move",
        "move",
        "Move the waiting deliveries of a destination that is not configured to another",
        deliveries.MovedDocument,
        other_answers={409: deliveries.MovedDocument},
        body=MoveRequest,
        errors=(404, 503),
    ),
    Operation(
        "GET /v1/destinations/{name}",
        "destination",
        "Return whether a destination is enabled, and whether its configuration has changed since it was read",
        deliveries.DestinationStandingDocument,
    ),
    Operation("POST /v1/destinations/{name}/try", "try", "Try a failing destination now", deliveries.TriedDocument),
    Operation(
        "POST /v1/destinations/{name}/enable",
        "enable",
        "Enable a destination",
        deliveries.SwitchedDocument,
        errors=(503,),
    ),
    Operation(
        "POST /v1/destinations/{name}/disable",
        "disable",
        "Disable a destination; the deliveries that wait for it are kept",
        deliveries.SwitchedDocument,
        errors=(503,),
    ),
    Operation(
        "POST /v1/destinations/{name}/test", "test", "Send one sample event to a destination", deliveries.TestedDocument
    ),
)

_REPLAY: Final = (
    Operation(
        "GET /v1/replay",
        "replayProgress",
        "Return the progress of the latest replay",
        deliveries.ReplayProgressDocument,
        errors=(503,),
    ),
    Operation(
        "POST /v1/replay",
        "replay",
        "Send past events again, under their old ids",
        deliveries.ReplayPlanDocument,
        other_answers={409: MessageDocument},
        body=ReplayRequest,
        errors=(404, 503),
    ),
    Operation(
        "POST /v1/replay/stop",
        "stopReplay",
        "Stop a replay for good; what is in the queue is delivered",
        deliveries.ReplayProgressDocument,
        body=StopReplayRequest,
        errors=(503,),
    ),
)

_PEOPLE: Final = (
    Operation(
        "POST /v1/people/forget",
        "forget",
        "Erase a person's data from the state file",
        records.PersonForgottenDocument,
        "The person's events are deleted, including those that are not delivered yet, and the content of removed"
        " records; their keys, dates and fingerprints stay. Records that the account still has are not erased.",
        body=ForgetRequest,
        errors=(404, 503),
    ),
)

OPERATIONS: Final[Mapping[str, tuple[Operation, ...]]] = MappingProxyType(
    {
        "general": _GENERAL,
        "feed": _FEED,
        "sources": _SOURCES,
        "deliveries": _DELIVERIES,
        "replay": _REPLAY,
        "people": _PEOPLE,
    }
)
"""The operations by tag."""
