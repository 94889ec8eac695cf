"""Faults in the answers of the simulated API. Each fault changes one or more stages of making an answer."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from heapq import nsmallest
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from notifier.sandbox.account import Filters
from notifier.sandbox.errors import ErrorIdentifier, SandboxError
from notifier.sandbox.records import Override, Record
from notifier.sandbox.sorted_records import scrambled, shuffled_ties


class QuestionKind(StrEnum):
    """The purpose of a request for completions."""

    LIST = "list"
    COUNT = "count"
    PRECISE = "precise"


class RequestKind(Struct, frozen=True):
    """One request. `page`, `limit` and `filters` matter only for completions; `number` is the request's number."""

    method: str
    page: int = 1
    limit: int = 100
    filters: Filters = field(default_factory=Filters)
    number: int = 0

    @property
    def kind(self) -> QuestionKind:
        """`PRECISE` with a filter by person or training, `COUNT` for a page of one record, otherwise `LIST`."""
        if self.filters.user is not None or self.filters.training is not None:
            return QuestionKind.PRECISE
        return QuestionKind.COUNT if self.limit == 1 else QuestionKind.LIST


class Sending(Struct, frozen=True):
    """How an answer is sent: its delay and the offset of `Date` (seconds), its status, and whether it is cut off."""

    delay: float = 0.0
    date_off: float = 0.0
    status: int = 200
    cut_off: bool = False


class Chosen(Struct, frozen=True):
    """A choice of records: those with these `ids`; without ids, a `count` or a `share` of all, spread over the list.

    The choice is stable: adding or removing records hardly changes which of the others are chosen.
    """

    ids: frozenset[int] = frozenset()
    count: int = 0
    share: float = 0.0

    def among(self, records: Sequence[Record]) -> frozenset[int]:
        """Return the ids of the chosen records."""
        if self.ids:
            return self.ids
        count = self.count or round(self.share * len(records))
        return frozenset(nsmallest(count, (record.id for record in records), key=scrambled))


class Fault:
    """A fault, either in the list or in sending the answer."""


class ListFault(Fault):
    """A fault in the list. Each method is one stage, which changes nothing unless a subclass overrides it."""

    def seconds_ago(self) -> float:
        """Return the age in seconds of the state that the answer is computed from."""
        return 0.0

    def arrange(self, records: list[Record], question: RequestKind) -> list[Record]:
        """Return all records of the list in order; they are counted after this stage."""
        del question
        return records

    def unlisted(self, records: Sequence[Record]) -> frozenset[int]:
        """Return the ids of records that are counted but appear on no page."""
        del records
        return frozenset()

    def miscounted(self) -> int:
        """Return the number by which the count is wrong."""
        return 0

    def place(self, question: RequestKind) -> RequestKind:
        """Return the request with the page and limit that are really used."""
        return question

    def show(self, records: list[Record]) -> list[Record]:
        """Return the records that the page shows."""
        return records

    def paging(self, paging: Mapping[str, int], total: int) -> Mapping[str, int]:
        """Return the page information in the answer; `total` is the number of matching records."""
        del total
        return paging


class SendingFault(Fault):
    """A fault in sending an answer, independent of its content."""

    def refuse(self) -> None:
        """Raise SandboxError if this fault makes the API refuse to answer."""

    def send(self, sending: Sending) -> Sending:
        """Return how the answer is sent."""
        return sending


class Late(Struct, SendingFault, frozen=True):
    """Answers are computed at once, but sent after `seconds`; if that is infinite, they are never sent."""

    seconds: float

    def send(self, sending: Sending) -> Sending:
        """Add the delay."""
        return replace(sending, delay=sending.delay + self.seconds)


class Stale(Struct, ListFault, frozen=True):
    """Answers show the state of `seconds` ago, like those of a lagging replica."""

    seconds: float

    def seconds_ago(self) -> float:
        """Return the age of the state."""
        return self.seconds


class Hidden(Struct, ListFault, frozen=True):
    """Chosen records are neither listed nor counted."""

    chosen: Chosen

    def arrange(self, records: list[Record], question: RequestKind) -> list[Record]:
        """Leave the chosen records out."""
        del question
        hidden = self.chosen.among(records)
        return [record for record in records if record.id not in hidden]


class Halved(Struct, ListFault, frozen=True):
    """The list ends in the middle, and only the records before the middle are counted."""

    def arrange(self, records: list[Record], question: RequestKind) -> list[Record]:
        """Keep the newer half."""
        del question
        return records[: len(records) // 2]


class Empty(Struct, ListFault, frozen=True):
    """The list and the count are empty."""

    def arrange(self, records: list[Record], question: RequestKind) -> list[Record]:
        """Return no records."""
        del records, question
        return []


class Unlisted(Struct, ListFault, frozen=True):
    """Chosen records are counted but appear on no page; the records after them move up."""

    chosen: Chosen

    def unlisted(self, records: Sequence[Record]) -> frozenset[int]:
        """Return the ids of the chosen records."""
        return self.chosen.among(records)


class Short(Struct, ListFault, frozen=True):
    """Chosen records are missing from their pages; the others stay on their usual pages."""

    chosen: Chosen

    def show(self, records: list[Record]) -> list[Record]:
        """Leave the chosen records out."""
        lacking = self.chosen.among(records)
        return [record for record in records if record.id not in lacking]


class Miscounted(Struct, ListFault, frozen=True):
    """Every count of records in an answer is wrong by `off`."""

    off: int

    def miscounted(self) -> int:
        """Return the offset."""
        return self.off


class Total(Struct, ListFault, frozen=True):
    """`paging.total` is present but wrong by `off`; `last_page` is right."""

    off: int = 0

    def paging(self, paging: Mapping[str, int], total: int) -> Mapping[str, int]:
        """Add the wrong total."""
        return {**paging, "total": total + self.off}


class NoLastPage(Struct, ListFault, frozen=True):
    """`paging.last_page` is missing."""

    def paging(self, paging: Mapping[str, int], total: int) -> Mapping[str, int]:
        """Leave `last_page` out."""
        del total
        return {name: number for name, number in paging.items() if name != "last_page"}


class Capped(Struct, ListFault, frozen=True):
    """A page has at most `most` records, even if `limit` is higher."""

    most: int

    def place(self, question: RequestKind) -> RequestKind:
        """Cap the limit."""
        return replace(question, limit=min(question.limit, self.most))


class SamePage(Struct, ListFault, frozen=True):
    """Every answer is page 1, whichever page is requested."""

    def place(self, question: RequestKind) -> RequestKind:
        """Ignore the page."""
        return replace(question, page=1)


class OldestFirst(Struct, ListFault, frozen=True):
    """The list is sorted in reverse order."""

    def arrange(self, records: list[Record], question: RequestKind) -> list[Record]:
        """Reverse the list."""
        del question
        return records[::-1]


class ShuffledTies(Struct, ListFault, frozen=True):
    """Records of the same date are in another order at each request."""

    def arrange(self, records: list[Record], question: RequestKind) -> list[Record]:
        """Shuffle records of the same date, differently for each request."""
        return sorted(records, key=shuffled_ties(question.number), reverse=True)


class Unreadable(Struct, ListFault, frozen=True):
    """The date of the chosen records is malformed."""

    chosen: Chosen

    def arrange(self, records: list[Record], question: RequestKind) -> list[Record]:
        """Replace the date of the chosen records, under both versions' field names."""
        del question
        spoilt = self.chosen.among(records)
        date = {"date_number": "unknown", "dateNumber": "unknown"}
        return [_with_overrides(record, date) if record.id in spoilt else record for record in records]


class NoFiles(Struct, ListFault, frozen=True):
    """The field `files` is left out of every record."""

    def show(self, records: list[Record]) -> list[Record]:
        """Leave `files` out."""
        return [_with_overrides(record, {"files": Override.ABSENT}) for record in records]


class Capitals(Struct, ListFault, frozen=True):
    """People's ids are written in capital letters."""

    def show(self, records: list[Record]) -> list[Record]:
        """Write the ids in capital letters."""
        return [replace(record, user=record.user.upper()) for record in records]


class Renumbered(Struct, ListFault, frozen=True):
    """The ids of all records are increased by `by`."""

    by: int

    def show(self, records: list[Record]) -> list[Record]:
        """Increase the ids."""
        return [replace(record, id=record.id + self.by) for record in records]


class WrongDate(Struct, SendingFault, frozen=True):
    """The `Date` header is wrong by `seconds`."""

    seconds: float

    def send(self, sending: Sending) -> Sending:
        """Add the offset of `Date`."""
        return replace(sending, date_off=sending.date_off + self.seconds)


class Refused(Struct, SendingFault, frozen=True):
    """The API answers with one of its own errors."""

    identifier: ErrorIdentifier

    def refuse(self) -> None:
        """Raise the error."""
        raise SandboxError(self.identifier)


class Status(Struct, SendingFault, frozen=True):
    """A proxy between the client and the API answers with this HTTP status and no JSON."""

    status: int

    def send(self, sending: Sending) -> Sending:
        """Set the status."""
        return replace(sending, status=self.status)


class CutOff(Struct, SendingFault, frozen=True):
    """Only the first half of the body arrives."""

    def send(self, sending: Sending) -> Sending:
        """Cut the body off."""
        return replace(sending, cut_off=True)


def _with_overrides(record: Record, fields: Mapping[str, Any]) -> Record:
    return replace(record, overrides={**(record.overrides or {}), **fields})
