"""The stored state of each source: first contact, progress of reading, counts, held-back changes, and pauses."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import fields

from notifier.store.database import Database


class Release(StrEnum):
    """An operator's request about held-back changes: announce them, or learn them without events."""

    TELL = "tell"
    LEARN = "learn"


class SourceError(Struct, frozen=True):
    """The last failure of a source."""

    reason: str
    message: str
    at_ms: int


class SourceMemory(Struct, frozen=True):
    """The stored state of a source; times in Unix milliseconds."""

    first_contact_ms: int | None = None
    """The time of the first contact; None before the first answer."""
    swept_at_ms: int | None = None
    """When a sweep last read the whole list; None before that."""
    head_key: str | None = None
    """The last record that an interrupted head poll read; `head_day` is its completion date."""
    head_day: str | None = None
    records: int = 0
    """The number of known records that exist and match the source's filters."""
    last_success_ms: int | None = None
    silent_until_ms: int | None = None
    silent_reason: str | None = None
    error: SourceError | None = None
    count_offset: int = 0
    """The error of the API's own count."""
    unreadable: int = 0
    """The number of records of the list that cannot be read."""
    unreadable_known: int = 0
    """The number of `unreadable` records that are known. They cause no difference between the count and `records`."""
    unreadable_key: str | None = None
    """An example of an unreadable record, with `unreadable_field` and `unreadable_problem`."""
    unreadable_field: str | None = None
    unreadable_problem: str | None = None
    unexplained: int = 0
    """The difference between the API's count and `records`, without the part whose cause is known.

    It has existed since `unexplained_since_ms`.
    """
    unexplained_since_ms: int | None = None
    left_over: int | None = None
    """The difference that the last whole sweep left unexplained; None once it was explained."""
    total_disbelieved: bool = False
    """Whether the API's `paging.total` is ignored."""
    page_cap: int | None = None
    """The API's own limit of records per page."""
    held: int = 0
    """The number of removals that are held back."""
    held_arrivals: int = 0
    held_changes: int = 0
    held_field: str | None = None
    """The field of one of the held-back changes."""
    release_removals: str | None = None
    """What the next sweep does with held-back removals."""
    release_changes: str | None = None
    """What the next sweep does with held-back changes."""
    gap_since_ms: int | None = None
    """The end of an outage that was so long that records may have been missed; None without such a gap."""
    announced_until_ms: int | None = None
    """Unknown records entered before this moment are not announced: they may have been announced before.

    Set if a damaged state file has lost records.
    """
    view: str | None = None
    view_since_ms: int | None = None
    """Unknown records entered before this moment are not announced. Set if the source had another `view` before."""
    renumbered: int = 0
    """The number of records to which the API has given other keys so far, last at `renumbered_ms`."""
    renumbered_ms: int | None = None

    @property
    def expected(self) -> int:
        """The count that the API should return if all changes are known."""
        return self.records + self.unreadable_unknown + self.count_offset

    @property
    def unreadable_unknown(self) -> int:
        """The number of unreadable records that are not among the known ones."""
        return self.unreadable - self.unreadable_known


class RoundSuccess(Struct, frozen=True):
    """A successful round at `now_ms`; `write_success` explains `ends_silence` and `longest_outage_ms`.

    `is_due` means that the success has to be stored even if the round stores nothing else.
    """

    now_ms: int
    ends_silence: bool
    longest_outage_ms: int
    is_due: bool


_COLUMN_OF: Final[Mapping[str, str]] = {
    "first_contact_ms": "met_at",
    "swept_at_ms": "swept_at",
    "last_success_ms": "last_success",
    "silent_until_ms": "silent_until",
    "unexplained_since_ms": "unexplained_since",
    "gap_since_ms": "gap_since",
    "announced_until_ms": "told_until",
    "view_since_ms": "view_since",
    "renumbered_ms": "renumbered_at",
}
_FIELDS: Final = tuple(field.name for field in fields(SourceMemory) if field.name != "error")
_COLUMNS: Final = ", ".join(_COLUMN_OF.get(name, name) for name in _FIELDS)


def read_or_create(db: Database, name: str) -> SourceMemory:
    """Return the stored state of a source; add an empty row for an unknown source."""
    db.execute("INSERT INTO sources (name) VALUES (?) ON CONFLICT DO NOTHING", [name])
    return _from_row(
        db.execute(
            f"SELECT error_reason, error_message, error_at, {_COLUMNS} FROM sources WHERE name = ?", [name]
        ).fetchone()
    )


def read_all(db: Database) -> dict[str, SourceMemory]:
    """Return the stored state of every source, by name."""
    rows = db.execute(f"SELECT name, error_reason, error_message, error_at, {_COLUMNS} FROM sources ORDER BY name")
    return {row[0]: _from_row(row[1:]) for row in rows}


def _from_row(row: tuple[Any, ...]) -> SourceMemory:
    reason, message, at_ms, *values = row
    error = SourceError(reason, message, at_ms) if reason else None
    return SourceMemory(error=error, **dict(zip(_FIELDS, values, strict=True)))


def write(db: Database, name: str, /, **values: str | int | None) -> None:
    """Store the given fields of a source's SourceMemory."""
    assignments = ", ".join(f"{_COLUMN_OF.get(field, field)} = ?" for field in values)
    db.execute(f"UPDATE sources SET {assignments} WHERE name = ?", [*values.values(), name])


def update(db: Database, name: str, /, **values: str | int | None) -> SourceMemory:
    """Store the given fields of a source's SourceMemory, and return all fields."""
    write(db, name, **values)
    return read_or_create(db, name)


def record_success(
    db: Database, name: str, now_ms: int, *, ends_silence: bool = True, longest_outage_ms: int | None = None
) -> SourceMemory:
    """Store a successful round as `write_success` does, and return the source's state."""
    write_success(db, name, now_ms, ends_silence=ends_silence, longest_outage_ms=longest_outage_ms)
    return read_or_create(db, name)


def write_success(
    db: Database, name: str, now_ms: int, *, ends_silence: bool = True, longest_outage_ms: int | None = None
) -> None:
    """Store a successful round, in which known records were reached; the last error is kept for display.

    If `ends_silence` is True, the source's silence ends. It is False if another request has started a silence during
    the round. If the previous success was more than `longest_outage_ms` ago, a gap is recorded.
    """
    db.execute(
        "UPDATE sources SET last_success = ?, head_key = NULL, head_day = NULL,"
        " gap_since = CASE WHEN ? - last_success > ? THEN coalesce(gap_since, ?) ELSE gap_since END WHERE name = ?",
        [now_ms, now_ms, longest_outage_ms, now_ms, name],
    )
    if ends_silence:
        db.execute("UPDATE sources SET silent_until = NULL, silent_reason = NULL WHERE name = ?", [name])


def record_failure(db: Database, name: str, error: SourceError, silent_until_ms: int | None) -> SourceMemory:
    """Store a failed round and, if given, the time until which the source gets no requests.

    If `silent_until_ms` is None, an earlier silence (a time without requests) continues.
    """
    db.execute(
        "UPDATE sources SET error_reason = ?, error_message = ?, error_at = ? WHERE name = ?",
        [error.reason, error.message, error.at_ms, name],
    )
    if silent_until_ms is not None:
        db.execute(
            "UPDATE sources SET silent_until = ?, silent_reason = ? WHERE name = ?",
            [silent_until_ms, error.reason, name],
        )
    return read_or_create(db, name)
