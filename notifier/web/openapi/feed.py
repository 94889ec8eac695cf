"""The OpenAPI description of the feed."""

from notifier.destinations.webhook.event_schema import schema
from notifier.events import EventType
from notifier.web.openapi.parts import (
    Described,
    Subject,
    answer,
    complete,
    in_query,
    operation,
    ref,
    several,
    text,
    whole,
)
from notifier.web.queries import MOST_ON_A_PAGE

_TAG = "feed"
_HIGHEST = 2**63 - 1
_SEVERAL = "May stand there several times, or hold several between commas; where it does not, all are meant."


def describe() -> Subject:
    """Return the OpenAPI description of the feed."""
    return Subject(
        {
            "/v1/events": {
                "get": operation(
                    "events",
                    "What was detected, page by page",
                    {200: answer("A page of events.", ref("EventPage"))},
                    tag=_TAG,
                    description="Ask again with `after` set to the `next` of the page before, until a page is empty:"
                    " only that one says that there is nothing more for now. A number that this state file has never"
                    " reached comes from another one, and the feed starts over.",
                    parameters=(_after("Only events behind this number."), limit(), *_filters()),
                    errors=(400, 404, 503),
                )
            },
            "/v1/events/stream": {
                "get": operation(
                    "stream",
                    "What is detected, as it happens",
                    {
                        200: answer(
                            "Server-sent events: `id` is the event's number, `data` the CloudEvent on one line.",
                            {"type": "string"},
                            "text/event-stream",
                        )
                    },
                    tag=_TAG,
                    description="Without `after` and `Last-Event-ID` it begins with the next new event. A client that"
                    " reads too slowly is let go, and comes back for the rest by the number of the last event.",
                    parameters=(
                        _after("Begin behind this number."),
                        *_filters(),
                        {
                            "name": "Last-Event-ID",
                            "in": "header",
                            "description": "Where a reader comes back: the number of the last event that it had."
                            " It counts, and not `after`.",
                            "schema": whole("An event's number.", maximum=_HIGHEST),
                        },
                    ),
                    errors=(400, 404, 503),
                )
            },
        },
        {
            "EventPage": complete(
                {
                    "events": several(ref("Event"), "In the order of their detection.", maxItems=MOST_ON_A_PAGE),
                    "next": whole("The number behind which the next page begins."),
                }
            ),
            "Event": _event(),
        },
    )


def limit() -> Described:
    """Return the description of the parameter `limit`, the size of a page."""
    most = {"type": "integer", "minimum": 1, "maximum": MOST_ON_A_PAGE, "default": 100}
    return in_query("limit", {**most, "description": "The most that the page may hold."})


def _after(description: str) -> Described:
    return in_query("after", whole(description, maximum=_HIGHEST))


def _filters() -> tuple[Described, ...]:
    """Return the parameters that filter events. They may be repeated, which is OpenAPI's default (`explode`)."""
    name = text("A source's name.", pattern="^[a-z0-9-]+$")
    kind = {"type": "string", "enum": [str(kind) for kind in EventType]}
    return (
        in_query("source", several(name, f"Only events of these sources. {_SEVERAL}")),
        in_query("type", several(kind, f"Only events of these types. {_SEVERAL}")),
    )


def _event() -> Described:
    """Return the schema of `notifier schema event`, with its references adapted to this document."""
    event = schema()
    del event["$schema"]
    return _moved(event)


def _moved(piece: Described) -> Described:
    def move(value: object) -> object:
        if isinstance(value, dict):
            return {
                key: inner.replace("#/$defs/", "#/components/schemas/Event/$defs/") if key == "$ref" else move(inner)
                for key, inner in value.items()
            }
        return value

    return {key: move(value) for key, value in piece.items()}
