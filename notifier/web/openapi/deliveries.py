"""Deliveries, and the destinations that they go to."""

from typing import Final

from notifier.deliver.outcome import Reason
from notifier.ledger.destinations import HealthState
from notifier.ledger.outbox import DeliveryState
from notifier.web.asked import MOST_ON_A_PAGE, RETRIED_STATES
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

_TAG = "deliveries"


def describe() -> Subject:
    """Describe them."""
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
"""What is told of a delivery wherever it is."""

_SCHEMAS = {
    "DeliveryPage": complete(
        {
            "deliveries": several(ref("Delivery"), "By event, then by destination.", maxItems=MOST_ON_A_PAGE),
            "next": text("The place behind which the next page begins."),
        }
    ),
    "Delivery": complete(DELIVERY),
    "RetryWish": wish(
        {
            "event_ids": or_null(several({"type": "string"}, "Only of these events; none means of all.")),
            "destination": or_null(text("Only to this destination.")),
            "state": or_null(one_of("Those in this state; by default the dead ones.", RETRIED_STATES)),
        },
        "Which deliveries are meant.",
    ),
    "Retried": complete(
        {
            "deliveries": whole("How many were put back."),
            "destinations": by_name({"type": "integer"}, "How many by destination, where there are any."),
        }
    ),
    "Switched": complete(
        {
            "destination": text("The destination."),
            "state": one_of("Its state.", HealthState),
            "reason": or_null(text("Why it is in that state.")),
        }
    ),
    "Tested": complete(
        {
            "destination": text("The destination."),
            "event": text("The sample event's id."),
            "result": one_of("How the attempt ended.", Reason),
            "status": or_null(whole("The HTTP status, where there was an answer.")),
            "answer": text("What the peer or the network said, free of secrets."),
            "milliseconds": whole("How long it took."),
        }
    ),
}
