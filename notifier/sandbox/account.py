"""The simulated account: what a customer has recorded, listed as either version of the API lists it."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from notifier.sandbox.catalog import Training
from notifier.sandbox.records import Dialect, Record, Twin, Version, date_number, day_of, shown
from notifier.sandbox.shelf import Order, Shelf, newest_entry_first, shuffled_ties


@dataclass(frozen=True, slots=True)
class Filters:
    """Which records are asked for; None means whichever. `training` is a v1 or a v2 id."""

    training: str | int | None = None
    user: str | None = None
    has_attachments: bool | None = None

    def accept(self, record: Record) -> bool:
        """Tell whether the record is asked for."""
        return (
            (self.training is None or self.training in {record.training.v1, record.training.v2})
            and (self.user is None or self.user == record.user)
            and (self.has_attachments is None or self.has_attachments == bool(record.files))
        )


@dataclass(frozen=True, slots=True)
class Page:
    """One page: records as JSON values, the last valid page number (at least 1), how many records match in all."""

    records: list[dict[str, Any]]
    last_page: int
    total: int


def system_now_ms() -> int:
    """Return the machine's wall clock in Unix milliseconds."""
    return time.time_ns() // 1_000_000


class Account:
    """Everything one customer has recorded, for both versions of the API.

    Completions are listed by completion date, newest first (KPA Flex API documentation, completedtrainings.v2.list);
    among equal dates what was entered last comes first, until `reshuffle_ties`. `now_ms` is the account's clock, in
    Unix milliseconds: it dates new records and the API's answers. `dialect` may be replaced at any time.
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
        self.dialect = dialect or Dialect()
        self.now_ms = now_ms
        self._order: Order = newest_entry_first
        self._all = Shelf(self._order)
        self._by_user: dict[str, Shelf] = {}
        self._by_training: dict[str | int, Shelf] = {}
        self._by_id: dict[int, Record] = {}
        self._last_id = 0

    def __len__(self) -> int:
        """Count the records."""
        return len(self._all)

    def records(self) -> Iterator[Record]:
        """Iterate over all records in the order of the list; the account must not change meanwhile."""
        return iter(self._all)

    def get(self, record_id: int) -> Record:
        """Return the record with this v2 id; raises KeyError when there is none."""
        return self._by_id[record_id]

    def next_id(self) -> int:
        """Take the next number of the account's sequence, higher than that of every record so far."""
        self._last_id += 1
        return self._last_id

    def add(self, *, user: str, training: Twin, **fields: Any) -> Record:
        """Enter one completion and return it.

        `fields` are those of `Record`; without them `id` is the next one, `created` now, `date_number` today (UTC).
        """
        now = self.now_ms()
        defaults = {"created": now, "date_number": date_number(day_of(now))}
        if "id" not in fields:
            fields["id"] = self.next_id()
        record = Record(user=user, training=training, **{**defaults, **fields})
        self.add_many([record])
        return record

    def add_many(self, records: Iterable[Record]) -> None:
        """Enter records, in any order; raises ValueError, and enters none, when an id is taken."""
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
        for user, theirs in by_user.items():
            self._user_shelf(user).add_many(theirs)
        for training, those in by_training.items():
            self._training_shelf(training).add_many(those)

    def edit(self, record_id: int, **changes: Any) -> Record:
        """Change fields of a record (not its id) and return it as it is now; raises KeyError when there is none."""
        edited = replace(self._by_id[record_id], **changes, id=record_id)
        self.remove(record_id)
        self.add_many([edited])
        return edited

    def remove(self, record_id: int) -> Record:
        """Delete a record and return what it was; raises KeyError when there is none."""
        record = self._by_id.pop(record_id)
        self._all.remove(record)
        self._user_shelf(record.user).remove(record)
        self._training_shelf(record.training).remove(record)
        return record

    def reshuffle_ties(self, seed: int) -> None:
        """List the records of equal dates in another order, which the documentation leaves open."""
        self._order = shuffled_ties(seed)
        for shelf in {id(shelf): shelf for shelf in self._shelves()}.values():
            shelf.reorder(self._order)

    def page(self, version: Version, *, limit: int = 100, page: int = 1, filters: Filters | None = None) -> Page:
        """Return page `page` (from 1) of at most `limit` matching records; beyond the last one there is nothing."""
        start = (page - 1) * limit
        if filters is None or filters == Filters():
            total = len(self._all)
            chosen = self._all.slice(start, start + limit)
        else:
            matching = [record for record in self._narrowest_shelf(filters) if filters.accept(record)]
            total = len(matching)
            chosen = matching[start : start + limit]
        rows = [shown(record, version, self.dialect) for record in chosen]
        return Page(rows, max(1, -(-total // limit)), total)

    def knows_user(self, user: str) -> bool:
        """Tell whether there is such a person, or any record of one."""
        return bool(self._by_user.get(user)) or any(known["id"] == user for known in self.users)

    def knows_training(self, training: str | int) -> bool:
        """Tell whether there is a training of this v1 or v2 id, or any record of one."""
        return bool(self._by_training.get(training)) or any(
            training in {known.ids.v1, known.ids.v2} for known in self.trainings
        )

    def _narrowest_shelf(self, filters: Filters) -> Shelf:
        nothing = Shelf(self._order)
        if filters.user is not None:
            return self._by_user.get(filters.user, nothing)
        if filters.training is not None:
            return self._by_training.get(filters.training, nothing)
        return self._all

    def _user_shelf(self, user: str) -> Shelf:
        return self._by_user.setdefault(user, Shelf(self._order))

    def _training_shelf(self, training: Twin) -> Shelf:
        shelf = self._by_training.setdefault(training.v2, Shelf(self._order))
        return self._by_training.setdefault(training.v1, shelf)

    def _shelves(self) -> Iterator[Shelf]:
        yield self._all
        yield from self._by_user.values()
        yield from self._by_training.values()
