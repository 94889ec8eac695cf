"""The OpenAPI description of the paths about the whole process: health, status, metrics, and the document itself."""

from notifier.delivery.health import DestinationState
from notifier.kpa.rate_limiter import Priority
from notifier.store.tables.second_looks import LookKind
from notifier.watch.source_health import SourceState
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
    truth,
    whole,
)

_TAG = "general"


def describe() -> Subject:
    """Return the description of these paths and their schemas."""
    return Subject(
        {
            "/healthz": {
                "get": operation(
                    "healthz",
                    "Does the process work?",
                    {200: answer("It does.", complete({"ok": {"const": True}}))},
                    tag=_TAG,
                )
            },
            "/readyz": {
                "get": operation(
                    "readyz",
                    "Was every source polled successfully within three intervals?",
                    {
                        200: answer("It was.", ref("Readiness")),
                        503: answer("It was not.", ref("Readiness")),
                    },
                    tag=_TAG,
                )
            },
            "/metrics": {
                "get": operation(
                    "metrics",
                    "The metrics, for Prometheus",
                    {200: answer("Prometheus's text format 0.0.4.", {"type": "string"}, "text/plain")},
                    tag=_TAG,
                    errors=(503,),
                )
            },
            "/openapi.json": {
                "get": operation(
                    "openapi",
                    "This description",
                    {200: answer("OpenAPI 3.1.", {"type": "object", "required": ["openapi", "info", "paths"]})},
                    tag=_TAG,
                )
            },
            "/v1/status": {
                "get": operation(
                    "status",
                    "How all sources and destinations are doing",
                    {200: answer("The state of things.", ref("Status"))},
                    tag=_TAG,
                    errors=(503,),
                )
            },
            "/v1/sign-in-link": {
                "post": operation(
                    "signInLink",
                    "Make a link that signs a browser in once; over the owner's socket alone",
                    {
                        200: answer("The link.", ref("SignInLink")),
                        409: answer("There is none.", complete({"message": text("Why.")})),
                    },
                    tag=_TAG,
                )
            },
            "/v1/reload": {
                "post": operation(
                    "reload",
                    "Read the configuration again, and follow it",
                    {
                        200: answer("What has changed.", ref("Reload")),
                        409: answer(
                            "The configuration is wrong, or could not be followed.",
                            complete({"message": text("Why, and what was changed nevertheless.")}),
                        ),
                    },
                    tag=_TAG,
                )
            },
        },
        {**_SCHEMAS},
    )


_DIFFERENCES = complete(
    {
        "added": several({"type": "string"}),
        "changed": several({"type": "string"}),
        "removed": several({"type": "string"}),
    },
    "Names of what is new, other than it was, and gone.",
)

_PURPOSES = {
    Priority.HEAD: "Of head polls.",
    Priority.COUNT: "For the API's count.",
    Priority.CONFIRM: "Of second looks.",
    Priority.SEARCH: "Of searches for changes out of sight.",
    Priority.SWEEP: "Of sweeps.",
    Priority.NAMES: "For names of people and trainings.",
}

_SCHEMAS = {
    "Readiness": {
        "type": "object",
        "required": ["ready"],
        "properties": {
            "ready": truth("Whether every source can be relied on."),
            "unready": by_name(
                {"type": "string"},
                "The sources that cannot, each with the reason; and `alerts` and `evaluation`. Only for those who may"
                " see the status.",
            ),
        },
    },
    "SignInLink": complete(
        {
            "url": text(
                "The link; it is a secret until it is used. Without scheme and host where the daemon listens on a Unix"
                " socket alone: what leads there has them."
            ),
            "valid_seconds": whole("For how long it can be used."),
        }
    ),
    "Status": complete(
        {
            "version": text("The version of the program."),
            "started_at": or_null(moment("When the daemon started.")),
            "sources": by_name(ref("Source"), "The sources, by name."),
            "destinations": by_name(ref("Destination"), "The destinations, by name."),
            "evaluation": ref("Evaluation"),
            "conditions": several(ref("Condition"), "What is wrong now, the longest first."),
            "replays": several(ref("ReplayUnderWay"), "Past events that are being sent again."),
        }
    ),
    "ReplayUnderWay": complete(
        {
            "id": whole("The replay's number."),
            "destination": text("Where it sends past events to."),
            "deliveries": whole("How many it is to send there."),
            "queued": whole("Those put into the queue so far."),
        }
    ),
    "LastError": complete(
        {
            "reason": text("The error's name."),
            "message": text("What happened, free of secrets."),
            "at": moment("When it happened."),
        }
    ),
    "Source": complete(
        {
            "state": one_of("How it is doing.", SourceState),
            "records": whole("Known records that exist."),
            "unreadable": whole("Records of the list that cannot be read, and are left out."),
            "unreadable_example": or_null(
                complete(
                    {
                        "record": or_null(text("The record's key, null where it is the key that cannot be read.")),
                        "field": or_null(text("The API's name of the field that cannot be read, if it is one.")),
                        "problem": or_null(text("What is wrong, in a sentence.")),
                    },
                    "One of the records that cannot be read.",
                )
            ),
            "unexplained": {
                "type": "integer",
                "description": "Records that the API counts and nothing explains; below 0 where it counts too few.",
            },
            "count_offset": {
                "type": "integer",
                "description": "Taken for the API's own error in its count, after two whole sweeps an hour apart.",
            },
            "held": complete(
                {
                    "removals": complete({"records": whole("Records whose removal is held back.")}),
                    "arrivals": complete(
                        {
                            "records": whole("Records whose arrival is held back."),
                            "example": or_null(text("The key of one of them.")),
                        }
                    ),
                    "changes": complete(
                        {
                            "records": whole("Records of which a change is held back."),
                            "field": or_null(text("A field that has changed in all of them.")),
                            "example": or_null(text("The key of one of them.")),
                        }
                    ),
                },
                "What is held back until it is released, or ends by itself.",
            ),
            "waiting": complete(
                {
                    LookKind.REMOVAL.value: whole("Records that may be gone."),
                    LookKind.RETURN.value: whole("Removed records that may be back."),
                    LookKind.EARLIER_FORM.value: whole("Records that may have a content again that they had before."),
                },
                "What one answer has said and a second look has to confirm.",
            ),
            "last_success": or_null(moment("When a poll last succeeded.")),
            "next_poll": or_null(moment("When it is polled next.")),
            "requests": whole("Requests of this process."),
            "budget": complete(
                {
                    "configured": or_null({"type": "number", "description": "Requests a minute, as configured."}),
                    "allowed": or_null({"type": "number", "description": "Requests a minute that are allowed now."}),
                    "used": or_null(whole("Requests of the last minute.")),
                    "waiting": or_null(whole("Requests that wait for their turn.")),
                    "by": or_null(
                        complete(
                            {urgency.label: whole(purpose) for urgency, purpose in _PURPOSES.items()},
                            "Requests of the last minute, by what they were for.",
                        )
                    ),
                }
            ),
            "searching": truth("Whether a change out of sight is being located."),
            "last_error": or_null(ref("LastError")),
            "failing": by_name(
                complete({"reason": text("The error's name."), "message": text("What happened, free of secrets.")}),
                "What the API is asked for and fails now: head, count, search, scan, names.",
            ),
            "sweep": or_null(ref("Sweep")),
            "last_sweep": or_null(moment("When a sweep last read the whole list; null before the first one has.")),
        }
    ),
    "Sweep": complete(
        {
            "running": truth("Whether it is under way."),
            "started_at": moment("When it began."),
            "finished_at": or_null(moment("When it reached the end of the list.")),
            "next_page": whole("The first page that is not read yet."),
            "last_page": or_null(whole("The last page of the list, as far as that is known.")),
            "records": whole("Records down to the last page read."),
            "changes": whole("Changes found."),
        },
        "One reading of a whole list.",
    ),
    "Destination": complete(
        {
            "state": one_of("How it is doing.", DestinationState),
            "reason": or_null(text("Why it is in that state.")),
            "pending": whole("Events that wait for it."),
            "delivered": whole("Events delivered to it."),
            "dead": whole("Events whose delivery was given up."),
            "oldest_pending": or_null(moment("When the oldest event that waits was detected.")),
            "next_attempt": or_null(moment("When what waits is tried next; null when at once, or when nothing is.")),
            "learned": complete(
                {
                    "rate": or_null({"type": "number", "description": "Requests a second that it takes."}),
                    "batch_size": or_null(whole("Events that it takes in one request.")),
                },
                "What it has shown to take, where that is less than the configuration allows; null where it is not.",
            ),
            "last_error": or_null(ref("LastError")),
        }
    ),
    "Condition": complete(
        {
            "condition": text("What is wrong, in a fixed word."),
            "subject": text("The source or destination concerned."),
            "summary": text("What it means, in a sentence."),
            "since": moment("When it began."),
            "net": or_null(text("Which question to the API of a source it is about.")),
            "cause": or_null(text("Why, in a fixed word.")),
            "remedy": or_null(text("What to do.")),
            "lived_seconds": whole("For how many seconds it was seen, by earlier processes too."),
        }
    ),
    "Evaluation": complete(
        {
            "at": or_null(moment("When the daemon last evaluated its state; null while none runs.")),
            "age_seconds": or_null({"type": "number", "description": "How long ago that was."}),
            "well": truth("Whether nothing is wrong that people must know, by a look that is not old."),
            "alerts_to": or_null(text("The destination of alarms, or `heartbeat`; null: no one is told.")),
            "undelivered_seconds": or_null(
                {"type": "number", "description": "For how long an alarm has waited; null when none waits."}
            ),
        },
        "The latest look for conditions, which all surfaces show.",
    ),
    "Reload": complete(
        {
            "sources": _DIFFERENCES,
            "destinations": _DIFFERENCES,
            "left_to_restart": several({"type": "string"}, "Keys that take effect only with the next start."),
            "handed_over": several(
                {"type": "string"}, "Keys that systemd handed over at the start, and does not again."
            ),
            "unmatched": by_name(
                {"type": "integer"},
                "How many of the events that wait the filters no longer let through, by destination.",
            ),
            "message": {"type": "string"},
        }
    ),
}
