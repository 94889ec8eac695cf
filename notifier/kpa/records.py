"""An API version is one mapping from the records of its list to completions; above it nobody knows which it was."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import orjson

from notifier.completions import Completion
from notifier.kpa.fields import (
    UnreadableError,
    day,
    identifier,
    list_is_filled,
    moment,
    optional_identifier,
    text,
    whole_number,
)

_CREATED = "created"
"""The moment of entry, called the same in both versions."""


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record of which nothing may be concluded, since a part of it cannot be read.

    `key` is None when it is the key that cannot be told. `problem` is one sentence without text out of the record.
    `place` is where in its response it stood, from 0.
    """

    key: str | None
    problem: str
    place: int = 0


@dataclass(frozen=True, slots=True)
class ApiVersion:
    """The methods of one version of the API and its names of a record's fields; None is what it does not have."""

    completions_method: str
    trainings_method: str
    record_id: str | None
    training_id: str
    user_id: str
    completed_on: str
    expires_on: str
    instructor_id: str
    group_training_id: str
    notes: str | None
    files: str | None
    trainings_have_numbers: bool

    def training_filter(self, training_id: str) -> int | str:
        """Return a training's id as the parameter `training_id` wants it."""
        number = whole_number(training_id) if self.trainings_have_numbers else None
        return training_id if number is None else number

    def parse(self, records: Iterable[Any]) -> tuple[list[Completion], list[BadRecord]]:
        """Read the records of one response, in order; one that cannot be read does not spoil the others.

        No key is given twice in one response. Records that share a key because the version has no ids are numbered
        from the second one on; where a page ends between them, each page begins anew.
        """
        completions: list[Completion] = []
        bad: list[BadRecord] = []
        times_seen: dict[str, int] = {}
        for place, record in enumerate(records):
            key = None
            try:
                raw = _as_json(record)
                key = self._key(record)
                times = times_seen[key] = times_seen.get(key, 0) + 1
                if times > 1:
                    key = self._key_of_equal(key, times)
                completions.append(self._completion(key, record, raw))
            except UnreadableError as error:
                bad.append(BadRecord(key, str(error), place))
        return completions, bad

    def _key(self, record: dict[str, Any]) -> str:
        if self.record_id is not None:
            return identifier(record, self.record_id)
        return key_without_id(
            identifier(record, self.user_id), identifier(record, self.training_id), moment(record, _CREATED)
        )

    def _key_of_equal(self, key: str, times: int) -> str:
        if self.record_id is not None:
            raise UnreadableError(f"`{self.record_id}` stands on an earlier record of the same page")
        return f"{key}-{times}"

    def _completion(self, key: str, record: dict[str, Any], raw: bytes) -> Completion:
        training_id = identifier(record, self.training_id)
        user_id = identifier(record, self.user_id)
        completed_on = day(record, self.completed_on)
        expires_on = day(record, self.expires_on)
        recorded_at = moment(record, _CREATED)
        instructor_id = optional_identifier(record, self.instructor_id)
        group_training_id = optional_identifier(record, self.group_training_id)
        notes = None if self.notes is None else text(record, self.notes)
        has_attachments = None if self.files is None else list_is_filled(record, self.files)
        # By position: keywords would cost a fifth of what a record takes, and a first sweep reads a million of them.
        return Completion(
            key,
            training_id,
            user_id,
            completed_on,
            expires_on,
            recorded_at,
            instructor_id,
            group_training_id,
            notes,
            has_attachments,
            raw,
        )


def key_without_id(user_id: str, training_id: str, recorded_at: int | None) -> str:
    """Derive the key of a record that has no id.

    `v1-` and the first 16 hex digits of the SHA-256 of the compact JSON array `["<user>","<training>","<created>"]`:
    three strings in UTF-8, `created` as decimal Unix milliseconds or empty.
    """
    created = "" if recorded_at is None else str(recorded_at)
    return "v1-" + hashlib.sha256(orjson.dumps([user_id, training_id, created])).hexdigest()[:16]


V1: Final = ApiVersion(
    completions_method="completedtrainings.list",
    trainings_method="trainings.list",
    record_id=None,
    training_id="training_id",
    user_id="user_id",
    completed_on="dateNumber",
    expires_on="specialExpirationDateNumber",
    instructor_id="instructor_id",
    group_training_id="groupTraining_id",
    notes=None,
    files=None,
    trainings_have_numbers=False,
)

V2: Final = ApiVersion(
    completions_method="completedtrainings.v2.list",
    trainings_method="trainings.v2.list",
    record_id="id",
    training_id="training_id",
    user_id="m_user_id",
    completed_on="date_number",
    expires_on="special_expiration_date_number",
    instructor_id="m_instructor_id",
    group_training_id="group_training_id",
    notes="notes",
    files="files",
    trainings_have_numbers=True,
)

API_VERSIONS: Final[Mapping[str, ApiVersion]] = MappingProxyType({"v1": V1, "v2": V2})


def _as_json(record: Any) -> bytes:
    if type(record) is not dict:
        raise UnreadableError("the record is not an object")
    try:
        # orjson's own bytes keep the buffer of some 4 kB that they were written into.
        return bytes(memoryview(orjson.dumps(record)))
    except orjson.JSONEncodeError as error:
        raise UnreadableError(f"the record cannot be written as JSON again ({error})") from error
