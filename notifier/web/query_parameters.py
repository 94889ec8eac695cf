"""Models of query parameters and request headers, for parsing them and for the OpenAPI document. Pure."""

import re
from typing import TYPE_CHECKING, Annotated, Final, TypeVar, get_origin

from msgspec import Struct
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from notifier.events import EventType
from notifier.store.queries.feed import EventFilter
from notifier.store.queries.history import DeliveryCursor, DeliveryFilter
from notifier.store.tables.outbox import DeliveryState
from notifier.web.requests import HIGHEST_INTEGER, MustBe, WrongRequestError, error_sentence

if TYPE_CHECKING:
    from multidict import MultiMapping

MAX_PAGE_ENTRIES: Final = 1000
_DEFAULT_PAGE_ENTRIES: Final = 100

LAST_EVENT_ID: Final = "Last-Event-ID"
"""The header with the number of the last event that a reconnecting browser received."""

# 18 digits are more than any number of an event has, and every such number fits into SQLite's integers.
_CURSOR: Final = re.compile("^([0-9]{1,18})(?:,([a-z0-9-]*))?$")


class BaseQuery(BaseModel):
    """Base of models for query parameters or headers.

    Unknown parameters are ignored; empty ones count as missing. A parameter whose type is a tuple can be repeated. Each
    repetition has one value, or several separated by commas.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True, defer_build=True)


Query = TypeVar("Query", bound=BaseQuery)


def parse_query(model: type[Query], query: "MultiMapping[str]") -> Query:
    """Parse query parameters or headers into an instance of `model`. Raises WrongRequestError."""
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    given = {
        name: ",".join(query.getall(name, ())) if get_origin(field.annotation) is tuple else query.get(name)
        for name, field in fields.items()
    }
    try:
        return model.model_validate({name: value for name, value in given.items() if value})
    except ValidationError as error:
        raise WrongRequestError(error_sentence(model, error)) from error


def format_cursor(cursor: DeliveryCursor) -> str:
    """Format a position in the list of deliveries as a value of the parameter `after`."""
    return f"{cursor.sequence},{cursor.destination}"


def parse_digits(text: str) -> int:
    """Parse a number that consists of ASCII digits only. Raises ValueError for any other text."""
    # Python's int() accepts signs, spaces, underscores, and the digits of all scripts.
    if not re.fullmatch("[0-9]{1,20}", text):
        raise ValueError(text)
    return int(text)


def _parse_cursor(text: str) -> DeliveryCursor:
    place = _CURSOR.fullmatch(text)
    if place is None:
        raise ValueError(text)
    # A number alone stands for the place after all deliveries of that event.
    return DeliveryCursor(int(place[1]) + 1) if place[2] is None else DeliveryCursor(int(place[1]), place[2])


def _split_list(text: str) -> tuple[str, ...]:
    return tuple(value for value in text.split(",") if value)


_Number = Annotated[int, Field(ge=0, le=HIGHEST_INTEGER), BeforeValidator(parse_digits)]
_Limit = Annotated[
    Annotated[int, Field(ge=1, le=MAX_PAGE_ENTRIES)],
    BeforeValidator(parse_digits),
    MustBe(f"1 to {MAX_PAGE_ENTRIES}"),
    Field(description="The most entries that the page may have."),
]
_MUST_BE_NUMBER: Final = MustBe("an event's sequence, as a whole number")
_REPEATABLE: Final = "Can be repeated, or have several values separated by commas; without it, all are included."


class DeliveriesQuery(BaseQuery):
    """The parameters of a page of deliveries."""

    state: Annotated[
        DeliveryState | SkipJsonSchema[None],
        MustBe.one_of(DeliveryState),
        Field(description="Only deliveries in this state."),
    ] = None
    destination: Annotated[
        str | SkipJsonSchema[None], MustBe("a text"), Field(description="Only deliveries to this destination.")
    ] = None
    after: Annotated[
        DeliveryCursor | None,
        BeforeValidator(_parse_cursor),
        WithJsonSchema({"type": "string", "pattern": _CURSOR.pattern}),
        MustBe("the `next` of the page before, or an event's sequence"),
        Field(description="Only deliveries after this place: the `next` of the previous page, or an event's number."),
    ] = None
    limit: _Limit = _DEFAULT_PAGE_ENTRIES


class _EventsQuery(BaseQuery):
    source: Annotated[
        tuple[Annotated[str, Field(pattern="^[a-z0-9-]+$", description="A source's name.")], ...],
        BeforeValidator(_split_list),
        MustBe("names of sources: lower-case letters, digits, hyphens"),
        Field(description=f"Only events of these sources. {_REPEATABLE}"),
    ] = ()
    type: Annotated[
        tuple[EventType, ...],
        BeforeValidator(_split_list),
        MustBe(f"among {', '.join(EventType)}"),
        Field(description=f"Only events of these types. {_REPEATABLE}"),
    ] = ()

    @property
    def event_filter(self) -> EventFilter:
        """The filter for the requested events."""
        return EventFilter(frozenset(self.source), frozenset(self.type))


class PageQuery(_EventsQuery):
    """The parameters of a page of events."""

    after: Annotated[_Number, _MUST_BE_NUMBER, Field(description="Only events after this number.")] = 0
    limit: _Limit = _DEFAULT_PAGE_ENTRIES


class StreamQuery(_EventsQuery):
    """The parameters of a stream of events."""

    after: Annotated[
        _Number | SkipJsonSchema[None], _MUST_BE_NUMBER, Field(description="The number after which the stream begins.")
    ] = None


class StreamHeaders(BaseQuery):
    """The headers with which a stream is resumed."""

    last_event_id: Annotated[
        _Number | SkipJsonSchema[None],
        _MUST_BE_NUMBER,
        Field(
            alias=LAST_EVENT_ID,
            description="The number of the last event that a reconnecting reader received. It is used instead of"
            " `after`.",
        ),
    ] = None


class DeliveryPageRequest(Struct, frozen=True):
    """A request for up to `limit` deliveries that match `delivery_filter` and follow the position `after`."""

    delivery_filter: DeliveryFilter
    after: DeliveryCursor
    limit: int


def parse_delivery_page(query: "MultiMapping[str]") -> DeliveryPageRequest:
    """Parse the query parameters of a page of deliveries. Raises WrongRequestError."""
    it = parse_query(DeliveriesQuery, query)
    return DeliveryPageRequest(DeliveryFilter(it.state, it.destination), it.after or DeliveryCursor(), it.limit)


def parse_stream(query: "MultiMapping[str]", headers: "MultiMapping[str]") -> StreamQuery:
    """Parse the request for a stream of events. The header `Last-Event-ID`, if present, replaces `after`.

    Raises WrongRequestError.
    """
    wanted = parse_query(StreamQuery, query)
    last = parse_query(StreamHeaders, headers).last_event_id
    return wanted if last is None else wanted.model_copy(update={"after": last})
