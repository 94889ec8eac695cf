"""The kinds of faults: how each is written, what it does, and how it is made."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from notifier.sandbox.errors import ErrorIdentifier
from notifier.sandbox.faults import ApiRequest, Fault, ListFault, RecordSelection, Sending, SendingFault
from notifier.sandbox.notation import NotationError, parse_number, parse_offset, parse_seconds
from notifier.sandbox.records import Override, Record
from notifier.sandbox.sorted_records import shuffled_ties


class FaultKind(Struct, frozen=True):
    """A kind of fault: its name, the form of its value (empty: no value), a short description, and how to make it."""

    name: str
    value: str
    description: str
    make: Callable[[str], Fault]
    default: str = ""

    def parse(self, value: str) -> Fault:
        """Return the fault of this kind with a value. Raises NotationError if the value is missing or wrong."""
        if value and not self.value:
            raise NotationError(f"`{self.name}` takes no value")
        if not (value or self.default) and self.value:
            raise NotationError(f"`{self.name}` needs a value: {self.name}:{self.value}")
        return self.make(value or self.default)

    @property
    def notation(self) -> str:
        """The form in which users write the fault."""
        if not self.value:
            return self.name
        return f"{self.name}[:{self.value}]" if self.default else f"{self.name}:{self.value}"


def parse_selection(text: str) -> RecordSelection:
    """Parse a selection of records: `20` (that many), `50%`, or `#1500+#1501` (ids). Raises NotationError."""
    if text.startswith("#"):
        return RecordSelection(ids=frozenset(parse_number(part.removeprefix("#")) for part in text.split("+")))
    if text.endswith("%"):
        return RecordSelection(share=min(parse_number(text[:-1]), 100) / 100)
    return RecordSelection(count=parse_number(text))


def _parse_error(text: str) -> Fault:
    if text not in set(ErrorIdentifier):
        raise NotationError(
            f"`{text}` is not an error that the API returns; use one such as {ErrorIdentifier.SERVER_ERROR}"
        )
    return SendingFault(ErrorIdentifier(text))


def _always(fault: Fault) -> Callable[[str], Fault]:
    return lambda _value: fault


def _without(selection: RecordSelection, records: list[Record], _request: ApiRequest | None = None) -> list[Record]:
    left_out = selection.ids_in(records)
    return [record for record in records if record.id not in left_out]


def _with_invalid_date(selection: RecordSelection, records: list[Record], _request: ApiRequest) -> list[Record]:
    unreadable = selection.ids_in(records)
    date = {"date_number": "unknown", "dateNumber": "unknown"}
    return [_with_overrides(record, date) if record.id in unreadable else record for record in records]


def _with_overrides(record: Record, fields: Mapping[str, Any]) -> Record:
    return replace(record, overrides={**(record.overrides or {}), **fields})


def _without_files(records: list[Record]) -> list[Record]:
    return [_with_overrides(record, {"files": Override.ABSENT}) for record in records]


def _renumbered(by: int, records: list[Record]) -> list[Record]:
    return [replace(record, id=record.id + by) for record in records]


def _with_total(offset: int, paging: Mapping[str, int], total: int) -> Mapping[str, int]:
    return {**paging, "total": total + offset}


def _capped(most: int, request: ApiRequest) -> ApiRequest:
    return replace(request, limit=min(request.limit, most))


def _delayed(seconds: float, sending: Sending) -> Sending:
    return replace(sending, delay_seconds=sending.delay_seconds + seconds)


def _misdated(seconds: float, sending: Sending) -> Sending:
    return replace(sending, date_offset_seconds=sending.date_offset_seconds + seconds)


FAULT_KINDS: Mapping[str, FaultKind] = {
    kind.name: kind
    for kind in (
        FaultKind(
            "late",
            "DURATION",
            "answers are computed at once but arrive this much later",
            lambda it: SendingFault(change_sending=partial(_delayed, parse_seconds(it))),
        ),
        FaultKind(
            "hang",
            "",
            "requests are never answered",
            _always(SendingFault(change_sending=partial(_delayed, math.inf))),
        ),
        FaultKind(
            "stale",
            "DURATION",
            "answers show the account as it was this long ago",
            lambda it: ListFault(age_seconds=parse_seconds(it)),
        ),
        FaultKind(
            "hidden",
            "WHICH",
            "records are neither listed nor counted",
            lambda it: ListFault(change_list=partial(_without, parse_selection(it))),
        ),
        FaultKind(
            "halved",
            "",
            "only the newer half is listed and counted",
            _always(ListFault(change_list=lambda records, _: records[: len(records) // 2])),
        ),
        FaultKind(
            "empty", "", "nothing is listed or counted", _always(ListFault(change_list=lambda _records, _request: []))
        ),
        FaultKind(
            "unlisted",
            "WHICH",
            "records are counted, but on no page",
            lambda it: ListFault(unlisted=parse_selection(it)),
        ),
        FaultKind(
            "short",
            "WHICH",
            "records are missing from their page",
            lambda it: ListFault(change_page=partial(_without, parse_selection(it))),
        ),
        FaultKind(
            "miscounted",
            "N",
            "every count is wrong by N, for example -1",
            lambda it: ListFault(count_offset=parse_offset(it)),
        ),
        FaultKind(
            "total",
            "N",
            "`paging.total` is present, wrong by N",
            lambda it: ListFault(change_paging=partial(_with_total, parse_offset(it))),
            default="0",
        ),
        FaultKind(
            "no-last-page",
            "",
            "`paging.last_page` is missing",
            _always(
                ListFault(change_paging=lambda paging, _: {key: paging[key] for key in paging if key != "last_page"})
            ),
        ),
        FaultKind(
            "capped",
            "N",
            "a page has at most N records",
            lambda it: ListFault(change_request=partial(_capped, parse_number(it))),
        ),
        FaultKind(
            "same-page",
            "",
            "every request gets page 1",
            _always(ListFault(change_request=lambda request: replace(request, page=1))),
        ),
        FaultKind(
            "oldest-first",
            "",
            "the list is sorted oldest first",
            _always(ListFault(change_list=lambda records, _: records[::-1])),
        ),
        FaultKind(
            "shuffled-ties",
            "",
            "records of one date are in another order at each request",
            _always(
                ListFault(change_list=lambda records, it: sorted(records, key=shuffled_ties(it.number), reverse=True))
            ),
        ),
        FaultKind(
            "unreadable",
            "WHICH",
            "records have an invalid date",
            lambda it: ListFault(change_list=partial(_with_invalid_date, parse_selection(it))),
        ),
        FaultKind(
            "no-files",
            "",
            "the field `files` is missing",
            _always(ListFault(change_page=_without_files)),
        ),
        FaultKind(
            "capitals",
            "",
            "user ids are in capitals",
            _always(ListFault(change_page=lambda records: [replace(it, user=it.user.upper()) for it in records])),
        ),
        FaultKind(
            "renumbered",
            "N",
            "all ids are higher by N",
            lambda it: ListFault(change_page=partial(_renumbered, parse_number(it))),
            default="1000000",
        ),
        FaultKind(
            "wrong-date",
            "DURATION",
            "the header `Date` is wrong by this much, for example 1d",
            lambda it: SendingFault(change_sending=partial(_misdated, parse_seconds(it))),
        ),
        FaultKind("rate-limit", "", "`rate_limit_exceeded`", lambda _: _parse_error("rate_limit_exceeded")),
        FaultKind("error", "NAME", "an error of the API", _parse_error, default="server_error"),
        FaultKind(
            "status",
            "N",
            "an HTTP status without JSON",
            lambda it: SendingFault(change_sending=partial(replace, status=parse_number(it, least=400))),
            default="502",
        ),
        FaultKind(
            "cut-off",
            "",
            "only half of the body is sent",
            _always(SendingFault(change_sending=partial(replace, is_cut_off=True))),
        ),
    )
}
"""Every kind of fault by its name."""
