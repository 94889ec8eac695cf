"""One event in words: what a template can say of it."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from notifier.completions import Event, EventType
from notifier.deliver.message.text import day, literal

KEY_WIDTH = 40
"""A record's key is never cut with the names around it: it is what tells two equal lines apart."""

Variables = dict[str, Any]
"""What a template gets: text that is fit to be shown, numbers, and lists and dictionaries of these."""

SUFFIX = ".j2"
"""How the names of templates' files end."""

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


class Template(StrEnum):
    """The templates there are, by the names of their files without `.j2`; each begins with what it gets."""

    COMPLETED = "completed"
    CHANGED = "changed"
    REMOVED = "removed"
    OTHER = "other"
    SESSION = "session"
    MEMBER = "member"
    NOTICE = "notice"
    HEADING = "heading"
    DIGEST = "digest"

    @property
    def file(self) -> str:
        """The name of its file."""
        return self.value + SUFFIX


@dataclass(frozen=True, slots=True)
class Content:
    """An event with its data parsed, an empty object when that is none."""

    event: Event
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Words:
    """What is said of one completion.

    `variables` are for the template of its type. `person` and `training` tell equal names apart, across sources too,
    and are not for display. `session` is equal for completions of one group session, None outside of one.
    """

    type: str
    variables: Variables
    person: str
    training: str
    session: tuple[str, ...] | None


def read(event: Event) -> Content:
    """Parse an event's data."""
    try:
        data = orjson.loads(event.data)
    except orjson.JSONDecodeError:
        data = _read_leniently(event.data)
    return Content(event, data if isinstance(data, dict) else {})


def _read_leniently(data: bytes) -> Any:
    """Read what only the standard library takes: text with lone surrogates."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def words(content: Content, width: int) -> Words:
    """Put a completion's event into words, no name or note longer than `width` code points."""
    event = content.event
    completion = _object(content.data, "completion")
    variables: Variables = {
        "type": literal(event.type, KEY_WIDTH),
        "source": literal(event.source, KEY_WIDTH),
        "key": literal(event.subject, KEY_WIDTH),
        "person": _named(completion, "user_id", "user ", width) or "somebody",
        "user_id": literal(completion.get("user_id"), width),
        "training": _named(completion, "training_id", "training ", width) or "a training",
        "training_id": literal(completion.get("training_id"), width),
        "instructor": _named(completion, "instructor_id", "", width),
        "completed": day(completion.get("completed_on"), width),
        "completed_on": literal(completion.get("completed_on"), width),
        "expires": day(completion.get("expires_on"), width),
        "expires_on": literal(completion.get("expires_on"), width),
        "notes": literal(completion.get("notes"), width),
    }
    if event.type == EventType.UPDATED:
        variables["changes"] = _changes(completion, _object(content.data, "previous"), width)
    return Words(
        event.type,
        variables,
        person=f"{event.source} {completion.get('user_id')}",
        training=f"{event.source} {completion.get('training_id')}",
        session=_session(event, completion),
    )


def session_of(event: Event) -> tuple[str, ...] | None:
    """Return what is equal for completions of one group session, None outside of one."""
    return _session(event, _object(read(event).data, "completion"))


def notice(content: Content, width: int) -> Variables:
    """Put an operational notice into words: its condition, whether it holds, what it is about and means."""
    data = content.data
    return {
        "resolved": data.get("state") == "resolved",
        "condition": literal(data.get("condition"), width).replace("_", " ") or "notice",
        "subject": literal(data.get("subject"), width),
        "summary": literal(data.get("summary"), 4 * width),
        "since": literal(data.get("since"), KEY_WIDTH),
    }


def _object(data: dict[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name)
    return value if isinstance(value, dict) else {}


def _named(completion: dict[str, Any], field: str, prefix: str, width: int) -> str:
    """Name what an id stands for, or show the id."""
    name = literal(completion.get(_NAME_OF[field]), width)
    if name:
        return name
    identifier = literal(completion.get(field), width)
    return prefix + identifier if identifier else ""


def _changes(completion: dict[str, Any], previous: dict[str, Any], width: int) -> list[dict[str, str]]:
    """Say what an update changed, from what, to what; new ids by the names that are known."""
    changes = []
    for field, label in _LABELS.items():
        if field in previous:
            new = completion.get(field)
            name = literal(completion.get(_NAME_OF.get(field, "")), width) if new else ""
            old = _value(field, previous[field], width)
            changes.append({"field": field, "what": label, "old": old, "new": name or _value(field, new, width)})
    return changes


def _value(field: str, value: Any, width: int) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return day(value, width) if field in _DATES else literal(value, width)


def _session(event: Event, completion: dict[str, Any]) -> tuple[str, ...] | None:
    """Tell group sessions apart: one group id, training and date of one source."""
    group = completion.get("group_training_id")
    if event.type != EventType.CREATED or not group:
        return None
    return (event.source, str(group), str(completion.get("training_id")), str(completion.get("completed_on")))
