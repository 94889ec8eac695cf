"""The JSON Schema of an event, as `notifier schema event` prints it.

It describes the CloudEvents form; the `data` of the Standard Webhooks form is the same. Later versions may add fields,
so the schema allows unknown fields, and receivers should too.
"""

from typing import Any

from notifier.events import EventType

_DAY = r"^\d{4}-\d{2}-\d{2}$"


def schema() -> dict[str, Any]:
    """Return the schema (JSON Schema 2020-12) of one event."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Completion Notifier event",
        "description": "One event in CloudEvents 1.0 structured mode. A batch is an array of these.",
        **_object(
            {
                "specversion": {"const": "1.0"},
                "id": {
                    "type": "string",
                    "pattern": "^evt_[a-z2-7]{26}$",
                    "description": (
                        "The id is the same on every delivery of this event: remember it to process each event once."
                    ),
                },
                "source": _text("`/sources/` and the source's name in the configuration; `/notifier` for alerts."),
                "type": {
                    "enum": [str(kind) for kind in EventType],
                    "description": "What happened.",
                },
                "time": _moment("When it was detected."),
                "subject": _text("The key of the completion record; for an alert, what it is about."),
                "sequence": {
                    "type": "string",
                    "pattern": "^[0-9]{20}$",
                    "description": (
                        "A number that grows with every event, in the order of detection. A sample event has zero."
                    ),
                },
                "datacontenttype": {"const": "application/json"},
                "data": {"type": "object"},
            }
        ),
        "if": {"properties": {"type": {"const": str(EventType.ALERT)}}},
        "then": {"properties": {"data": {"$ref": "#/$defs/notice"}}},
        "else": {"properties": {"data": {"$ref": "#/$defs/change"}}},
        "$defs": {"change": _change(), "completion": _completion(), "notice": _notice()},
    }


def _change() -> dict[str, Any]:
    return _object(
        {
            "completion": {"$ref": "#/$defs/completion"},
            "previous": {
                "type": ["object", "null"],
                "description": "For `completion.updated`: the changed fields of `completion` with their old values.",
            },
            "record": {
                "type": "object",
                "description": "The record as the API returned it, without its signature and the contents of files.",
            },
        },
        description="Data of the `completion.*` types. For `completion.removed`: the last known state.",
    )


def _completion() -> dict[str, Any]:
    return _object(
        {
            "key": _text("Identifies the record within its source: its id, or a hash of it with v1 of the API."),
            "training_id": _text("Which training was completed."),
            "training_title": _text("Its title.", nullable=True),
            "user_id": _text("Who completed it."),
            "user_name": _text("The person's name.", nullable=True),
            "instructor_id": _text("Who taught it.", nullable=True),
            "instructor_name": _text("The instructor's name.", nullable=True),
            "group_training_id": _text("The group session in which it was completed.", nullable=True),
            "completed_on": _day("The day of completion, which may be years before the day of entry."),
            "expires_on": _day("The day on which this completion expires, if it has a day of its own."),
            "recorded_at": _moment("When the record was entered.", nullable=True),
            "notes": _text("The notes of the record.", nullable=True),
            "has_attachments": {
                "type": ["boolean", "null"],
                "description": "Whether files are attached; null if the API version does not say.",
            },
        },
        description="The completion. Unknown names, and fields that the API version does not have, are null.",
    )


def _notice() -> dict[str, Any]:
    always = _object(
        {
            "condition": _text("The name of the condition that the alert is about."),
            "state": {
                "enum": ["firing", "resolved", "withdrawn"],
                "description": (
                    "Whether the condition is active, has ended, or is no longer reported although nothing was"
                    " corrected."
                ),
            },
            "subject": _text("The source or destination concerned; if there are several, which kind they are."),
            "summary": _text("What the alert means, in a sentence."),
            "since": _moment("When the condition began."),
        },
        description="Data of `notifier.alert`: an alert of the notifier about itself.",
    )
    # Added later; older notices lack it.
    added = {
        "subjects": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Every source or destination concerned: equal problems are reported together.",
        },
        "cause": _text("The reason, one of a fixed set of words; may be empty."),
        "net": _text("Which kind of request to the API of a source it is about; may be empty."),
        "remedy": _text("What to do; may be empty."),
        "ending": _text("For a condition that has ended: `resolved`, or why it is withdrawn; otherwise empty."),
        "conditions": {
            "type": "array",
            "items": _object({"condition": _text("The condition."), "subject": _text("The source or destination.")}),
            "description": (
                "Only for `alerts_moved`, the last message to a destination that received alerts until now: the"
                " active conditions that it was told about."
            ),
        },
    }
    return {**always, "properties": {**always["properties"], **added}}


def _object(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the schema of an object in which all `properties` are required."""
    return {"type": "object", **more, "required": list(properties), "properties": properties}


def _text(description: str, *, nullable: bool = False) -> dict[str, Any]:
    return {"type": ["string", "null"] if nullable else "string", "description": description}


def _day(description: str) -> dict[str, Any]:
    return {**_text(description, nullable=True), "format": "date", "pattern": _DAY}


def _moment(description: str, *, nullable: bool = False) -> dict[str, Any]:
    return {**_text(description, nullable=nullable), "format": "date-time"}
