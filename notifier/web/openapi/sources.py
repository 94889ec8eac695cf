"""The OpenAPI description of sources and their records."""

from notifier.events import DetectedBy
from notifier.store.tables.second_looks import LookKind
from notifier.watch.detection.holds import Direction
from notifier.watch.watcher import RoundResult
from notifier.web.openapi.deliveries import DELIVERY
from notifier.web.openapi.parts import (
    Described,
    Subject,
    answer,
    by_name,
    complete,
    in_path,
    moment,
    one_of,
    operation,
    or_null,
    ref,
    several,
    text,
    truth,
    whole,
    wish,
)

_TAG = "sources"

_WITHHELD = (*LookKind, *(f"held_{what}" for what in (Direction.ARRIVALS, Direction.CHANGES)))


def describe() -> Subject:
    """Return the OpenAPI description of sources and their records."""
    source = in_path("name", text("The source's name in the configuration."))
    return Subject(
        {
            "/v1/sources/{name}/poll": {
                "post": operation(
                    "poll",
                    "Look for new completions now",
                    {
                        200: answer("What came of it.", ref("Poll")),
                        409: answer("It could not be done now; the message says why.", ref("Poll")),
                    },
                    tag=_TAG,
                    parameters=(source,),
                    errors=(404,),
                )
            },
            "/v1/sources/{name}/sweep": {
                "post": operation(
                    "sweep",
                    "Begin to read the whole list, or go on with it",
                    {
                        200: answer("How far it has come.", ref("SweepBegun")),
                        409: answer("It may not be done now; the message says why.", ref("SweepBegun")),
                    },
                    tag=_TAG,
                    parameters=(source,),
                    errors=(404, 503),
                )
            },
            "/v1/sources/{name}/release": {
                "post": operation(
                    "release",
                    "Tell of what is held back, or learn it without telling",
                    {200: answer("How much is released.", ref("Released"))},
                    tag=_TAG,
                    description=(
                        "Arrivals are released at once; removals and changes by a sweep of the whole list, which begins"
                        " now."
                    ),
                    parameters=(source,),
                    body=ref("Release"),
                    needs_body=True,
                    errors=(400, 404, 503),
                )
            },
            "/v1/records/{key}": {
                "get": operation(
                    "record",
                    "One record's life: how it was found, what was sent where, each attempt",
                    {200: answer("At each source that knows the key.", ref("Record"))},
                    tag=_TAG,
                    parameters=(in_path("key", text("The record's key.")),),
                    errors=(404, 503),
                )
            },
        },
        {**_SCHEMAS},
    )


def _found(properties: Described) -> Described:
    """Return `properties` with the fields that say how and why something was found."""
    return {
        **properties,
        "net": one_of("Which way of looking has found it.", DetectedBy),
        "reason": text("Why it was taken for history, or for news."),
        "found": text("How it was found, in words."),
        "why": text("The reason, in words."),
    }


_SCHEMAS = {
    "Poll": complete(
        {
            "source": text("The source."),
            "result": one_of("What the poll came to.", RoundResult),
            "events": whole("New events."),
            "message": text("Why there were none, where something was in the way."),
        }
    ),
    "SweepBegun": complete(
        {
            "source": text("The source."),
            "message": text("Why it may not be done now, else empty."),
            "sweep": or_null(ref("Sweep")),
        }
    ),
    "Release": wish(
        {
            "what": one_of("What is released.", Direction),
            "silently": truth("Whether it is learned without telling; false where it is left out."),
        },
        "What is to be released.",
        required=("what",),
    ),
    "Released": complete(
        {
            "source": text("The source."),
            "what": one_of("What is released.", Direction),
            "silently": truth("Whether it is learned without telling."),
            "records": whole("Records of which it was held back; 0 when none was."),
        }
    ),
    "Record": complete(
        {
            "key": text("The record's key."),
            "sources": by_name(ref("Life"), "What each source that knows the key has of it."),
        }
    ),
    "Life": complete(
        _found(
            {
                "source": text("The source."),
                "key": text("The record's key."),
                "user_id": text("Who completed it."),
                "user_name": or_null(text("The person's name.")),
                "training_id": text("Which training was completed."),
                "training_title": or_null(text("Its title.")),
                "completed_on": or_null(text("The day of completion.", format="date")),
                "recorded_at": or_null(moment("When the record was entered.")),
                "seen_at": moment("When the notifier first met it."),
                "removed_at": or_null(moment("When it was found to be gone.")),
                "revision": whole("1 when first seen, one more with every change."),
                "in_view": truth("Whether the source asks for it now."),
                "withheld": several(ref("Withheld"), "What is not told of it yet."),
                "forgotten": several({"type": "integer"}, "Revisions whose events are no longer kept."),
                "events": several(ref("LifeEvent")),
            }
        )
    ),
    "Withheld": complete(
        {
            "what": one_of("What waits for a second look, or is held back.", _WITHHELD),
            "why": text("Why it is not told yet, in words."),
            "missing": text("Which witness is missing, in words."),
            "since": or_null(moment("Since when; null where an answer has said otherwise, or it is not known.")),
            "not_before": or_null(moment("When it can be told at the earliest; null where nobody knows.")),
        }
    ),
    "LifeEvent": complete(
        _found(
            {
                "sequence": whole("The event's number."),
                "id": text("The event's id."),
                "type": text("Its type."),
                "revision": whole("The record's revision that it tells of."),
                "detected_at": moment("When it was detected."),
                "changes": by_name(complete({"old": {}, "new": {}}), "Of an update, the fields that changed."),
                "deliveries": several(ref("DeliveryLife")),
                "not_told": by_name({"type": "string"}, "Why destinations that have no delivery of it have none."),
                "not_told_why": by_name({"type": "string"}, "The same as sentences."),
            }
        )
    ),
    "DeliveryLife": complete({**DELIVERY, "attempt_log": several(ref("Attempt"), "Each attempt, in order.")}),
    "Attempt": complete(
        {
            "attempted_at": moment("When it was made."),
            "milliseconds": whole("How long it took."),
            "decision": text("What was decided after it."),
            "reason": text("How it ended."),
            "status": or_null(whole("The HTTP status, where there was an answer.")),
            "detail": or_null(text("What the peer or the network said, free of secrets.")),
        }
    ),
}
