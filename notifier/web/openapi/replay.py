"""The OpenAPI description of replays of past events."""

from notifier.store.tables.replays import ReplayState
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
from notifier.web.requests import REPLAYED_TYPES

_TAG = "replay"
_WHEN = "a date (UTC), 2026-11-21, or a moment, 2026-11-21T17:00:00Z"
_STATES = (ReplayState.RUNNING, ReplayState.DONE, ReplayState.STOPPED)
_FORMATS = [{"format": "date"}, {"format": "date-time"}]


def describe() -> Subject:
    """Return the OpenAPI description of replays."""
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
                            "Another one to the same destination is under way.",
                            complete({"message": text("What can be done about it.")}),
                        ),
                    },
                    tag=_TAG,
                    body=ref("ReplayWish"),
                    needs_body=True,
                    errors=(400, 404, 503),
                ),
            },
            "/v1/replay/stop": {
                "post": operation(
                    "stopReplay",
                    "End a replay for good; what is in the queue is delivered",
                    progress,
                    tag=_TAG,
                    body=ref("ReplayChoice"),
                    errors=(400, 503),
                )
            },
        },
        {**_SCHEMAS},
    )


_REPLAY = {
    "id": or_null(whole("Its number.")),
    "state": or_null(one_of("Whether it goes on; null when there was none.", _STATES)),
    "events": whole("Events that it is to send."),
    "deliveries": whole("Deliveries that it is to send."),
    "queued": whole("Those put into the queue so far."),
    "waits_for": several({"type": "string"}, "Destinations for which it is not done."),
    "goes_on_since": or_null(moment("From when on another replay would have to go on.")),
    "since": or_null(moment("It is of events detected from then on.")),
    "until": or_null(moment("And before then.")),
    "source": or_null(text("Only events of this source.")),
    "type": or_null(text("Only events of this type.")),
    "begun_at": or_null(moment("When it was asked for.")),
    "ended_at": or_null(moment("When it was done, or stopped.")),
    "destinations": by_name(
        complete(
            {
                "state": one_of("Whether it goes on there.", ReplayState),
                "deliveries": whole("Deliveries that it is to send there."),
                "queued": whole("Those put into the queue so far."),
                "waits": or_null(text("What keeps it from putting more there.")),
            }
        ),
        "Its parts, by destination.",
    ),
}

_SCHEMAS = {
    "ReplayWish": wish(
        {
            "since": text(f"What was detected from then on: {_WHEN}.", anyOf=_FORMATS),
            "until": or_null(text(f"And before then, or on that day: {_WHEN}; by default until now.", anyOf=_FORMATS)),
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
            "id": or_null(whole("The number of the replay; null of a dry run.")),
            "events": whole("Events that are sent again."),
            "deliveries": whole("Deliveries of them."),
            "destinations": by_name({"type": "integer"}, "Deliveries by destination."),
            "forgotten_before": or_null(moment("Before then, what was delivered may be forgotten already.")),
            "message": {"type": "string"},
        }
    ),
    "ReplayChoice": wish(
        {"id": or_null(whole("Only the replay of this number; by default whichever is under way.", minimum=1))},
        "Which replay is meant.",
    ),
    "Replay": complete(
        _REPLAY, "A replay; null is what there is not to tell, everything but counts when there was none."
    ),
    "ReplayProgress": complete(
        {
            **_REPLAY,
            "previous": or_null(ref("Replay")),
            "others": several(ref("Replay"), "Earlier ones that are under way."),
        },
        "The latest replay, the one before, and earlier ones that go on.",
    ),
}
