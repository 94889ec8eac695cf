"""The process as a whole: whether it works, how it stands, its metrics, this description."""

from notifier.ledger.destinations import HealthState
from notifier.watch.health import SourceState
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
    """Describe them."""
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

_SCHEMAS = {
    "Readiness": complete(
        {
            "ready": truth("Whether every source can be relied on."),
            "unready": by_name({"type": "string"}, "The sources that cannot, each with the reason."),
        }
    ),
    "Status": complete(
        {
            "version": text("The version of the program."),
            "started_at": or_null(moment("When the daemon started.")),
            "sources": by_name(ref("Source"), "The sources, by name."),
            "destinations": by_name(ref("Destination"), "The destinations, by name."),
            "conditions": several(ref("Condition"), "What is wrong now, the longest first."),
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
            "last_success": or_null(moment("When a poll last succeeded.")),
            "next_poll": or_null(moment("When it is polled next.")),
            "requests": whole("Requests of this process."),
            "budget": complete(
                {
                    "configured": or_null({"type": "number", "description": "Requests a minute, as configured."}),
                    "allowed": or_null({"type": "number", "description": "Requests a minute that are allowed now."}),
                    "used": or_null(whole("Requests of the last minute.")),
                    "waiting": or_null(whole("Requests that wait for their turn.")),
                }
            ),
            "searching": truth("Whether a change out of sight is being located."),
            "last_error": or_null(ref("LastError")),
            "sweep": or_null(ref("Sweep")),
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
            "state": one_of("How it is doing.", HealthState),
            "reason": or_null(text("Why it is in that state.")),
            "pending": whole("Events that wait for it."),
            "delivered": whole("Events delivered to it."),
            "dead": whole("Events whose delivery was given up."),
            "oldest_pending": or_null(moment("When the oldest event that waits was detected.")),
            "last_error": or_null(ref("LastError")),
        }
    ),
    "Condition": complete(
        {
            "condition": text("What is wrong, in a fixed word."),
            "subject": text("The source or destination concerned."),
            "summary": text("What it means, in a sentence."),
            "since": moment("When it began."),
        }
    ),
    "Reload": complete(
        {
            "sources": _DIFFERENCES,
            "destinations": _DIFFERENCES,
            "left_to_restart": several({"type": "string"}, "Keys that take effect only with the next start."),
            "handed_over": several(
                {"type": "string"}, "Keys that systemd handed over at the start, and does not again."
            ),
            "message": {"type": "string"},
        }
    ),
}
