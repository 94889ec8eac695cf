"""What a fault of the simulated API can change: the steps of making a list, and how an answer is sent."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from heapq import nsmallest

from msgspec import Struct, field

from notifier.sandbox.account import Filters
from notifier.sandbox.errors import ErrorIdentifier, SandboxError
from notifier.sandbox.records import Record
from notifier.sandbox.sorted_records import scramble


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
        """`PRECISE` if there is a filter by person or training, `COUNT` for a page of one record, otherwise `LIST`."""
        if self.filters.user is not None or self.filters.training is not None:
            return RequestPurpose.PRECISE
        return RequestPurpose.COUNT if self.limit == 1 else RequestPurpose.LIST


class Sending(Struct, frozen=True):
    """How an answer is sent: its delay, the offset of its `Date` header, its status, and whether its body is cut."""

    delay_seconds: float = 0.0
    date_offset_seconds: float = 0.0
    status: int = 200
    is_cut_off: bool = False


class RecordSelection(Struct, frozen=True):
    """A selection of records: those with the given `ids` or, without `ids`, a `count` or a `share` of all records.

    `count` and `share` select from all parts of the list. When a record is added or deleted, the choice among the other
    records hardly changes.
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


class ListFault(Struct, frozen=True):
    """A fault in a list. Each field is one step of making a page; the defaults change nothing."""

    age_seconds: float = 0.0
    """The age of the state that the answer shows."""
    change_list: Callable[[list[Record], ApiRequest], list[Record]] = lambda records, _request: records
    """A function that returns the whole list in order, with changes. The records are counted after this step."""
    unlisted: RecordSelection | None = None
    """The records that are counted but appear on no page."""
    count_offset: int = 0
    """A number that is added to the count."""
    change_request: Callable[[ApiRequest], ApiRequest] = lambda request: request
    """A function that returns the request to answer in place of the real one, for example with another page."""
    change_page: Callable[[list[Record]], list[Record]] = lambda records: records
    """A function that returns the records as a page shows them."""
    change_paging: Callable[[Mapping[str, int], int], Mapping[str, int]] = lambda paging, _total: paging
    """A function that gets the answer's field `paging` and the number of matching records, and returns the changed
    field.
    """

    def unlisted_ids(self, records: Sequence[Record]) -> frozenset[int]:
        """Return the ids of records that are counted but appear on no page."""
        return frozenset() if self.unlisted is None else self.unlisted.ids_in(records)


class SendingFault(Struct, frozen=True):
    """A fault in sending any answer. With `refusal`, the API sends this error instead of the answer."""

    refusal: ErrorIdentifier | None = None
    change_sending: Callable[[Sending], Sending] = lambda sending: sending

    def raise_refusal(self) -> None:
        """Raise SandboxError if the API refuses to answer."""
        if self.refusal is not None:
            raise SandboxError(self.refusal)


Fault = ListFault | SendingFault
