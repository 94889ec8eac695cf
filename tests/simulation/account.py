"""The account as it truly is: its records, every form that each ever had, and its list at every moment."""

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
"""Equal records are entered under ids from here on."""


class RecordState(NamedTuple):
    """What of a record stands in an event, as far as people here change it."""

    training_id: str
    user_id: str
    completed_on: str
    recorded_at: str
    notes: str | None
    has_attachments: bool | None


class RecordChange(NamedTuple):
    """A change of one record: when (seconds from the beginning), to what (None: deleted), and its place (from 1)."""

    at: float
    state: RecordState | None
    place: int
    kind: str


Dates = tuple[str, ...]
"""The days of records that v1 cannot tell apart, sorted."""


@dataclass(frozen=True, slots=True)
class View:
    """What of the account a source asks for."""

    user_id: str | None = None
    training_id: str | None = None
    has_attachments: bool | None = None

    def includes(self, record: Record) -> bool:
        """Tell whether a record is in view; a training is named as either version does."""
        return (
            self.user_id in (None, record.user)
            and self.training_id in (None, record.training.v1, str(record.training.v2))
            and self.has_attachments in (None, bool(record.files))
        )


def user_id(number: int) -> str:
    """Return the id of a person."""
    return f"5e580f0cb780600088{number:06x}"


def training(number: int) -> IdPair:
    """Return a training."""
    return IdPair.from_number(1000 + number)


def day_text(date_number: int) -> str:
    """Write a day as an event does."""
    return f"{date_number // 10_000:04}-{date_number // 100 % 100:02}-{date_number % 100:02}"


def state_of(record: Record) -> RecordState:
    """Return what of a record stands in an event of v2."""
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
    """Return what keys of v1 have in common that stand for equal records."""
    return key_without_id(record.user, record.training.v1, record.created)


@dataclass(slots=True)
class Account:
    """The records of one customer, who enters, changes, deletes and restores them."""

    now: Callable[[], float]
    records: dict[int, Record] = field(default_factory=dict)
    histories: defaultdict[int, list[RecordChange]] = field(default_factory=lambda: defaultdict(list))
    """Every record that ever was, by id: all its changes, the first one its entry."""
    bases: defaultdict[str, list[tuple[float, Dates]]] = field(default_factory=lambda: defaultdict(list))
    """The same for records without an id: by what their keys have in common, and since when which days stand there."""
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
        """All records, newest first."""
        return self._lists[-1]

    def list_at(self, seconds: float) -> Sequence[Record]:
        """Return the list as it was at a moment; before the first one, as it began."""
        return self._lists[max(0, bisect_right(self._times, seconds) - 1)]

    def fill(self, records: Sequence[Record]) -> None:
        """Fill the account before anything else happens."""
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
        """Enter a record, or give one another form."""
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
        """Return the records that a source can see."""
        return {number: record for number, record in self.records.items() if view.includes(record)}

    def count_expected(self, view: View, version: Version, ignored: frozenset[int]) -> Counter[str]:
        """Count what a source should know: keys of v2, or what keys of v1 have in common."""
        arguments = (len(self._lists), view, version, ignored)
        if self._last_count is None or self._last_count[0] != arguments:
            seen = [record for number, record in self.in_view(view).items() if number not in ignored]
            name = v1_key_prefix if version is Version.V1 else _v2_key
            self._last_count = arguments, Counter(map(name, seen))
        return self._last_count[1]

    def record_json(self, record: Record, version: Version, absent: tuple[str, ...] = (), id_shift: int = 0) -> bytes:
        """Write a record as the API does, without some fields, or under another id."""
        key = (id(record), version, absent, id_shift)
        found = self._json.get(key)
        if found is None:
            fields: dict[str, Any] = format_record(record, version, _DIALECT)
            for name in absent:
                fields.pop(name, None)
            if id_shift and "id" in fields:
                fields["id"] += id_shift
            # With the record, so that no other one can get its address.
            found = self._json[key] = (record, orjson.dumps(fields))
        return found[1]

    def _update_bases(self, number: int, before: Record | None, after: Record | None) -> None:
        """Note what a change means for records without an id."""
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
    """Return what the list is sorted by: newest first."""
    return -record.date_number, -record.id


def _place(rows: Sequence[Record], record: Record) -> int:
    """Return where in a list a record stands or belongs, from 0."""
    return bisect_left(rows, _order(record), key=_order)
