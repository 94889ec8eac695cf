"""Turns an event into the variables of its template."""

import json
from datetime import date
from typing import Any

import orjson
from msgspec import Struct

from notifier.events import Event, EventType
from notifier.messages.phrasing import PLAIN, Phrasing
from notifier.messages.rich_text import literal
from notifier.messages.template_names import Variables

KEY_WIDTH = 40
"""The most characters of a record's key. Where names are cut further, keys are not: only they may tell lines apart."""

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
_NAME_OF = {"training_id": "training_title", "user_id": "user_name", "instructor_id": "instructor_name"}
_DATES = {"completed_on", "expires_on"}


class ParsedEvent(Struct, frozen=True):
    """An event and its parsed data; the data is empty if it is not a JSON object."""

    event: Event
    data: dict[str, Any]


class EventVariables(Struct, frozen=True):
    """The variables of one completion event.

    `variables` are for the template of its type. `person` and `training` are identifiers that are unique across sources
    and tell equal names apart; they are not displayed. `session` is the same for all completions of one group session,
    and None for others.
    """

    type: str
    variables: Variables
    person: str
    training: str
    session: tuple[str, ...] | None


def read(event: Event) -> ParsedEvent:
    """Parse an event's data."""
    try:
        data = orjson.loads(event.data)
    except orjson.JSONDecodeError:
        data = _read_leniently(event.data)
    return ParsedEvent(event, data if isinstance(data, dict) else {})


def _read_leniently(data: bytes) -> Any:
    """Parse JSON that only the standard library accepts, such as text with lone surrogates; None if it is invalid."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def words(content: ParsedEvent, width: int, phrasing: Phrasing = PLAIN) -> EventVariables:
    """Return the variables of a completion event; no name or note in them is longer than `width` code points."""
    event = content.event
    completion = _object(content.data, "completion")
    variables: Variables = {
        "type": literal(event.type, KEY_WIDTH),
        "source": literal(event.source, KEY_WIDTH),
        "key": literal(event.subject, KEY_WIDTH),
        "person": _named(completion, "user_id", phrasing.word("user "), width) or phrasing.word("somebody"),
        "user_id": literal(completion.get("user_id"), width),
        "training": _named(completion, "training_id", phrasing.word("training "), width) or phrasing.word("a training"),
        "training_id": literal(completion.get("training_id"), width),
        "instructor": _named(completion, "instructor_id", "", width),
        "completed": day(completion.get("completed_on"), width, phrasing),
        "completed_on": literal(completion.get("completed_on"), width),
        "expires": day(completion.get("expires_on"), width, phrasing),
        "expires_on": literal(completion.get("expires_on"), width),
        "valid_until": day(completion.get("valid_until") or completion.get("expires_on"), width, phrasing),
        "occasion": literal(completion.get("occasion"), KEY_WIDTH),
        "notes": literal(completion.get("notes"), width),
        "account": literal(event.source, KEY_WIDTH) if phrasing.names_source else "",
        "link": phrasing.link_to({**completion, "key": event.subject, "source": event.source}),
    }
    if event.type == EventType.RENEWED:
        announced = _object(content.data, "previous")
        variables["announced"] = day(announced.get("valid_until"), width, phrasing)
        variables["replaced"] = announced.get("key") not in (None, completion.get("key"))
    if event.type == EventType.UPDATED:
        variables["changes"] = _changes(completion, _object(content.data, "previous"), width, phrasing)
    return EventVariables(
        event.type,
        variables,
        person=f"{event.source} {completion.get('user_id')}",
        training=f"{event.source} {completion.get('training_id')}",
        session=_session(event, completion),
    )


def training_title(event: Event) -> str:
    """Return the title of an event's training; "" if it is not known."""
    return str(_object(read(event).data, "completion").get("training_title") or "")


def session_of(event: Event) -> tuple[str, ...] | None:
    """Return a value that is the same for all completions of one group session, or None if there is no session."""
    return _session(event, _object(read(event).data, "completion"))


def _object(data: dict[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name)
    return value if isinstance(value, dict) else {}


def _named(completion: dict[str, Any], field: str, prefix: str, width: int) -> str:
    """Return the name for the id in `field`; if it is not known, `prefix` and the id; "" without an id."""
    name = literal(completion.get(_NAME_OF[field]), width)
    if name:
        return name
    identifier = literal(completion.get(field), width)
    return prefix + identifier if identifier else ""


def day(value: Any, width: int, phrasing: Phrasing = PLAIN) -> str:
    """Return a date `YYYY-MM-DD` as `27 Feb 2020`; any other value as `literal` returns it."""
    try:
        return phrasing.day(date.fromisoformat(value))
    except (TypeError, ValueError):
        return literal(value, width)


def _changes(
    completion: dict[str, Any], previous: dict[str, Any], width: int, phrasing: Phrasing
) -> list[dict[str, str]]:
    """Return the fields that an update changed, with old and new values; a new id is replaced by its name if known."""
    changes = []
    for field, label in _LABELS.items():
        if field in previous:
            new = completion.get(field)
            name = literal(completion.get(_NAME_OF.get(field, "")), width) if new else ""
            old = _value(field, previous[field], width, phrasing)
            new_value = name or _value(field, new, width, phrasing)
            changes.append({"field": field, "what": phrasing.word(label), "old": old, "new": new_value})
    return changes


def _value(field: str, value: Any, width: int, phrasing: Phrasing) -> str:
    if isinstance(value, bool):
        return phrasing.word("yes" if value else "no")
    if field == "recorded_at" and isinstance(value, str):
        return literal(phrasing.moment(value), KEY_WIDTH)
    return day(value, width, phrasing) if field in _DATES else literal(value, width)


def _session(event: Event, completion: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the source, group id, training and date that identify a group session; None if there is none."""
    group = completion.get("group_training_id")
    if event.type != EventType.CREATED or not group:
        return None
    return (event.source, str(group), str(completion.get("training_id")), str(completion.get("completed_on")))
