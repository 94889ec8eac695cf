"""The records of the simulated account, and their format in each version of the API."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from enum import Enum, StrEnum
from typing import Any

from msgspec import Struct


class Version(StrEnum):
    """The documented versions of the methods that list completions and trainings."""

    V1 = "v1"
    V2 = "v2"


class Override(Enum):
    """A special value in `Record.overrides`."""

    ABSENT = "absent"
    """The answer does not contain the field."""


class IdPair(Struct, frozen=True):
    """The two ids of one training or group session: 24 hex digits in v1, a number in v2."""

    v1: str
    v2: int

    @classmethod
    def from_number(cls, number: int) -> "IdPair":
        """Return the pair of a v2 id (below 2**32) and a v1 id derived from it."""
        return cls(f"5804f0f70ef50473{number:08x}", number)


class Dialect(Struct, frozen=True):
    """The variants of the API's behaviour that its documentation leaves open, or that have changed over the years."""

    total: bool = False
    """Whether answers contain `paging.total`."""
    newer_fields: bool = True
    """Whether v2 records have `notes`, `signature` and `files`, which they did not have in 2020."""
    missing_is_error: bool = False
    """Whether an unknown id in a filter, or a page after the last one, is answered with `content_not_found`. If not,
    the list is empty.
    """


class Record(Struct, frozen=True):
    """One completion record, with field names that do not depend on the version of the API."""

    id: int
    """The v2 id."""
    user: str
    """The person's id, 24 hexadecimal digits."""
    training: IdPair
    created: int
    """The time of entry in Unix milliseconds."""
    date_number: int
    """The completion date as the number `yyyymmdd`."""
    expiry: int | None = None
    """The expiry date as the number `yyyymmdd`."""
    instructor: str | None = None
    """The instructor's id, 24 hexadecimal digits."""
    group: IdPair | None = None
    notes: str = ""
    signature: Mapping[str, Any] | None = None
    files: tuple[Mapping[str, Any], ...] = ()
    overrides: Mapping[str, Any] | None = None
    """The JSON values that the API shows in place of some fields' real values; `Override.ABSENT` leaves a field out.

    The record's place in the list depends on the real values.
    """


def format_record(record: Record, version: Version, dialect: Dialect) -> dict[str, Any]:
    """Return a record in the format of a version of the API, as JSON values."""
    fields = _as_v1(record) if version is Version.V1 else _as_v2(record, dialect)
    if record.overrides is None:
        return fields
    merged = {**fields, **record.overrides}
    return {name: value for name, value in merged.items() if value is not Override.ABSENT}


def _as_v1(record: Record) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "user_id": record.user,
        "training_id": record.training.v1,
        "created": record.created,
        "dateNumber": record.date_number,
    }
    if record.expiry is not None:
        fields["specialExpirationDateNumber"] = record.expiry
    if record.instructor is not None:
        fields["instructor_id"] = record.instructor
    if record.group is not None:
        fields["groupTraining_id"] = record.group.v1
    return fields


def _as_v2(record: Record, dialect: Dialect) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": record.id,
        "training_id": record.training.v2,
        "m_user_id": record.user,
        "created": record.created,
        "date_number": record.date_number,
        "special_expiration_date_number": record.expiry,
        "m_instructor_id": record.instructor,
        "group_training_id": None if record.group is None else record.group.v2,
    }
    if dialect.newer_fields:
        fields["notes"] = record.notes
        fields["signature"] = record.signature
        fields["files"] = list(record.files)
    return fields


def date_number(day: date) -> int:
    """Return a day in the API's format, `yyyymmdd` as a number."""
    return day.year * 10_000 + day.month * 100 + day.day


def day_of_number(number: int) -> date:
    """Return the day that a number in the API's format (`yyyymmdd`) stands for."""
    return date(number // 10_000, number // 100 % 100, number % 100)


def day_of(ms: int) -> date:
    """Return the UTC day of a time in Unix milliseconds."""
    return datetime.fromtimestamp(ms / 1000, UTC).date()
