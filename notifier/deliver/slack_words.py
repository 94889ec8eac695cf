"""One event in words: what a line of a Slack message says of it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from notifier.completions import Event, EventType
from notifier.deliver.slack_text import Line, Span, bold, day, literal

KEY_WIDTH = 40
"""A record's key is never cut with the names around it: it is what tells two equal lines apart."""

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
_SEPARATOR = " · "


@dataclass(frozen=True, slots=True)
class Content:
    """An event with its data parsed, an empty object when that is none."""

    event: Event
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Words:
    """What is said of one completion: each part fit to be shown, "" where nothing is known.

    `user_id` and `training_id` tell equal names apart, across sources too, and are not for display. `details` are the
    phrases after the main clause (when it expires, who taught); `changes` those of an update. `session` is equal for
    completions of one group session, None outside of one.
    """

    type: str
    key: str
    user_id: str
    person: str
    training_id: str
    training: str
    completed: str
    details: tuple[str, ...]
    changes: tuple[str, ...]
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
    return Words(
        type=event.type,
        key=literal(event.subject, KEY_WIDTH),
        user_id=f"{event.source} {completion.get('user_id')}",
        person=_named(completion, "user_id", "user ", width) or "somebody",
        training_id=f"{event.source} {completion.get('training_id')}",
        training=_named(completion, "training_id", "training ", width) or "a training",
        completed=day(completion.get("completed_on"), width),
        details=_details(completion, width),
        changes=_changes(completion, _object(content.data, "previous"), width),
        session=_session(event, completion),
    )


def line(said: Words) -> Line:
    """Say one completion by itself, in one line."""
    date = f" on {said.completed}" if said.completed else ""
    match said.type:
        case EventType.CREATED:
            main, phrases = f" completed {said.training}{date}", said.details
        case EventType.UPDATED:
            changes = f": {', '.join(said.changes)}" if said.changes else ""
            main, phrases = f"{_SEPARATOR}{said.training}{date} was changed{changes}", ()
        case EventType.REMOVED:
            main, phrases = f"{_SEPARATOR}{said.training}{date} was removed", ()
        case _:
            main, phrases = f"{_SEPARATOR}{said.training}{_SEPARATOR}{literal(said.type, KEY_WIDTH)}", ()
    return (bold(said.person), Span(main + tail(said, phrases)))


def tail(said: Words, phrases: Iterable[str]) -> str:
    """End a line: what else is known, and the record's key."""
    return "".join(_SEPARATOR + part for part in (*phrases, f"#{said.key}" if said.key else "") if part)


def alert_line(content: Content, width: int) -> Line:
    """Say an operational notice in one line: its condition, whether it holds, what it is about and means."""
    data = content.data
    resolved = data.get("state") == "resolved"
    condition = literal(data.get("condition"), width).replace("_", " ") or "notice"
    said = [literal(data.get("subject"), width), literal(data.get("summary"), 4 * width)]
    since = literal(data.get("since"), KEY_WIDTH)
    if since:
        said.append(f"since {since}")
    return (
        Span("✅ " if resolved else "⚠️ "),
        bold(f"{'Resolved' if resolved else 'Alert'}: {condition}"),
        Span("".join(_SEPARATOR + part for part in said if part)),
    )


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


def _details(completion: dict[str, Any], width: int) -> tuple[str, ...]:
    expires = day(completion.get("expires_on"), width)
    instructor = _named(completion, "instructor_id", "", width)
    phrases = (expires and f"expires {expires}", instructor and f"instructor {instructor}")
    return tuple(phrase for phrase in phrases if phrase)


def _changes(completion: dict[str, Any], previous: dict[str, Any], width: int) -> tuple[str, ...]:
    """Say what an update changed, `expires 27 Feb 2021 → 27 Feb 2022`; new ids by the names that are known."""
    changes = []
    for field, label in _LABELS.items():
        if field in previous:
            new = completion.get(field)
            name = literal(completion.get(_NAME_OF.get(field, "")), width) if new else ""
            changes.append(f"{label} {_value(field, previous[field], width)} → {name or _value(field, new, width)}")
    return tuple(changes)


def _value(field: str, value: Any, width: int) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    written = day(value, width) if field in _DATES else literal(value, width)
    return written or "none"


def _session(event: Event, completion: dict[str, Any]) -> tuple[str, ...] | None:
    """Tell group sessions apart: one group id, training and date of one source."""
    group = completion.get("group_training_id")
    if event.type != EventType.CREATED or not group:
        return None
    return (event.source, str(group), str(completion.get("training_id")), str(completion.get("completed_on")))
