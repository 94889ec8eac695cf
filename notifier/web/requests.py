"""Models of the JSON bodies of requests, for parsing them and for the OpenAPI document. Pure."""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from functools import partial
from typing import Annotated, Any, Final, Literal, Self, TypeVar, get_args

from msgspec import Struct
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator

from notifier.events import EventType
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.requeue import DropSelection, RetrySelection
from notifier.watch.detection.holds import Direction

HIGHEST_INTEGER: Final = 2**63 - 1
"""The highest integer that SQLite supports."""

_LONGEST_NAME: Final = 500

_RetriedState = Literal[DeliveryState.DEAD, DeliveryState.PENDING, DeliveryState.DELIVERED]
_DroppedState = Literal[DeliveryState.DEAD, DeliveryState.PENDING]
_ReplayedType = Literal[
    EventType.CREATED,
    EventType.UPDATED,
    EventType.REMOVED,
    EventType.EXPIRING,
    EventType.EXPIRED,
    EventType.RENEWED,
]

RETRYABLE_STATES: Final[tuple[DeliveryState, ...]] = get_args(_RetriedState)
"""The states in which a delivery can be put back into the queue. A request for delivered ones must name the events."""

DROPPABLE_STATES: Final[tuple[DeliveryState, ...]] = get_args(_DroppedState)
"""The states in which a delivery can be dropped."""

REPLAYABLE_TYPES: Final = tuple(str(type_) for type_ in get_args(_ReplayedType))
"""The types of events that can be replayed. Alerts are left out, because old alerts would only confuse."""

EVENTS_REQUIRED: Final = "name the events to send again; a replay sends all events of a period again"
"""The error message for a request to retry delivered events without naming them."""

_DAY_MS: Final = 86_400_000

_EARLIEST_MS: Final = round(datetime(1, 1, 1, tzinfo=UTC).timestamp() * 1000)
_LATEST_MS: Final = round(datetime(9999, 12, 31, tzinfo=UTC).timestamp() * 1000) + _DAY_MS - 1

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9:]{5})"
)


class WrongRequestError(Exception):
    """A field of the request is missing or invalid; the message says which."""


class MustBe(Struct, frozen=True):
    """Describes the valid values of an annotated field. Error messages about the field contain the description."""

    what: str

    @classmethod
    def one_of(cls, words: Iterable[str]) -> "MustBe":
        """Return the annotation of a field whose value must be one of `words`."""
        return cls(f"one of {', '.join(words)}")


class BaseRequest(BaseModel):
    """Base of all request bodies. Unknown fields and values of a wrong type are errors."""

    # The first request builds the validators, so that they do not delay the start of the daemon.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)


RequestBody = TypeVar("RequestBody", bound=BaseRequest)


def parse_body(model: type[RequestBody], body: bytes) -> RequestBody:
    """Parse the body of a request; an empty body is parsed as `{}`. Raises WrongRequestError."""
    try:
        return model.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise WrongRequestError(error_sentence(model, error)) from error


def error_sentence(model: type[BaseModel], error: ValidationError) -> str:
    """Return a sentence about one error in a request. The sentence contains no value from the request."""
    # An unknown field is reported first: it may be the misspelt name of a field that is missing.
    problem = min(error.errors(include_url=False, include_input=False), key=lambda it: it["type"] != "extra_forbidden")
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    name = str(problem["loc"][0]) if problem["loc"] else ""
    match problem["type"]:
        case "json_invalid":
            return f"the body is no JSON: {problem['ctx']['error']}"
        case "extra_forbidden":
            return f"there is no field `{name}`; there is {', '.join(sorted(fields))}"
        case "value_error" if not name:
            return str(problem["ctx"]["error"])
        case _ if not name:
            return "the body must be a JSON object"
    what = next(it.what for it in fields[name].metadata if isinstance(it, MustBe))
    return f"`{name}` is required: {what}" if problem["type"] == "missing" else f"`{name}` must be {what}"


def parse_moment_ms(text: str, *, whole_day: bool = False) -> int:
    """Parse a date (UTC) or an RFC 3339 time into Unix milliseconds. Raises ValueError for any other text.

    A date means the start of the day or, with `whole_day`, its end. A time outside the years 1 to 9999 (UTC) is
    replaced with the nearest time in these years.
    """
    if _DATE.fullmatch(text):
        day = date.fromisoformat(text)
        begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
        return clamp_to_calendar(round(begin.timestamp() * 1000) + (_DAY_MS if whole_day else 0))
    if not _MOMENT.fullmatch(text):
        raise ValueError(text)
    return clamp_to_calendar(round(datetime.fromisoformat(text.upper()).timestamp() * 1000))


def clamp_to_calendar(ms: int) -> int:
    """Limit a time (Unix ms) to the years 1 to 9999 (UTC), which `datetime` supports."""
    return min(max(_EARLIEST_MS, ms), _LATEST_MS)


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _integer_if_whole(value: object) -> object:
    # JSON does not distinguish integers from other numbers, so 7.0 means 7.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _optional_moment_ms(value: object, *, whole_day: bool = False) -> int | None:
    if value is None or value == "":
        return None
    return parse_moment_ms(str(value), whole_day=whole_day)


_Text = Annotated[str | None, BeforeValidator(_none_if_empty), MustBe("a text")]
"""A text or None; an empty text is read as None."""

_EventIds = Annotated[
    Annotated[tuple[str, ...], Field(min_length=1)] | None, MustBe("a list of event ids, with at least one")
]
"""The ids of events, or None for all events. An empty list is an error, so that it never stands for all events."""

_Flag = Annotated[bool | None, MustBe("true or false")]
_FORMATS: Final = [{"format": "date"}, {"format": "date-time"}]
_MUST_BE_MOMENT: Final = MustBe("a date, 2026-11-21, or a moment, 2026-11-21T17:00:00Z")
_MOMENT_DESCRIPTION: Final = "a date (UTC), 2026-11-21, or a moment, 2026-11-21T17:00:00Z"


def _require_one_of(*fields: str) -> dict[str, Any]:
    """Return a JSON Schema that requires a value in at least one of these fields."""
    values = {
        "event_ids": {"type": "array", "minItems": 1},
        "destination": {"type": "string"},
    }
    return {"anyOf": [{"required": [name], "properties": {name: values[name]}} for name in fields]}


class ReleaseRequest(BaseRequest):
    """The kind of held changes to report, or to accept silently."""

    what: Annotated[Direction, MustBe.one_of(Direction), Field(description="The kind of changes to release.")]
    silently: Annotated[
        bool, MustBe("true or false"), Field(description="Whether to accept the changes without reporting them.")
    ] = False


class RetryRequest(BaseRequest):
    """The deliveries to put back into the queue."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"required": ["state"], "properties": {"state": {"const": "delivered"}}},
            "then": _require_one_of("event_ids")["anyOf"][0],
        }
    )

    event_ids: Annotated[_EventIds, Field(description="Only deliveries of these events; by default of all.")] = None
    destination: Annotated[_Text, Field(description="Only deliveries to this destination.")] = None
    state: Annotated[
        _RetriedState | None,
        BeforeValidator(_none_if_empty),
        MustBe("dead, pending or delivered"),
        Field(
            description="Only deliveries in this state; by default dead ones. Delivered ones only if events are named."
        ),
    ] = None

    @model_validator(mode="after")
    def _check_events_are_named(self) -> Self:
        if self.state is DeliveryState.DELIVERED and not self.event_ids:
            raise ValueError(EVENTS_REQUIRED)
        return self


class DropRequest(BaseRequest):
    """The deliveries to remove from the queue. The request must name events or a destination."""

    model_config = ConfigDict(json_schema_extra=_require_one_of("event_ids", "destination"))

    event_ids: Annotated[_EventIds, Field(description="Only deliveries of these events.")] = None
    destination: Annotated[
        _Text, Field(description="Only deliveries to this destination. It may be one that is no longer configured.")
    ] = None
    state: Annotated[
        _DroppedState | None,
        BeforeValidator(_none_if_empty),
        MustBe("pending or dead: what is delivered cannot be dropped"),
        Field(description="Only deliveries in this state; by default pending ones."),
    ] = None
    unmatched: Annotated[
        _Flag, Field(description="Only deliveries that the destination's filters would reject now.")
    ] = None
    dry_run: Annotated[_Flag, Field(description="Whether to count the deliveries without removing them.")] = None

    @model_validator(mode="after")
    def _check_selection(self) -> Self:
        if not self.event_ids and self.destination is None:
            raise ValueError("give `event_ids` or a `destination`")
        return self


class MoveRequest(BaseRequest):
    """The destination that is no longer configured, and the destination that gets the waiting deliveries."""

    old: Annotated[
        str,
        MustBe("the name of a destination that is no longer configured"),
        Field(alias="from", min_length=1, description="The name of the destination that is no longer configured."),
    ]
    new: Annotated[
        str,
        MustBe("the name of a destination"),
        Field(alias="to", min_length=1, description="The destination that gets the deliveries, under the same ids."),
    ]


class ForgetRequest(BaseRequest):
    """The person whose data is to be erased."""

    person: Annotated[
        str,
        Field(
            pattern=r"\S",
            max_length=_LONGEST_NAME,
            description="The person's id at a source, employee number, or exact name.",
        ),
        BeforeValidator(_stripped),
        MustBe("a user's id, an employee number or an exact name"),
    ]
    dry_run: Annotated[_Flag, Field(description="Whether to show who is meant without erasing anything.")] = None


class ReplayRequest(BaseRequest):
    """The past events to send again, chosen by the time of their detection."""

    since_ms: Annotated[
        int,
        BeforeValidator(_optional_moment_ms),
        WithJsonSchema({"type": "string", "anyOf": _FORMATS}),
        _MUST_BE_MOMENT,
        Field(alias="since", description=f"Only events detected from then on: {_MOMENT_DESCRIPTION}."),
    ]
    until_ms: Annotated[
        int | None,
        BeforeValidator(partial(_optional_moment_ms, whole_day=True)),
        WithJsonSchema({"type": ["string", "null"], "anyOf": _FORMATS}),
        _MUST_BE_MOMENT,
        Field(
            alias="until",
            description="Only events detected before then, or up to the end of that day:"
            f" {_MOMENT_DESCRIPTION}; by default all.",
        ),
    ] = None
    destination: Annotated[_Text, Field(description="Only to this destination.")] = None
    source: Annotated[_Text, Field(description="Only events of this source.")] = None
    type: Annotated[
        _ReplayedType | None,
        BeforeValidator(_none_if_empty),
        MustBe.one_of(REPLAYABLE_TYPES),
        Field(description="Only events of this type."),
    ] = None
    dry_run: Annotated[_Flag, Field(description="Whether to count the events without sending them.")] = None

    @model_validator(mode="after")
    def _check_period(self) -> Self:
        if self.until_ms is not None and self.until_ms <= self.since_ms:
            raise ValueError("`until` must be later than `since`")
        return self


class StopReplayRequest(BaseRequest):
    """The replay to stop."""

    id: Annotated[
        Annotated[int, Field(ge=1, le=HIGHEST_INTEGER)] | None,
        BeforeValidator(_integer_if_whole),
        MustBe("the number of a replay, as `POST /v1/replay` gives it"),
        Field(description="Only the replay with this number; by default all that are under way."),
    ] = None


class ReplaySelection(Struct, frozen=True):
    """The events to replay: those detected at or after `since_ms` and before `until_ms` (Unix ms).

    If `until_ms` is None, the time of the request takes its place. `destination`, `source` and `type` restrict the
    replay if they are not None. With `dry_run`, nothing is sent.
    """

    since_ms: int
    until_ms: int | None = None
    destination: str | None = None
    source: str | None = None
    type: str | None = None
    dry_run: bool = False


def parse_retry(body: bytes) -> RetrySelection:
    """Parse the body of a request to retry deliveries. Raises WrongRequestError."""
    it = parse_body(RetryRequest, body)
    return RetrySelection(it.state or DeliveryState.DEAD, _without_duplicates(it.event_ids), it.destination)


def parse_drop(body: bytes) -> tuple[DropSelection, bool]:
    """Parse the body of a request to drop deliveries. Raises WrongRequestError.

    Returns the selected deliveries, and whether to only count them.
    """
    it = parse_body(DropRequest, body)
    state = it.state or DeliveryState.PENDING
    return DropSelection(_without_duplicates(it.event_ids), it.destination, state, unmatched=bool(it.unmatched)), bool(
        it.dry_run
    )


def parse_replay(body: bytes) -> ReplaySelection:
    """Parse the body of a request to replay events. Raises WrongRequestError."""
    it = parse_body(ReplayRequest, body)
    return ReplaySelection(it.since_ms, it.until_ms, it.destination, it.source, it.type, bool(it.dry_run))


def _without_duplicates(event_ids: tuple[str, ...] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(event_ids or ()))
