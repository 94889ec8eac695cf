"""What a completion, a change and an event are: plain values, whatever API version they came from."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from notifier.clock import iso_utc

CONTENT_FIELDS = (
    "training_id",
    "user_id",
    "instructor_id",
    "group_training_id",
    "completed_on",
    "expires_on",
    "recorded_at",
    "notes",
    "has_attachments",
)
"""The fields whose change makes an update; a record's names belong to other records."""


class EventType(StrEnum):
    """The types of events, as receivers see them."""

    CREATED = "completion.created"
    UPDATED = "completion.updated"
    REMOVED = "completion.removed"
    ALERT = "notifier.alert"


class Net(StrEnum):
    """Which of the ways of looking found a change."""

    HEAD = "head"
    COUNT = "count"
    SWEEP = "sweep"


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion record, from either API version.

    `completed_on` and `expires_on` are `YYYY-MM-DD`; `recorded_at` is the moment of entry in Unix
    milliseconds, None when the record has no usable one. `raw` is the record as the API returned it, as JSON.
    """

    key: str
    training_id: str
    user_id: str
    completed_on: str | None
    expires_on: str | None
    recorded_at: int | None
    instructor_id: str | None
    group_training_id: str | None
    notes: str | None
    has_attachments: bool | None
    raw: bytes = field(compare=False)

    def content(self) -> dict[str, Any]:
        """Return what makes an update when it changes, as it stands in an event."""
        return {
            "training_id": self.training_id,
            "user_id": self.user_id,
            "instructor_id": self.instructor_id,
            "group_training_id": self.group_training_id,
            "completed_on": self.completed_on,
            "expires_on": self.expires_on,
            "recorded_at": None if self.recorded_at is None else iso_utc(self.recorded_at),
            "notes": self.notes,
            "has_attachments": self.has_attachments,
        }


@dataclass(frozen=True, slots=True)
class Names:
    """Display names that are known: of people by user id, of trainings by training id."""

    people: Mapping[str, str] = field(default_factory=dict)
    trainings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """One detected change of one record.

    `revision` counts the record's events from 1. `previous` is the state before an update.
    `net` and `reason` say how it was found and why it was taken for news.
    """

    type: EventType
    completion: Completion
    revision: int
    net: Net
    reason: str
    previous: Completion | None = None


class Event(NamedTuple):
    """An event as the ledger keeps it and destinations get it.

    `sequence` only grows; `time_ms` is the moment of detection in Unix milliseconds; `data` is a JSON object.
    A tuple, since tens of thousands are made at a time: a frozen dataclass takes three times as long to make.
    """

    sequence: int
    id: str
    type: str
    source: str
    subject: str
    time_ms: int
    data: bytes


def event_id(id_namespace: str, change: Change) -> str:
    """Derive an event's id from what it says, so that a rebuilt state file says it under the same id.

    `evt_` and 26 characters of base32 (130 bits of SHA-256).
    """
    parts: list[Any] = [id_namespace, change.completion.key, change.type.value, change.revision]
    if change.previous is not None:
        parts += [change.previous.content(), change.completion.content()]
    return _digest_id("evt_", orjson.dumps(parts, option=orjson.OPT_SORT_KEYS))


def notice_id(condition: str, subject: str, state: str, since_ms: int, told_ms: int) -> str:
    """Derive the id of an operational notice from what it says, and from when: a reminder is a notice of its own."""
    return _digest_id("evt_", orjson.dumps([EventType.ALERT, condition, subject, state, since_ms, told_ms]))


def batch_id(event_ids: tuple[str, ...]) -> str:
    """Derive the id of one request that carries several events: the same events give the same id."""
    return _digest_id("msg_", "\n".join(event_ids).encode())


def _digest_id(prefix: str, content: bytes) -> str:
    return prefix + base64.b32encode(hashlib.sha256(content).digest())[:26].decode().lower()


def event_data(change: Change, names: Names) -> bytes:
    """Write an event's `data` object: the completion with names, the changed fields' old values, the record."""
    completion = change.completion
    content = completion.content()
    previous = None
    if change.previous is not None:
        old = change.previous.content()
        previous = {name: old[name] for name in CONTENT_FIELDS if old[name] != content[name]}
    described = {
        "key": completion.key,
        "training_id": completion.training_id,
        "training_title": names.trainings.get(completion.training_id),
        "user_id": completion.user_id,
        "user_name": names.people.get(completion.user_id),
        "instructor_id": completion.instructor_id,
        "instructor_name": names.people.get(completion.instructor_id) if completion.instructor_id else None,
        "group_training_id": completion.group_training_id,
        "completed_on": completion.completed_on,
        "expires_on": completion.expires_on,
        "recorded_at": content["recorded_at"],
        "notes": completion.notes,
        "has_attachments": completion.has_attachments,
    }
    return orjson.dumps({"completion": described, "previous": previous, "record": orjson.Fragment(completion.raw)})
