"""The OpenAPI description of deliveries and destinations."""

from typing import Final

from notifier.destinations.outcome import AttemptResult
from notifier.store.tables.destinations import HealthState
from notifier.store.tables.outbox import DeliveryState
from notifier.web.openapi.feed import limit
from notifier.web.openapi.parts import (
    Described,
    Subject,
    answer,
    by_name,
    complete,
    in_path,
    in_query,
    moment,
    one_of,
    operation,
    or_null,
    ref,
    several,
    text,
    whole,
    wish,
)
from notifier.web.queries import MOST_ON_A_PAGE
from notifier.web.requests import DROPPED_STATES, RETRIED_STATES

_TAG = "deliveries"


def describe() -> Subject:
    """Return the OpenAPI description of deliveries and destinations."""
    destination = in_path("name", text("The destination's name in the configuration."))
    switched = {200: answer("How it stands now.", ref("Switched"))}
    return Subject(
        {
            "/v1/deliveries": {
                "get": operation(
                    "deliveries",
                    "What was sent, tried, given up, page by page",
                    {200: answer("A page of deliveries.", ref("DeliveryPage"))},
                    tag=_TAG,
                    parameters=(
                        in_query("state", one_of("Only those in this state.", DeliveryState)),
                        in_query("destination", text("Only those to this destination.")),
                        in_query(
                            "after",
                            text(
                                "Only those behind this place: the `next` of the page before, or an event's number.",
                                pattern="^[0-9]{1,18}(,[a-z0-9-]*)?$",
                            ),
                        ),
                        limit(),
                    ),
                    errors=(400, 404, 503),
                )
            },
            "/v1/deliveries/retry": {
                "post": operation(
                    "retry",
                    "Put deliveries back into the queue",
                    {200: answer("How many.", ref("Retried"))},
                    tag=_TAG,
                    body=ref("RetryWish"),
                    errors=(400, 404, 503),
                )
            },
            "/v1/deliveries/drop": {
                "post": operation(
                    "drop",
                    "Take deliveries out of the queue for good",
                    {200: answer("How many.", ref("Dropped"))},
                    tag=_TAG,
                    body=ref("DropWish"),
                    needs_body=True,
                    errors=(400, 404, 503),
                )
            },
            "/v1/deliveries/move": {
                "post": operation(
                    "move",
                    "Hand what waits for a destination that is not configured over to another",
                    {
                        200: answer("How many.", ref("Moved")),
                        409: answer("The first one is configured.", ref("Moved")),
                    },
                    tag=_TAG,
                    body=ref("MoveWish"),
                    needs_body=True,
                    errors=(400, 404, 503),
                )
            },
            "/v1/destinations/{name}": {
                "get": operation(
                    "destination",
                    "Whether a destination is enabled, and whether its configuration has changed since it was read",
                    {200: answer("How it stands now.", ref("DestinationStanding"))},
                    tag=_TAG,
                    parameters=(destination,),
                    errors=(404,),
                )
            },
            "/v1/destinations/{name}/try": {
                "post": operation(
                    "try",
                    "Let a destination in trouble wait no longer",
                    {200: answer("Whether it waited.", ref("Tried"))},
                    tag=_TAG,
                    parameters=(destination,),
                    errors=(404,),
                )
            },
            "/v1/destinations/{name}/enable": {
                "post": operation(
                    "enable",
                    "Let a destination go on",
                    switched,
                    tag=_TAG,
                    parameters=(destination,),
                    errors=(404, 503),
                )
            },
            "/v1/destinations/{name}/disable": {
                "post": operation(
                    "disable",
                    "Park a destination; what waits for it is kept",
                    switched,
                    tag=_TAG,
                    parameters=(destination,),
                    errors=(404, 503),
                )
            },
            "/v1/destinations/{name}/test": {
                "post": operation(
                    "test",
                    "Send one sample event there",
                    {200: answer("What came of it.", ref("Tested"))},
                    tag=_TAG,
                    parameters=(destination,),
                    errors=(404,),
                )
            },
        },
        {**_SCHEMAS},
    )


DELIVERY: Final[Described] = {
    "sequence": whole("The event's number."),
    "event": text("The event's id."),
    "type": text("The event's type."),
    "source": text("The source's name; of notices, empty."),
    "record": text("The record's key."),
    "destination": text("Where it goes."),
    "state": one_of("What it waits for, if for anything.", DeliveryState),
    "attempts": whole("Attempts so far."),
    "decision": or_null(text("What was decided after the last one.")),
    "reason": or_null(text("How the last one ended.")),
    "status": or_null(whole("The HTTP status of the last one, where there was an answer.")),
    "detail": or_null(text("What the peer or the network said, free of secrets.")),
    "last_attempt": or_null(moment("When the last one was made.")),
    "next_attempt": or_null(moment("When the next one is due; null when at once, or never.")),
}
"""The properties of a delivery, in every answer that contains one."""

_UNFOLLOWED: Final[Described] = {
    "unfollowed": several(
        text("A key as `destinations.NAME.KEY`; the table itself where it is new or gone."),
        "What has changed in the destination's configuration since the daemon read it: a reload is due.",
    ),
    "message": text("What is to be known of it; empty where there is nothing."),
}

_STANDING: Final[Described] = {
    "state": or_null(one_of("Its state; null for one that the daemon does not follow yet.", HealthState)),
    "reason": or_null(text("Why it is in that state.")),
    **_UNFOLLOWED,
}

_SCHEMAS = {
    "DeliveryPage": complete(
        {
            "deliveries": several(ref("Delivery"), "By event, then by destination.", maxItems=MOST_ON_A_PAGE),
            "next": text("The place behind which the next page begins."),
        }
    ),
    "Delivery": complete(DELIVERY),
    "RetryWish": {
        **wish(
            {
                "event_ids": or_null(several({"type": "string"}, "Only of these events; none means of all.")),
                "destination": or_null(text("Only to this destination.")),
                "state": or_null(
                    one_of("Those in this state; by default the dead ones. Delivered: only of events.", RETRIED_STATES)
                ),
            },
            "Which deliveries are meant.",
        ),
        "if": {"required": ["state"], "properties": {"state": {"const": "delivered"}}},
        "then": {"required": ["event_ids"], "properties": {"event_ids": {"type": "array", "minItems": 1}}},
    },
    "Retried": complete(
        {
            "deliveries": whole("How many were put back."),
            "destinations": by_name({"type": "integer"}, "How many by destination, where there are any."),
            "waited": several({"type": "string"}, "Destinations that waited as a whole, and are tried now."),
            "message": text("Why none was put back, where none was."),
        }
    ),
    "DropWish": {
        **wish(
            {
                "event_ids": or_null(several({"type": "string"}, "Only of these events.")),
                "destination": or_null(text("Only to this destination, which may be configured no longer.")),
                "state": or_null(one_of("Those in this state; by default the pending ones.", DROPPED_STATES)),
                "unmatched": {
                    "type": ["boolean", "null"],
                    "description": "Only those that the destination's filters would not let through now.",
                },
                "dry_run": {"type": ["boolean", "null"], "description": "Only say how many there are."},
            },
            "Which deliveries are meant: events or a destination are named.",
        ),
        "anyOf": [
            {"required": ["event_ids"], "properties": {"event_ids": {"type": "array", "minItems": 1}}},
            {"required": ["destination"], "properties": {"destination": {"type": "string"}}},
        ],
    },
    "Dropped": complete(
        {
            "deliveries": whole("How many were dropped, or would be."),
            "destinations": by_name({"type": "integer"}, "How many by destination, where there are any."),
            "dry_run": {"type": "boolean"},
        }
    ),
    "MoveWish": {
        **wish(
            {
                "from": text("The name that they wait for, which no destination has any more."),
                "to": text("The destination that is to get them, under the same ids."),
            },
            "Which deliveries are handed over, and to whom.",
        ),
        "required": ["from", "to"],
    },
    "Moved": complete(
        {"deliveries": whole("How many were handed over."), "message": text("Why none was, where none could be.")}
    ),
    "Tried": complete({"destination": text("The destination."), "waited": {"type": "boolean"}}),
    "Switched": complete(
        {
            "destination": text("The destination."),
            "state": one_of("Its state.", HealthState),
            "reason": or_null(text("Why it is in that state.")),
            "waited": {"type": "boolean", "description": "Whether it was in trouble and waited, and is tried now."},
            **_UNFOLLOWED,
        }
    ),
    "Tested": complete(
        {
            "destination": text("The destination."),
            "event": text("The sample event's id."),
            "result": one_of("How the attempt ended.", AttemptResult),
            "status": or_null(whole("The HTTP status, where there was an answer.")),
            "answer": text("What the peer or the network said, free of secrets."),
            "waited": {"type": "boolean", "description": "Whether it was in trouble and waited, and does no longer."},
            "milliseconds": whole("How long it took."),
            **_STANDING,
        }
    ),
    "DestinationStanding": complete({"destination": text("The destination."), **_STANDING}),
}
