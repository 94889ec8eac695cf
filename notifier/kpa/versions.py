"""Maps the records of either API version to completions, so that no other module depends on the version."""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import orjson
from msgspec import Struct
from msgspec.structs import replace

from notifier.events import Completion, UnreadField, fingerprint
from notifier.kpa.errors import ApiError, ApiErrorReason
from notifier.kpa.field_parsers import (
    UnreadableError,
    day,
    identifier,
    list_is_filled,
    moment,
    optional_identifier,
    plausible_moment,
    text,
    whole_number,
)
from notifier.kpa.v1_keys import key_without_id, numbered_key

CREATED = "created"
"""The API's name of the time of entry, the same in both versions."""


class InvalidRecord(Struct, frozen=True):
    """A record whose person, training, date or id cannot be read, so that nothing can be concluded from it."""

    key: str | None
    """The record's key; None if it cannot be read."""
    problem: str
    """One sentence without text from the record."""
    place: int = 0
    """The record's place in its answer, from 0."""
    is_repeated: bool = False
    """Whether an earlier record has the same id."""
    field_name: str | None = None
    """The field that cannot be read; None if the problem does not concern a single field."""
    mark: int = 0
    """Distinguishes records without keys."""
    is_too_large: bool = False
    """Whether the record does not fit into any answer, even alone; `mark` is then its place in the list."""


class RecordFormat(Struct, frozen=True):
    """The API methods and field names of one API version; a field name is None if records have no such field."""

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
    always_given: Mapping[str, str]
    """The content fields that the API sends in every record, even if empty. Maps our names to the API's names."""

    def training_filter(self, training_id: str) -> int | str:
        """Return a training's id as a number or a string, as the parameter `training_id` requires."""
        number = whole_number(training_id) if self.trainings_have_numbers else None
        return training_id if number is None else number

    def missing_fields(self, raws: Iterable[bytes]) -> frozenset[str]:
        """Return the content fields that the API should always send, but that none of these records has.

        `raws` are the JSON of the records. The value of such a field is unknown; it must not be taken for empty.
        """
        present: set[str] = set()
        for raw in raws:
            present.update(orjson.loads(raw))
        return frozenset(ours for ours, name in self.always_given.items() if name not in present)

    def fill_missing(self, completion: Completion, earlier: Completion, absent: Iterable[str]) -> Completion:
        """Return the record with its `absent` content fields taken from an `earlier` form of the record."""
        names = {field: self.always_given[field] for field in absent}
        before = orjson.loads(earlier.raw)
        raw = orjson.loads(completion.raw) | {name: before[name] for name in names.values() if name in before}
        return replace(completion, raw=orjson.dumps(raw), **{field: getattr(earlier, field) for field in names})

    def parse(self, records: Iterable[Any]) -> tuple[list[Completion], list[InvalidRecord]]:
        """Read the records of one answer, in order; return the completions and the unreadable records.

        No key occurs twice. Equal records without ids get numbers from the second one on; each page begins anew.
        """
        completions: list[Completion] = []
        bad: list[InvalidRecord] = []
        times_seen: dict[str, int] = {}
        for place, record in enumerate(records):
            key, raw = None, b""
            try:
                raw = as_json(record)
                key = self._key(record)
                times = times_seen[key] = times_seen.get(key, 0) + 1
                if times > 1 and self.record_id is not None:
                    problem = f"`{self.record_id}` already belongs to an earlier record of the same page"
                    bad.append(InvalidRecord(key, problem, place, is_repeated=True, field_name=self.record_id))
                    continue
                if times > 1:
                    key = numbered_key(key, times)
                completions.append(self._completion(key, record, raw))
            except UnreadableError as error:
                mark = 0 if key is not None else fingerprint(raw) if raw else place
                bad.append(InvalidRecord(key, str(error), place, field_name=error.field, mark=mark))
        return completions, bad

    def _key(self, record: dict[str, Any]) -> str:
        if self.record_id is not None:
            return identifier(record, self.record_id)
        return key_without_id(
            identifier(record, self.user_id), identifier(record, self.training_id), moment(record, CREATED)
        )

    def _completion(self, key: str, record: dict[str, Any], raw: bytes) -> Completion:
        """Return the completion for a record. Raises UnreadableError if person, training or date cannot be read."""
        training_id = identifier(record, self.training_id)
        user_id = identifier(record, self.user_id)
        completed_on = day(record, self.completed_on)
        try:
            # Positional, because keywords would take a fifth longer, and a first sweep reads a million records.
            return Completion(
                key,
                training_id,
                user_id,
                completed_on,
                day(record, self.expires_on),
                plausible_moment(record, CREATED),
                optional_identifier(record, self.instructor_id),
                optional_identifier(record, self.group_training_id),
                None if self.notes is None else text(record, self.notes),
                None if self.files is None else list_is_filled(record, self.files),
                raw,
            )
        except UnreadableError:
            return self._with_optional_fields(
                Completion(key, training_id, user_id, completed_on, *_NO_OPTIONAL_FIELDS, raw), record
            )

    def _with_optional_fields(self, completion: Completion, record: dict[str, Any]) -> Completion:
        """Return a completion with the fields of `_optional_fields`; unreadable ones are listed in `unread` instead."""
        read: dict[str, Any] = {}
        unread: list[UnreadField] = []
        for ours, name, reader in self._optional_fields():
            try:
                read[ours] = reader(record, name)
            except UnreadableError as error:
                unread.append(UnreadField(ours, name, str(error)))
        return replace(completion, **read, unread=tuple(unread))

    def _optional_fields(self) -> Iterable[tuple[str, str, Callable[[dict[str, Any], str], Any]]]:
        """Yield (our name, the API's name, parser) for each field except person, training and date."""
        yield "expires_on", self.expires_on, day
        yield "recorded_at", CREATED, plausible_moment
        yield "instructor_id", self.instructor_id, optional_identifier
        yield "group_training_id", self.group_training_id, optional_identifier
        if self.notes is not None:
            yield "notes", self.notes, text
        if self.files is not None:
            yield "has_attachments", self.files, list_is_filled


class SkimmedRecords(Struct, frozen=True):
    """The records of an answer; only their keys (all different) and their days have been read so far.

    `split` returns the JSON of each record. `fingerprints` has the fingerprints of this JSON, None if they are not
    computed yet.
    """

    version: RecordFormat
    keys: Sequence[str]
    days: Sequence[str | None]
    split: Callable[[], Sequence[bytes]]
    fingerprints: Sequence[int] | None = None

    @property
    def raws(self) -> Sequence[bytes]:
        """The JSON of the records."""
        return self.split()

    def parse(self) -> tuple[list[Completion], list[InvalidRecord]]:
        """Read all records, as `RecordFormat.parse` does. Raises ApiError."""
        return self.version.parse(map(_from_json, self.raws))

    def parse_except(self, read: Container[str]) -> list[Completion]:
        """Return the completions of all records except those whose keys are in `read`. Raises ApiError."""
        others = [_from_json(raw) for key, raw in zip(self.keys, self.raws, strict=True) if key not in read]
        return self.version.parse(others)[0] if others else []


_NO_OPTIONAL_FIELDS: Final = (None, None, None, None, None, None)


V1: Final = RecordFormat(
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
    always_given=MappingProxyType({}),
)

V2: Final = RecordFormat(
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
    always_given=MappingProxyType(
        {
            "expires_on": "special_expiration_date_number",
            "instructor_id": "m_instructor_id",
            "group_training_id": "group_training_id",
            "notes": "notes",
            "has_attachments": "files",
        }
    ),
)

API_VERSIONS: Final[Mapping[str, RecordFormat]] = MappingProxyType({"v1": V1, "v2": V2})


def read_stored(version: RecordFormat, key: str, raw: bytes) -> Completion | None:
    """Return the completion of a stored record, with the stored key; None if the record cannot be read."""
    completions, _ = version.parse([orjson.loads(raw)])
    return replace(completions[0], key=key) if completions else None


def read_all_stored(version: RecordFormat, stored: Mapping[str, bytes]) -> dict[str, Completion]:
    """Return the completions of stored records, by key; records that this program version cannot read are left out."""
    return {key: read for key, raw in stored.items() if (read := read_stored(version, key, raw)) is not None}


def read_missing(version: RecordFormat, stored: Mapping[str, bytes]) -> dict[str, Completion]:
    """Return the completions of records that an answer lacks. `stored` may have the format of another API version."""
    versions = (*API_VERSIONS.values(), version)
    return {key: found for known in versions for key, found in read_all_stored(known, stored).items()}


def as_json(record: Any) -> bytes:
    """Return a record's JSON in the form that is stored and compared. Raises UnreadableError for an invalid record."""
    if type(record) is not dict:
        raise UnreadableError("the record is not an object")
    try:
        # The bytes that orjson returns keep its whole buffer of about 4 kB in memory; a copy does not. This is the
        # fastest way to copy them.
        return b"".join((orjson.dumps(record), b""))
    except orjson.JSONEncodeError as error:
        raise UnreadableError(f"the record cannot be converted to JSON ({error})") from error


def _from_json(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        # Skimming accepts values that are nested more deeply than orjson can parse.
        raise ApiError(ApiErrorReason.NOT_JSON, "a record that has too many levels") from error
