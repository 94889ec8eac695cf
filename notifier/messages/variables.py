"""Turns an event into the variables of the template for its type."""

import json
from datetime import date
from typing import Any

import orjson
from msgspec import Struct

from notifier.events import Event, EventType
from notifier.messages.phrasing import PLAIN, Phrasing
from notifier.messages.rich_text import sanitize
from notifier.messages.template_names import Variables

KEY_WIDTH = 40
"""The maximum number of characters of a record's key.

Keys are not cut further when names are shortened, because two lines may differ only in their keys.
"""

_LABELS = {
    "training_id": "training",
    "user_id": "person",
    "instructor_id": "instructor",
    "group_training_id": "group session",
    "completed_on": "completed",
    "expires_on": "expires",
    "recorded_at": "recorded",
    "notes": "notes",
    "has_attachments": "attachments",
}
_NAME_FIELDS = {"training_id": "training_title", "user_id": "user_name", "instructor_id": "instructor_name"}
_DATE_FIELDS = {"completed_on", "expires_on"}


class ParsedEvent(Struct, frozen=True):
    """An event and its parsed data. `data` is empty if the event's data is not a JSON object."""

    event: Event
    data: dict[str, Any]


class EventVariables(Struct, frozen=True):
    """The variables of one completion event."""

    type: str
    variables: Variables
    """The variables for the template of the event's type."""
    person: str
    """An identifier of the person that is unique across sources. It distinguishes equal names, and is not displayed."""
    training: str
    """An identifier of the training that is unique across sources. It distinguishes equal names, and is not displayed.
    """
    session: tuple[str, ...] | None
    """The completion's group session; None if there is none."""


def parse_event(event: Event) -> ParsedEvent:
    """Parse an event's data."""
    try:
        data = orjson.loads(event.data)
    except orjson.JSONDecodeError:
        data = _parse_leniently(event.data)
    return ParsedEvent(event, data if isinstance(data, dict) else {})


def _parse_leniently(data: bytes) -> Any:
    """Parse JSON that only the standard library accepts, such as text with lone surrogates; None if it is invalid."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def completion_variables(content: ParsedEvent, width: int, phrasing: Phrasing = PLAIN) -> EventVariables:
    """Return the variables of a completion event; no name or note in them is longer than `width` code points."""
    event = content.event
    completion = _object_field(content.data, "completion")
    variables: Variables = {
        "type": sanitize(event.type, KEY_WIDTH),
        "source": sanitize(event.source, KEY_WIDTH),
        "key": sanitize(event.subject, KEY_WIDTH),
        "person": _name_or_id(completion, "user_id", phrasing.translate("user "), width)
        or phrasing.translate("somebody"),
        "user_id": sanitize(completion.get("user_id"), width),
        "training": _name_or_id(completion, "training_id", phrasing.translate("training "), width)
        or phrasing.translate("a training"),
        "training_id": sanitize(completion.get("training_id"), width),
        "instructor": _name_or_id(completion, "instructor_id", "", width),
        "completed": format_day(completion.get("completed_on"), width, phrasing),
        "completed_on": sanitize(completion.get("completed_on"), width),
        "expires": format_day(completion.get("expires_on"), width, phrasing),
        "expires_on": sanitize(completion.get("expires_on"), width),
        "valid_until": format_day(completion.get("valid_until") or completion.get("expires_on"), width, phrasing),
        "occasion": sanitize(completion.get("occasion"), KEY_WIDTH),
        "notes": sanitize(completion.get("notes"), width),
        "account": sanitize(event.source, KEY_WIDTH) if phrasing.names_source else "",
        "link": phrasing.record_url({**completion, "key": event.subject, "source": event.source}),
    }
    if event.type == EventType.RENEWED:
        announced = _object_field(content.data, "previous")
        variables["announced"] = format_day(announced.get("valid_until"), width, phrasing)
        variables["replaced"] = announced.get("key") not in (None, completion.get("key"))
    if event.type == EventType.UPDATED:
        variables["changes"] = _changes(completion, _object_field(content.data, "previous"), width, phrasing)
    return EventVariables(
        event.type,
        variables,
        person=f"{event.source} {completion.get('user_id')}",
        training=f"{event.source} {completion.get('training_id')}",
        session=_session_key(event, completion),
    )


def training_title(event: Event) -> str:
    """Return the title of an event's training; "" if it is not known."""
    return str(_object_field(parse_event(event).data, "completion").get("training_title") or "")


def session_key(event: Event) -> tuple[str, ...] | None:
    """Return a value that identifies the group session of an event's completion; None if there is no session."""
    return _session_key(event, _object_field(parse_event(event).data, "completion"))


def _object_field(data: dict[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name)
    return value if isinstance(value, dict) else {}


def _name_or_id(completion: dict[str, Any], field: str, prefix: str, width: int) -> str:
    """Return the name for the id in `field`.

    If the name is not known, return `prefix` and the id. If there is no id, return "".
    """
    name = sanitize(completion.get(_NAME_FIELDS[field]), width)
    if name:
        return name
    identifier = sanitize(completion.get(field), width)
    return prefix + identifier if identifier else ""


def format_day(value: Any, width: int, phrasing: Phrasing = PLAIN) -> str:
    """Return a date `YYYY-MM-DD` as `27 Feb 2020`; return any other value as one line of safe text."""
    try:
        return phrasing.format_day(date.fromisoformat(value))
    except (TypeError, ValueError):
        return sanitize(value, width)


def _changes(
    completion: dict[str, Any], previous: dict[str, Any], width: int, phrasing: Phrasing
) -> list[dict[str, str]]:
    """Return the fields that an update changed, with old and new values.

    If the new value of a field is an id whose name is known, the name is shown instead. An old id is always shown.
    """
    changes = []
    for field, label in _LABELS.items():
        if field in previous:
            new = completion.get(field)
            name = sanitize(completion.get(_NAME_FIELDS.get(field, "")), width) if new else ""
            old = _value_text(field, previous[field], width, phrasing)
            new_value = name or _value_text(field, new, width, phrasing)
            changes.append({"field": field, "what": phrasing.translate(label), "old": old, "new": new_value})
    return changes


def _value_text(field: str, value: Any, width: int, phrasing: Phrasing) -> str:
    if isinstance(value, bool):
        return phrasing.translate("yes" if value else "no")
    if field == "recorded_at" and isinstance(value, str):
        return sanitize(phrasing.localize_times(value), KEY_WIDTH)
    return format_day(value, width, phrasing) if field in _DATE_FIELDS else sanitize(value, width)


def _session_key(event: Event, completion: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the source, group id, training and date that identify an event's group session; None if there is none."""
    group = completion.get("group_training_id")
    if event.type != EventType.CREATED or not group:
        return None
    return (event.source, str(group), str(completion.get("training_id")), str(completion.get("completed_on")))
