"""The kinds of faults: how each is written, what it does, and how it is made."""

import math
from collections.abc import Callable, Mapping

from msgspec import Struct

from notifier.sandbox.errors import ErrorIdentifier
from notifier.sandbox.faults import (
    Capitals,
    Capped,
    CutOff,
    Empty,
    Fault,
    Halved,
    Hidden,
    Late,
    Miscounted,
    NoFiles,
    NoLastPage,
    OldestFirst,
    RecordSelection,
    Refused,
    Renumbered,
    SamePage,
    Short,
    ShuffledTies,
    Stale,
    Status,
    Total,
    Unlisted,
    Unreadable,
    WrongDate,
)
from notifier.sandbox.notation import NotationError, parse_number, parse_offset, parse_seconds


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
    return Refused(ErrorIdentifier(text))


FAULT_KINDS: Mapping[str, FaultKind] = {
    kind.name: kind
    for kind in (
        FaultKind(
            "late",
            "DURATION",
            "answers are computed at once but arrive this much later",
            lambda it: Late(parse_seconds(it)),
        ),
        FaultKind("hang", "", "requests are never answered", lambda _: Late(math.inf)),
        FaultKind(
            "stale",
            "DURATION",
            "answers show the account as it was this long ago",
            lambda it: Stale(parse_seconds(it)),
        ),
        FaultKind("hidden", "WHICH", "records are neither listed nor counted", lambda it: Hidden(parse_selection(it))),
        FaultKind("halved", "", "only the newer half is listed and counted", lambda _: Halved()),
        FaultKind("empty", "", "nothing is listed or counted", lambda _: Empty()),
        FaultKind("unlisted", "WHICH", "records are counted, but on no page", lambda it: Unlisted(parse_selection(it))),
        FaultKind("short", "WHICH", "records are missing from their page", lambda it: Short(parse_selection(it))),
        FaultKind(
            "miscounted", "N", "every count is wrong by N, for example -1", lambda it: Miscounted(parse_offset(it))
        ),
        FaultKind(
            "total", "N", "`paging.total` is present, wrong by N", lambda it: Total(parse_offset(it)), default="0"
        ),
        FaultKind("no-last-page", "", "`paging.last_page` is missing", lambda _: NoLastPage()),
        FaultKind("capped", "N", "a page has at most N records", lambda it: Capped(parse_number(it))),
        FaultKind("same-page", "", "every request gets page 1", lambda _: SamePage()),
        FaultKind("oldest-first", "", "the list is sorted oldest first", lambda _: OldestFirst()),
        FaultKind(
            "shuffled-ties", "", "records of one date are in another order at each request", lambda _: ShuffledTies()
        ),
        FaultKind("unreadable", "WHICH", "records have an invalid date", lambda it: Unreadable(parse_selection(it))),
        FaultKind("no-files", "", "the field `files` is missing", lambda _: NoFiles()),
        FaultKind("capitals", "", "user ids are in capitals", lambda _: Capitals()),
        FaultKind(
            "renumbered", "N", "all ids are higher by N", lambda it: Renumbered(parse_number(it)), default="1000000"
        ),
        FaultKind(
            "wrong-date",
            "DURATION",
            "the header `Date` is wrong by this much, for example 1d",
            lambda it: WrongDate(parse_seconds(it)),
        ),
        FaultKind("rate-limit", "", "`rate_limit_exceeded`", lambda _: _parse_error("rate_limit_exceeded")),
        FaultKind("error", "NAME", "an error of the API", _parse_error, default="server_error"),
        FaultKind(
            "status", "N", "an HTTP status without JSON", lambda it: Status(parse_number(it, least=400)), default="502"
        ),
        FaultKind("cut-off", "", "only half of the body is sent", lambda _: CutOff()),
    )
}
"""Every kind of fault by its name."""
