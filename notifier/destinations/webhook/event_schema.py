"""The JSON Schema of an event, as `notifier schema event` prints it.

The schema describes the CloudEvents form; the `data` of the Standard Webhooks form is the same. Later versions may add
fields, so the schema allows unknown fields. Receivers should allow them, too.
"""

from typing import Any

from notifier.events import EventType
from notifier.facts import Occasion, ValiditySource

_SINCE = "Since version 1.1."
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
        "$defs": {
            "change": _change(),
            "completion": _completion(),
            "user": _user(),
            "training": _training(),
            "notice": _notice(),
        },
    }


def _change() -> dict[str, Any]:
    always = _object(
        {
            "completion": {"$ref": "#/$defs/completion"},
            "previous": {
                "type": ["object", "null"],
                "description": "For `completion.updated`: the changed fields of `completion` with their old values. For"
                " `completion.renewed`: the `key` and the `valid_until` that were announced.",
            },
            "record": {
                "type": "object",
                "description": "The record as the API returned it, without its signature and the contents of files.",
            },
        },
        description="Data of the `completion.*` types. For `completion.removed`: the last known state.",
    )
    return _extended(
        always,
        {
            "user": {"anyOf": [{"$ref": "#/$defs/user"}, {"type": "null"}]},
            "training": {"anyOf": [{"$ref": "#/$defs/training"}, {"type": "null"}]},
        },
    )


def _completion() -> dict[str, Any]:
    always = _object(
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
    return _extended(
        always,
        {
            "user_employee_number": _text(f"The person's employee number, if it is chosen. {_SINCE}", nullable=True),
            "instructor_employee_number": _text(f"The instructor's, if it is chosen. {_SINCE}", nullable=True),
            "valid_until": _day(
                "The last day on which the completion is valid; null if that is unknown, or if it does not expire."
                f" {_SINCE}"
            ),
            "valid_until_source": {
                "enum": [None, *(str(source) for source in ValiditySource)],
                "description": (
                    "Where `valid_until` comes from: the completion's own expiry (`expires_on`), the renewal months of"
                    " a training with a rolling schedule, or, only in events about the end of a completion, the"
                    f" account's employee status list. Later versions may add values. {_SINCE}"
                ),
            },
            "occasion": {
                "enum": [None, *(str(occasion) for occasion in Occasion)],
                "description": (
                    "Whether the person had completed the same training on an earlier day when the event was made; null"
                    f" if that is not certain. {_SINCE}"
                ),
            },
        },
    )


def _user() -> dict[str, Any]:
    texts = {"type": "array", "items": {"type": "string"}}
    return _extended(
        _object(
            {"id": _text("The person's id.")},
            description=(
                "The facts about the person that the operator has chosen (`person_fields`), as they were when the event"
                " was made. What is not chosen, or was not known yet, is missing. Null if nothing is known of the"
                f" person. {_SINCE}"
            ),
        ),
        {
            "employee_number": _text("The employee number.", nullable=True),
            "field_office_ids": {**texts, "description": "The ids of the person's field offices."},
            "line_of_business_ids": {**texts, "description": "The ids of the person's lines of business."},
            "job_title_id": _text("The id of the job title.", nullable=True),
            "job_title": _text("The job title.", nullable=True),
            "terminated_on": _day("The day on which the person left or will leave."),
        },
    )


def _training() -> dict[str, Any]:
    return _object(
        {
            "id": _text("The training's id."),
            "schedule_type": _text("How the training is scheduled, such as `rolling`.", nullable=True),
            "renewal_months": _number("After how many months it is renewed; 0 or null: never."),
            "expiring_days": _number("How many days before its end a completion counts as expiring."),
        },
        description=f"How long completions of the training are valid. Null if it is not known. {_SINCE}",
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
    # Added later, so older alerts lack them.
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
        "texts": {
            "type": "object",
            "description": (
                "What `summary` and `remedy` are made of, for messages in other languages: the name of a text and its"
                f" values. Later versions may have other texts. {_SINCE}"
            ),
        },
        "conditions": {
            "type": "array",
            "items": _object({"condition": _text("The condition."), "subject": _text("The source or destination.")}),
            "description": (
                "Only for `alerts_moved`, the last message to a destination that received alerts until now: the"
                " active conditions that it was told about."
            ),
        },
    }
    return _extended(always, added)


def _extended(schema: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
    """Return `schema` with the properties `added`, which are optional because older events lack them."""
    return {**schema, "properties": {**schema["properties"], **added}}


def _object(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the schema of an object in which all `properties` are required."""
    return {"type": "object", **more, "required": list(properties), "properties": properties}


def _text(description: str, *, nullable: bool = False) -> dict[str, Any]:
    return {"type": ["string", "null"] if nullable else "string", "description": description}


def _number(description: str) -> dict[str, Any]:
    return {"type": ["integer", "null"], "description": description}


def _day(description: str) -> dict[str, Any]:
    return {**_text(description, nullable=True), "format": "date", "pattern": _DAY}


def _moment(description: str, *, nullable: bool = False) -> dict[str, Any]:
    return {**_text(description, nullable=nullable), "format": "date-time"}
