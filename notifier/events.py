"""Completions, changes and events as plain values, the same for each API version."""

import base64
import hashlib
import re
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Any, Final

import orjson
from msgspec import Struct, field
from msgspec.structs import replace

from notifier.clock import iso_utc
from notifier.facts import Occasion, PersonFacts, PersonField, TrainingFacts, validity

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
"""The fields of a completion that cause an `updated` event if they change. If the name of a person or a training
changes, there is no such event.
"""


_PRIVATE: Final = re.compile(rb'"signature"\s*:\s*(?!null)|"files"\s*:\s*\[\s*[^\s\]]')
_LONGEST_FILE_TEXT: Final = 200
"""The maximum length of a text that describes a file. A longer text is not stored: it may be the file's content."""

Record = tuple[str, str]
"""The identity of a record: its source and its key."""


def fingerprint(raw: bytes) -> int:
    """Return a 64-bit fingerprint of bytes, as a signed number."""
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), signed=True)


_hashed: Final = partial(hashlib.blake2b, digest_size=8)


def fingerprints(raws: Iterable[bytes]) -> Sequence[int]:
    """Return the fingerprints of many byte strings; faster than calling `fingerprint` for each."""
    digests = [hashed.digest() for hashed in map(_hashed, raws)]
    return struct.unpack(f">{len(digests)}q", b"".join(digests))


def without_private_content(raw: bytes) -> bytes:
    """Return a record's JSON as it is stored and put into events: without the signature and the content of files.

    Values that describe a file, such as its name, type and size, are kept. A record without signature and files is
    returned unchanged.
    """
    if _PRIVATE.search(raw) is None:
        return raw
    record = orjson.loads(raw)
    if record.get("signature") is not None:
        record["signature"] = None
    if isinstance(record.get("files"), list):
        record["files"] = [_describe_file(file) for file in record["files"]]
    return orjson.dumps(record)


def _describe_file(file: object) -> object:
    if not isinstance(file, dict):
        return None
    return {
        name: value
        for name, value in file.items()
        if isinstance(value, str | int) and len(str(value)) <= _LONGEST_FILE_TEXT
    }


class EventType(StrEnum):
    """The types of events, as receivers see them."""

    CREATED = "completion.created"
    UPDATED = "completion.updated"
    REMOVED = "completion.removed"
    EXPIRING = "completion.expiring"
    EXPIRED = "completion.expired"
    RENEWED = "completion.renewed"
    ALERT = "notifier.alert"


class DetectedBy(StrEnum):
    """The detection method that found a change."""

    HEAD = "head"
    COUNT = "count"
    SWEEP = "sweep"
    CALENDAR = "calendar"


class UnreadField(Struct, frozen=True):
    """A field of a completion that cannot be read.

    `name` is its name in `Completion`, `api_name` its name in the API, and `problem` a sentence that says why it cannot
    be read.
    """

    name: str
    api_name: str
    problem: str


class Completion(Struct, frozen=True):
    """One completion, read from either API version."""

    key: str
    training_id: str
    user_id: str
    completed_on: str | None
    """`YYYY-MM-DD`, like `expires_on`."""
    expires_on: str | None
    recorded_at: int | None
    """The time of entry (Unix ms); None if the record has no usable one."""
    instructor_id: str | None
    group_training_id: str | None
    notes: str | None
    has_attachments: bool | None
    raw: bytes
    """The record's JSON as the API returned it."""
    unread: tuple[UnreadField, ...] = ()
    """The fields that cannot be read. Each has its last readable value, or None if that is not known."""
    stored_raw: bytes | None = None
    """The JSON that is stored instead of `raw`: `unread` fields have their last readable values. None if `raw` itself
    is stored.
    """

    def fingerprint(self) -> int:
        """Return a 64-bit fingerprint of the record's JSON; it stays the same as long as the record does not change."""
        return fingerprint(self.raw)

    def with_last_readable(self, previous: "Completion") -> "Completion":
        """Return the completion with the values of its unreadable fields taken from `previous`, its earlier version.

        So an unreadable field does not look changed. `stored_raw` keeps the last readable values. When the fields are
        readable again, they are compared with these values.
        """
        if not self.unread:
            return self
        before = orjson.loads(previous.raw)
        names = {unread.api_name for unread in self.unread}
        kept = {name: value for name, value in orjson.loads(self.raw).items() if name not in names}
        kept |= {name: before[name] for name in names if name in before}
        last_values: dict[str, Any] = {unread.name: getattr(previous, unread.name) for unread in self.unread}
        return replace(self, **last_values, stored_raw=orjson.dumps(kept))

    def content_fingerprint(self) -> int:
        """Return a 64-bit fingerprint of `content()`; equal fingerprints mean equal content."""
        return fingerprint(orjson.dumps(self.content(), option=orjson.OPT_SORT_KEYS))

    def content(self) -> dict[str, Any]:
        """Return the fields whose change causes an `updated` event, with their values as events show them."""
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


class Names(Struct, frozen=True):
    """The known names of people and trainings, and further facts about them, by user id and training id.

    `person_facts` holds only the facts that the operator has chosen, and that have been read.
    """

    people: Mapping[str, str] = field(default_factory=dict)
    trainings: Mapping[str, str] = field(default_factory=dict)
    person_facts: Mapping[str, PersonFacts] = field(default_factory=dict)
    training_facts: Mapping[str, TrainingFacts] = field(default_factory=dict)

    def with_person_fields(self, fields: Collection[PersonField]) -> "Names":
        """Return a copy in which each person has only the facts that `fields` names."""
        people = {
            id_: {name: value for name, value in facts.items() if name in fields}
            for id_, facts in self.person_facts.items()
        }
        return replace(self, person_facts=people)

    def employee_number(self, user_id: str | None) -> str | None:
        """Return a person's employee number, or None if there is none or it is not known."""
        number = self.person_facts.get(user_id or "", {}).get(PersonField.EMPLOYEE_NUMBER)
        return number if isinstance(number, str) else None


class Change(Struct, frozen=True):
    """One detected change of one record.

    `revision` numbers the events of a record, from 1. `previous` is the completion before an update; it is None for
    other changes. `detected_by` is the detection method. `reason` says why the change is reported.
    """

    type: EventType
    completion: Completion
    revision: int
    detected_by: DetectedBy
    reason: str
    previous: Completion | None = None


class Event(Struct, frozen=True):
    """An event as it is stored and delivered.

    `sequence` grows with each event. `time_ms` is when the change was detected, in Unix milliseconds. `data` is a JSON
    object.
    """

    sequence: int
    id: str
    type: str
    source: str
    subject: str
    time_ms: int
    data: bytes

    @property
    def record(self) -> Record:
        """The record that the event is about."""
        return self.source, self.subject


def event_id(id_namespace: str, change: Change) -> str:
    """Return an event's id, derived from its content, so that the event has the same id in a rebuilt state file."""
    parts: list[Any] = [id_namespace, change.completion.key, change.type.value, change.revision]
    if change.previous is not None:
        parts += [change.previous.content(), change.completion.content()]
    return _digest_id("evt_", orjson.dumps(parts, option=orjson.OPT_SORT_KEYS))


def expiry_event_id(id_namespace: str, key: str, kind: EventType, valid_until: str, announcement: int) -> str:
    """Return the id of an `expiring`, `expired` or `renewed` event; the same arguments always give the same id.

    `announcement` is a number that distinguishes repeated announcements of the same last valid day.
    """
    return _digest_id("evt_", orjson.dumps([id_namespace, key, kind.value, valid_until, announcement]))


def alert_event_id(condition: str, subject: str, state: str, since_ms: int, alerted_ms: int) -> str:
    """Return the id of an alert event, derived from its content and times, so that each reminder has its own id."""
    return _digest_id("evt_", orjson.dumps([EventType.ALERT, condition, subject, state, since_ms, alerted_ms]))


def batch_id(event_ids: tuple[str, ...]) -> str:
    """Return the id of a request that carries several events; the same events always give the same id."""
    return _digest_id("msg_", "\n".join(event_ids).encode())


def _digest_id(prefix: str, content: bytes) -> str:
    return prefix + base64.b32encode(hashlib.sha256(content).digest())[:26].decode().lower()


def event_data(change: Change, names: Names, occasion: Occasion | None = None) -> bytes:
    """Return the JSON of an event's `data`.

    The JSON has the completion with names, the old values of changed fields, the known facts about the person and the
    training, and the record. `occasion` says whether this is the person's first completion of the training or a
    renewal; None if that is not known.
    """
    completion = change.completion
    content = completion.content()
    previous = None
    if change.previous is not None:
        old = change.previous.content()
        previous = {name: old[name] for name in CONTENT_FIELDS if old[name] != content[name]}
    rule = names.training_facts.get(completion.training_id)
    valid = validity(completion.completed_on, completion.expires_on, rule)
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
        "user_employee_number": names.employee_number(completion.user_id),
        "instructor_employee_number": names.employee_number(completion.instructor_id),
        "valid_until": valid.until,
        "valid_until_source": valid.source,
        "occasion": occasion,
    }
    user = names.person_facts.get(completion.user_id)
    return orjson.dumps(
        {
            "completion": described,
            "previous": previous,
            "user": None if user is None else {"id": completion.user_id, **user},
            "training": None if rule is None else {"id": completion.training_id, **rule.as_json()},
            "record": orjson.Fragment(without_private_content(completion.raw)),
        }
    )
