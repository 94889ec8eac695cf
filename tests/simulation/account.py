"""The account as it really is: its records, every state of each record, and the list at every time."""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from notifier.clock import iso_utc
from notifier.kpa.v1_keys import key_without_id
from notifier.sandbox.records import Dialect, IdPair, Record, Version, format_record

_DIALECT = Dialect()

FIRST_DUPLICATE_ID = 100_000
"""The lowest id of a duplicate: a record that equals another one except for its id."""


class RecordState(NamedTuple):
    """The fields of a record that events contain and that people change in the simulation."""

    training_id: str
    user_id: str
    completed_on: str
    recorded_at: str
    notes: str | None
    has_attachments: bool | None


class RecordChange(NamedTuple):
    """A change of a record: its time (seconds since the start), the new state (None: deleted), the place (from 1)."""

    at: float
    state: RecordState | None
    place: int
    kind: str


Dates = tuple[str, ...]
"""The sorted completion dates of records that v1 of the API cannot distinguish."""


@dataclass(frozen=True, slots=True)
class View:
    """The filters of a source: which records of the account it requests."""

    user_id: str | None = None
    training_id: str | None = None
    has_attachments: bool | None = None

    def includes(self, record: Record) -> bool:
        """Return whether a record passes the filters. `training_id` may be the id of either version."""
        return (
            self.user_id in (None, record.user)
            and self.training_id in (None, record.training.v1, str(record.training.v2))
            and self.has_attachments in (None, bool(record.files))
        )


def user_id(number: int) -> str:
    """Return the id of the person with a number."""
    return f"5e580f0cb780600088{number:06x}"


def training(number: int) -> IdPair:
    """Return the ids of the training with a number."""
    return IdPair.from_number(1000 + number)


def day_text(date_number: int) -> str:
    """Return a day in the format of events, `yyyy-mm-dd`."""
    return f"{date_number // 10_000:04}-{date_number // 100 % 100:02}-{date_number % 100:02}"


def state_of(record: Record) -> RecordState:
    """Return the state of a record as events of a v2 source contain it."""
    return RecordState(
        str(record.training.v2),
        record.user,
        day_text(record.date_number),
        iso_utc(record.created),
        record.notes,
        bool(record.files),
    )


def _v2_key(record: Record) -> str:
    return str(record.id)


def v1_key_prefix(record: Record) -> str:
    """Return the prefix that the v1 keys of equal records share."""
    return key_without_id(record.user, record.training.v1, record.created)


@dataclass(slots=True)
class Account:
    """The records of one customer, with all their earlier states."""

    now: Callable[[], float]
    records: dict[int, Record] = field(default_factory=dict)
    histories: defaultdict[int, list[RecordChange]] = field(default_factory=lambda: defaultdict(list))
    """All changes of every record, by id. The first change of a record is its entry."""
    bases: defaultdict[str, list[tuple[float, Dates]]] = field(default_factory=lambda: defaultdict(list))
    """The changes of equal records, by the prefix of their v1 keys: each time, and the records' dates since then."""
    deleted: dict[int, Record] = field(default_factory=dict)
    next_id: int = 1001
    _members: defaultdict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    _times: list[float] = field(default_factory=list)
    _lists: list[Sequence[Record]] = field(default_factory=list)
    _last_count: tuple[object, Counter[str]] | None = None
    """The arguments and the result of the last count: it is repeated each minute, and mostly nothing has changed."""
    _json: dict[tuple[int, Version, tuple[str, ...], int], tuple[Record, bytes]] = field(default_factory=dict)

    @property
    def list_now(self) -> Sequence[Record]:
        """The present records, newest first."""
        return self._lists[-1]

    def list_at(self, seconds: float) -> Sequence[Record]:
        """Return the list as it was at a time in seconds; before the start, the list at the start."""
        return self._lists[max(0, bisect_right(self._times, seconds) - 1)]

    def fill(self, records: Sequence[Record]) -> None:
        """Enter the records that exist at the start."""
        for record in records:
            self.records[record.id] = record
        self._commit(sorted(records, key=_order))
        for place, record in enumerate(self.list_now, 1):
            self.histories[record.id].append(RecordChange(self.now(), state_of(record), place, "begin"))
            self._members[v1_key_prefix(record)][record.id] = day_text(record.date_number)
            self.next_id = max(self.next_id, record.id + 1)
        for base in self._members:
            self._record_base(base)

    def enter_or_change(self, record: Record, kind: str) -> None:
        """Enter a new record, or replace the record with the same id."""
        before = self.records.get(record.id)
        rows = [*self.list_now]
        if before is not None:
            del rows[_place(rows, before)]
        place = _place(rows, record) + 1
        rows.insert(place - 1, record)
        self._commit(rows)
        self.records[record.id] = record
        self.deleted.pop(record.id, None)
        if record.id < FIRST_DUPLICATE_ID:
            self.next_id = max(self.next_id, record.id + 1)
        self.histories[record.id].append(RecordChange(self.now(), state_of(record), place, kind))
        self._update_bases(record.id, before, record)

    def delete(self, record_id: int) -> None:
        """Delete a record."""
        record = self.records.pop(record_id)
        self.deleted[record_id] = record
        rows = [*self.list_now]
        place = _place(rows, record) + 1
        del rows[place - 1]
        self._commit(rows)
        self.histories[record_id].append(RecordChange(self.now(), None, place, "delete"))
        self._update_bases(record_id, record, None)

    def in_view(self, view: View) -> dict[int, Record]:
        """Return the records that pass the filters of a source, by id."""
        return {number: record for number, record in self.records.items() if view.includes(record)}

    def count_expected(self, view: View, version: Version, ignored: frozenset[int]) -> Counter[str]:
        """Count the records that a source should know, by v2 id or by the prefix of the v1 key."""
        arguments = (len(self._lists), view, version, ignored)
        if self._last_count is None or self._last_count[0] != arguments:
            seen = [record for number, record in self.in_view(view).items() if number not in ignored]
            name = v1_key_prefix if version is Version.V1 else _v2_key
            self._last_count = arguments, Counter(map(name, seen))
        return self._last_count[1]

    def record_json(self, record: Record, version: Version, absent: tuple[str, ...] = (), id_shift: int = 0) -> bytes:
        """Return a record as JSON of the API, without the fields `absent`, and with its id increased by `id_shift`."""
        key = (id(record), version, absent, id_shift)
        found = self._json.get(key)
        if found is None:
            fields: dict[str, Any] = format_record(record, version, _DIALECT)
            for name in absent:
                fields.pop(name, None)
            if id_shift and "id" in fields:
                fields["id"] += id_shift
            # The record is kept, so that no other record can get its address.
            found = self._json[key] = (record, orjson.dumps(fields))
        return found[1]

    def _update_bases(self, number: int, before: Record | None, after: Record | None) -> None:
        """Add a change to `bases`, where records are grouped by the prefix of their v1 keys."""
        bases = []
        if before is not None:
            bases.append(v1_key_prefix(before))
            self._members[bases[0]].pop(number, None)
        if after is not None:
            bases.append(v1_key_prefix(after))
            self._members[bases[-1]][number] = day_text(after.date_number)
        for base in dict.fromkeys(bases):
            self._record_base(base)

    def _record_base(self, base: str) -> None:
        dates = tuple(sorted(self._members[base].values()))
        if not self.bases[base] or self.bases[base][-1][1] != dates:
            self.bases[base].append((self.now(), dates))

    def _commit(self, rows: Sequence[Record]) -> None:
        self._times.append(self.now())
        self._lists.append(rows)


def _order(record: Record) -> tuple[int, int]:
    """Return the sort key of a record; the newest record has the lowest key."""
    return -record.date_number, -record.id


def _place(rows: Sequence[Record], record: Record) -> int:
    """Return the index of a record in a list, or the index at which to insert it."""
    return bisect_left(rows, _order(record), key=_order)
