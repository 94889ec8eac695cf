"""The faults of the simulated API. Each fault changes one or more steps of making or sending an answer."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from heapq import nsmallest
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from notifier.sandbox.account import Filters
from notifier.sandbox.errors import ErrorIdentifier, SandboxError
from notifier.sandbox.records import Override, Record
from notifier.sandbox.sorted_records import scramble, shuffled_ties


class RequestPurpose(StrEnum):
    """The purpose of a request for completions."""

    LIST = "list"
    COUNT = "count"
    PRECISE = "precise"


class ApiRequest(Struct, frozen=True):
    """One request to the API. `page`, `limit` and `filters` are used for lists; `number` is its serial number."""

    method: str
    page: int = 1
    limit: int = 100
    filters: Filters = field(default_factory=Filters)
    number: int = 0

    @property
    def purpose(self) -> RequestPurpose:
        """The purpose: `PRECISE` with a filter by person or training, `COUNT` for a page of one record, else `LIST`."""
        if self.filters.user is not None or self.filters.training is not None:
            return RequestPurpose.PRECISE
        return RequestPurpose.COUNT if self.limit == 1 else RequestPurpose.LIST


class Sending(Struct, frozen=True):
    """How an answer is sent: its delay, the error of its `Date` header, its status, and whether the body is cut off."""

    delay_seconds: float = 0.0
    date_offset_seconds: float = 0.0
    status: int = 200
    is_cut_off: bool = False


class RecordSelection(Struct, frozen=True):
    """A selection of records: those with the given `ids` or, without `ids`, a `count` or a `share` of all records.

    `count` and `share` select records from all parts of the list. If records are added to the list or removed from it,
    hardly any of the remaining records enters or leaves the selection.
    """

    ids: frozenset[int] = frozenset()
    count: int = 0
    share: float = 0.0

    def ids_in(self, records: Sequence[Record]) -> frozenset[int]:
        """Return the ids of the selected records in a list."""
        if self.ids:
            return self.ids
        count = self.count or round(self.share * len(records))
        return frozenset(nsmallest(count, (record.id for record in records), key=scramble))


class Fault:
    """The base class of all faults."""


class ListFault(Fault):
    """A fault in a list. Each method is one step of making a page. The defaults change nothing."""

    def age_seconds(self) -> float:
        """Return the age in seconds of the state that the answer shows."""
        return 0.0

    def change_list(self, records: list[Record], request: ApiRequest) -> list[Record]:
        """Return the changed records of the whole list, in order. The records are counted after this step."""
        del request
        return records

    def unlisted_ids(self, records: Sequence[Record]) -> frozenset[int]:
        """Return the ids of records that are counted but appear on no page."""
        del records
        return frozenset()

    def count_offset(self) -> int:
        """Return the number that is added to the count."""
        return 0

    def change_request(self, request: ApiRequest) -> ApiRequest:
        """Return the request that the API answers in place of `request`, for example with another page."""
        return request

    def change_page(self, records: list[Record]) -> list[Record]:
        """Return the records as a page shows them."""
        return records

    def change_paging(self, paging: Mapping[str, int], total: int) -> Mapping[str, int]:
        """Return the field `paging` of the answer; `total` is the number of matching records."""
        del total
        return paging


class SendingFault(Fault):
    """A fault in sending an answer, whatever the answer contains."""

    def raise_refusal(self) -> None:
        """Raise SandboxError if this fault makes the API refuse to answer."""

    def change_sending(self, sending: Sending) -> Sending:
        """Return how the answer is sent."""
        return sending


class Late(Struct, SendingFault, frozen=True):
    """Answers are computed at once, but sent after `seconds`; with infinity, answers are never sent."""

    seconds: float

    def change_sending(self, sending: Sending) -> Sending:
        """Add the delay."""
        return replace(sending, delay_seconds=sending.delay_seconds + self.seconds)


class Stale(Struct, ListFault, frozen=True):
    """Answers show the account as it was `seconds` ago, like answers from a lagging replica."""

    seconds: float

    def age_seconds(self) -> float:
        """Return `seconds`."""
        return self.seconds


class Hidden(Struct, ListFault, frozen=True):
    """The selected records are neither listed nor counted."""

    selection: RecordSelection

    def change_list(self, records: list[Record], request: ApiRequest) -> list[Record]:
        """Leave the selected records out."""
        del request
        hidden = self.selection.ids_in(records)
        return [record for record in records if record.id not in hidden]


class Halved(Struct, ListFault, frozen=True):
    """The older half of the list is neither listed nor counted."""

    def change_list(self, records: list[Record], request: ApiRequest) -> list[Record]:
        """Keep the newer half."""
        del request
        return records[: len(records) // 2]


class Empty(Struct, ListFault, frozen=True):
    """The list and the count are empty."""

    def change_list(self, records: list[Record], request: ApiRequest) -> list[Record]:
        """Return no records."""
        del records, request
        return []


class Unlisted(Struct, ListFault, frozen=True):
    """The selected records are counted but appear on no page; the records after them move up."""

    selection: RecordSelection

    def unlisted_ids(self, records: Sequence[Record]) -> frozenset[int]:
        """Return the ids of the selected records."""
        return self.selection.ids_in(records)


class Short(Struct, ListFault, frozen=True):
    """The selected records are missing from their pages; all other records stay on their pages."""

    selection: RecordSelection

    def change_page(self, records: list[Record]) -> list[Record]:
        """Leave the selected records out."""
        missing = self.selection.ids_in(records)
        return [record for record in records if record.id not in missing]


class Miscounted(Struct, ListFault, frozen=True):
    """Every count of records in an answer is wrong by `offset`."""

    offset: int

    def count_offset(self) -> int:
        """Return `offset`."""
        return self.offset


class Total(Struct, ListFault, frozen=True):
    """`paging.total` is present and wrong by `offset`; `last_page` is right."""

    offset: int = 0

    def change_paging(self, paging: Mapping[str, int], total: int) -> Mapping[str, int]:
        """Add the wrong total."""
        return {**paging, "total": total + self.offset}


class NoLastPage(Struct, ListFault, frozen=True):
    """`paging.last_page` is missing."""

    def change_paging(self, paging: Mapping[str, int], total: int) -> Mapping[str, int]:
        """Leave `last_page` out."""
        del total
        return {name: number for name, number in paging.items() if name != "last_page"}


class Capped(Struct, ListFault, frozen=True):
    """A page has at most `max_records`, even if the request's `limit` is higher."""

    max_records: int

    def change_request(self, request: ApiRequest) -> ApiRequest:
        """Cap the limit."""
        return replace(request, limit=min(request.limit, self.max_records))


class SamePage(Struct, ListFault, frozen=True):
    """Every request for a page is answered with page 1."""

    def change_request(self, request: ApiRequest) -> ApiRequest:
        """Request page 1 instead."""
        return replace(request, page=1)


class OldestFirst(Struct, ListFault, frozen=True):
    """The list is sorted oldest first."""

    def change_list(self, records: list[Record], request: ApiRequest) -> list[Record]:
        """Reverse the list."""
        del request
        return records[::-1]


class ShuffledTies(Struct, ListFault, frozen=True):
    """Records with the same date are in a different order at each request."""

    def change_list(self, records: list[Record], request: ApiRequest) -> list[Record]:
        """Shuffle records with the same date, differently for each request."""
        return sorted(records, key=shuffled_ties(request.number), reverse=True)


class Unreadable(Struct, ListFault, frozen=True):
    """The selected records have an invalid date."""

    selection: RecordSelection

    def change_list(self, records: list[Record], request: ApiRequest) -> list[Record]:
        """Replace the date of the selected records by an invalid text, in the fields of both API versions."""
        del request
        unreadable = self.selection.ids_in(records)
        date = {"date_number": "unknown", "dateNumber": "unknown"}
        return [_with_overrides(record, date) if record.id in unreadable else record for record in records]


class NoFiles(Struct, ListFault, frozen=True):
    """The field `files` is left out of every record."""

    def change_page(self, records: list[Record]) -> list[Record]:
        """Leave `files` out."""
        return [_with_overrides(record, {"files": Override.ABSENT}) for record in records]


class Capitals(Struct, ListFault, frozen=True):
    """People's ids are written in capital letters."""

    def change_page(self, records: list[Record]) -> list[Record]:
        """Write the ids in capital letters."""
        return [replace(record, user=record.user.upper()) for record in records]


class Renumbered(Struct, ListFault, frozen=True):
    """The ids of all records are increased by `by`."""

    by: int

    def change_page(self, records: list[Record]) -> list[Record]:
        """Increase the ids."""
        return [replace(record, id=record.id + self.by) for record in records]


class WrongDate(Struct, SendingFault, frozen=True):
    """The `Date` header is wrong by `seconds`."""

    seconds: float

    def change_sending(self, sending: Sending) -> Sending:
        """Add the error of the `Date` header."""
        return replace(sending, date_offset_seconds=sending.date_offset_seconds + self.seconds)


class Refused(Struct, SendingFault, frozen=True):
    """The API answers with one of its documented errors."""

    identifier: ErrorIdentifier

    def raise_refusal(self) -> None:
        """Raise the error."""
        raise SandboxError(self.identifier)


class Status(Struct, SendingFault, frozen=True):
    """A proxy between the client and the API answers with this HTTP status and no JSON."""

    status: int

    def change_sending(self, sending: Sending) -> Sending:
        """Set the status."""
        return replace(sending, status=self.status)


class CutOff(Struct, SendingFault, frozen=True):
    """Only the first half of the body arrives."""

    def change_sending(self, sending: Sending) -> Sending:
        """Cut the body off."""
        return replace(sending, is_cut_off=True)


def _with_overrides(record: Record, fields: Mapping[str, Any]) -> Record:
    return replace(record, overrides={**(record.overrides or {}), **fields})
