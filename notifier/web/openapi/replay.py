"""Replays of past events."""

from notifier.deliver.replaying import ReplayState
from notifier.web.asked import REPLAYED_TYPES
from notifier.web.openapi.parts import (
    Subject,
    answer,
    by_name,
    complete,
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

_TAG = "replay"
_WHEN = "a date (UTC), 2026-11-21, or a moment, 2026-11-21T17:00:00Z"
_FORMATS = [{"format": "date"}, {"format": "date-time"}]


def describe() -> Subject:
    """Describe them."""
    progress = {200: answer("How far it has come.", ref("ReplayProgress"))}
    return Subject(
        {
            "/v1/replay": {
                "get": operation(
                    "replayProgress", "How far the latest replay has come", progress, tag=_TAG, errors=(503,)
                ),
                "post": operation(
                    "replay",
                    "Send past events again, under their old ids",
                    {
                        200: answer("It has begun; or, of a dry run, what it would send.", ref("ReplayPlan")),
                        409: answer(
                            "Another one is under way.", complete({"message": text("What can be done about it.")})
                        ),
                    },
                    tag=_TAG,
                    body=ref("ReplayWish"),
                    needs_body=True,
                    errors=(400, 404, 503),
                ),
            },
            "/v1/replay/stop": {
                "post": operation("stopReplay", "Put nothing more into the queue", progress, tag=_TAG, errors=(503,))
            },
        },
        {**_SCHEMAS},
    )


_SCHEMAS = {
    "ReplayWish": wish(
        {
            "since": text(f"What was detected from then on: {_WHEN}.", anyOf=_FORMATS),
            "until": or_null(text(f"And before then, or on that day: {_WHEN}; by default until now.")),
            "destination": or_null(text("Only to this destination.")),
            "source": or_null(text("Only events of this source.")),
            "type": or_null(one_of("Only events of this type.", REPLAYED_TYPES)),
            "dry_run": {"type": ["boolean", "null"], "description": "Only say how many there are."},
        },
        "Which past events are meant, by the moment of their detection.",
        required=("since",),
    ),
    "ReplayPlan": complete(
        {
            "events": whole("Events that are sent again."),
            "deliveries": whole("Deliveries of them."),
            "destinations": by_name({"type": "integer"}, "Deliveries by destination."),
            "forgotten_before": or_null(moment("Before then, what was delivered may be forgotten already.")),
            "message": {"type": "string"},
        }
    ),
    "ReplayProgress": complete(
        {
            "state": or_null(one_of("Whether it goes on; null when there was none.", ReplayState)),
            "deliveries": whole("Deliveries that it is to send."),
            "queued": whole("Those put into the queue so far."),
            "waits_for": several({"type": "string"}, "Destinations whose queue has to shrink first."),
            "goes_on_since": or_null(moment("From when on another replay would have to go on.")),
        }
    ),
}
