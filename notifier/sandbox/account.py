"""The simulated account: a customer's records, listed in the format of either version of the API."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from notifier.sandbox.catalog import JOB_TITLES, Training
from notifier.sandbox.records import Dialect, IdPair, Record, Version, date_number, day_of, format_record
from notifier.sandbox.sorted_records import Order, SortedRecords, newest_entry_first, shuffled_ties


class Filters(Struct, frozen=True):
    """The filters of a request for records; None means any. `training` is a v1 or a v2 id."""

    training: str | int | None = None
    user: str | None = None
    has_attachments: bool | None = None

    def accept(self, record: Record) -> bool:
        """Return whether the record matches all filters."""
        return (
            (self.training is None or self.training in {record.training.v1, record.training.v2})
            and (self.user is None or self.user == record.user)
            and (self.has_attachments is None or self.has_attachments == bool(record.files))
        )


class AccountPage(Struct, frozen=True):
    """One page of a list.

    `last_page` is the number of the list's last page (at least 1), and `total` is the list's number of records.
    """

    records: list[dict[str, Any]]
    last_page: int
    total: int


Listener = Callable[[Record | None, Record | None], None]
"""Called with a record before its change (None: it is new) and after its change (None: it is deleted)."""


def system_now_ms() -> int:
    """Return the machine's wall clock in Unix milliseconds."""
    return time.time_ns() // 1_000_000


class Account:
    """The records of one customer, for both versions of the API.

    Completions are listed by completion date, newest first (KPA Flex API documentation, completedtrainings.v2.list). Of
    records with equal dates, the one entered last comes first, unless `reshuffle_ties` is called. `now_ms` is the
    account's clock (Unix ms). `dialect` may be replaced at any time. `status_ends` has the expiry dates (`yyyymmdd`)
    that only the employee status list shows, by person and v2 training.
    """

    def __init__(
        self,
        *,
        users: Iterable[Mapping[str, Any]] = (),
        trainings: Iterable[Training] = (),
        dialect: Dialect | None = None,
        now_ms: Callable[[], int] = system_now_ms,
    ) -> None:
        self.users = list(users)
        self.trainings = list(trainings)
        self.job_titles = list(JOB_TITLES)
        self.status_ends: dict[tuple[str, int], int] = {}
        self.dialect = dialect or Dialect()
        self.now_ms = now_ms
        self._order: Order = newest_entry_first
        self._all = SortedRecords(self._order)
        self._by_user: dict[str, SortedRecords] = {}
        self._by_training: dict[str | int, SortedRecords] = {}
        self._by_id: dict[int, Record] = {}
        self._last_id = 0
        self._listeners: list[Listener] = []

    @property
    def order(self) -> Order:
        """The function that returns a record's sort key. The record with the highest key is at the top of the list."""
        return self._order

    def on_change(self, listener: Listener) -> None:
        """From now on, call `listener` after each change of a record."""
        self._listeners.append(listener)

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._all)

    def records(self) -> Iterator[Record]:
        """Iterate over all records in the order of the list. The account must not change during the iteration."""
        return iter(self._all)

    def get(self, record_id: int) -> Record:
        """Return the record with a v2 id. Raises KeyError if no record has this id."""
        return self._by_id[record_id]

    def next_id(self) -> int:
        """Return a new v2 id, higher than all ids used before."""
        self._last_id += 1
        return self._last_id

    def add(self, *, user: str, training: IdPair, **fields: Any) -> Record:
        """Enter one completion and return its record.

        `fields` are fields of `Record`. By default, `id` is a new id, `created` is now, and `date_number` is today
        (UTC).
        """
        now = self.now_ms()
        defaults = {"created": now, "date_number": date_number(day_of(now))}
        if "id" not in fields:
            fields["id"] = self.next_id()
        record = Record(user=user, training=training, **{**defaults, **fields})
        self.add_many([record])
        return record

    def add_many(self, records: Iterable[Record]) -> None:
        """Enter records, in any order. Raises ValueError, and enters no record, if an id already exists."""
        batch = {}
        by_user = defaultdict(list)
        by_training = defaultdict(list)
        for record in records:
            if record.id in self._by_id or record.id in batch:
                raise ValueError(f"there is a record {record.id} already")
            batch[record.id] = record
            by_user[record.user].append(record)
            by_training[record.training].append(record)
        self._by_id |= batch
        self._last_id = max(self._last_id, max(batch, default=0))
        self._all.add_many([*batch.values()])
        for user, their_records in by_user.items():
            self._records_of_user(user).add_many(their_records)
        for training, their_records in by_training.items():
            self._records_of_training(training).add_many(their_records)
        for record in batch.values() if self._listeners else ():
            self._notify_listeners(None, record)

    def edit(self, record_id: int, **changes: Any) -> Record:
        """Change fields of a record (not its id), and return the changed record.

        Raises KeyError if no record has this id.
        """
        edited = replace(self._by_id[record_id], **changes, id=record_id)
        self.remove(record_id)
        self.add_many([edited])
        return edited

    def remove(self, record_id: int) -> Record:
        """Delete a record and return it. Raises KeyError if no record has this id."""
        record = self._by_id.pop(record_id)
        self._all.remove(record)
        self._records_of_user(record.user).remove(record)
        self._records_of_training(record.training).remove(record)
        self._notify_listeners(record, None)
        return record

    def reshuffle_ties(self, seed: int) -> None:
        """Put records with equal dates into another order. The documentation does not define their order."""
        self._order = shuffled_ties(seed)
        for records in {id(records): records for records in self._all_lists()}.values():
            records.reorder(self._order)

    def page(self, version: Version, *, limit: int = 100, page: int = 1, filters: Filters | None = None) -> AccountPage:
        """Return the matching records of page `page` (from 1) with `limit` records a page; none after the last page."""
        start = (page - 1) * limit
        if filters is None or filters == Filters():
            total = len(self._all)
            chosen = self._all.slice(start, start + limit)
        else:
            matching = [record for record in self._narrowest_list(filters) if filters.accept(record)]
            total = len(matching)
            chosen = matching[start : start + limit]
        rows = [format_record(record, version, self.dialect) for record in chosen]
        return AccountPage(rows, max(1, -(-total // limit)), total)

    def has_user(self, user: str) -> bool:
        """Return whether the account lists a person with this id, or has a record of this person."""
        return bool(self._by_user.get(user)) or any(known["id"] == user for known in self.users)

    def has_training(self, training: str | int) -> bool:
        """Return whether the account lists a training with this v1 or v2 id, or has a record of this training."""
        return bool(self._by_training.get(training)) or any(
            training in {known.ids.v1, known.ids.v2} for known in self.trainings
        )

    def _notify_listeners(self, before: Record | None, after: Record | None) -> None:
        for listener in self._listeners:
            listener(before, after)

    def _narrowest_list(self, filters: Filters) -> SortedRecords:
        nothing = SortedRecords(self._order)
        if filters.user is not None:
            return self._by_user.get(filters.user, nothing)
        if filters.training is not None:
            return self._by_training.get(filters.training, nothing)
        return self._all

    def _records_of_user(self, user: str) -> SortedRecords:
        return self._by_user.setdefault(user, SortedRecords(self._order))

    def _records_of_training(self, training: IdPair) -> SortedRecords:
        records = self._by_training.setdefault(training.v2, SortedRecords(self._order))
        return self._by_training.setdefault(training.v1, records)

    def _all_lists(self) -> Iterator[SortedRecords]:
        yield self._all
        yield from self._by_user.values()
        yield from self._by_training.values()
