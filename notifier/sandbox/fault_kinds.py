"""The kinds of faults by name, with their notation and their effect."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from notifier.sandbox.errors import ErrorIdentifier
from notifier.sandbox.faults import (
    Capitals,
    Capped,
    Chosen,
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
from notifier.sandbox.notation import NotationError, read_number, read_offset, read_seconds


@dataclass(frozen=True, slots=True)
class FaultKind:
    """A kind of fault: its name, the form of its value (empty: it has none), and a one-line description."""

    name: str
    value: str
    about: str
    make: Callable[[str], Fault]
    default: str = ""

    def read(self, value: str) -> Fault:
        """Return the fault with this value. Raises NotationError."""
        if value and not self.value:
            raise NotationError(f"`{self.name}` takes no value")
        if not (value or self.default) and self.value:
            raise NotationError(f"`{self.name}` needs a value: {self.name}:{self.value}")
        return self.make(value or self.default)

    @property
    def notation(self) -> str:
        """The notation of the fault."""
        if not self.value:
            return self.name
        return f"{self.name}[:{self.value}]" if self.default else f"{self.name}:{self.value}"


def read_chosen(text: str) -> Chosen:
    """Parse a choice of records: `20`, `50%`, `#1500` or `#1500+#1501` (ids). Raises NotationError."""
    if text.startswith("#"):
        return Chosen(ids=frozenset(read_number(part.removeprefix("#")) for part in text.split("+")))
    if text.endswith("%"):
        return Chosen(share=min(read_number(text[:-1]), 100) / 100)
    return Chosen(count=read_number(text))


def _read_error(text: str) -> Fault:
    if text not in set(ErrorIdentifier):
        raise NotationError(f"`{text}` is no error of the API, such as {ErrorIdentifier.SERVER_ERROR}")
    return Refused(ErrorIdentifier(text))


FAULT_KINDS: Mapping[str, FaultKind] = {
    kind.name: kind
    for kind in (
        FaultKind("late", "DURATION", "computed at once, so long on its way", lambda it: Late(read_seconds(it))),
        FaultKind("hang", "", "never answered", lambda _: Late(math.inf)),
        FaultKind("stale", "DURATION", "as of so long ago", lambda it: Stale(read_seconds(it))),
        FaultKind("hidden", "WHICH", "records neither listed nor counted", lambda it: Hidden(read_chosen(it))),
        FaultKind("halved", "", "only the newer half is listed and counted", lambda _: Halved()),
        FaultKind("empty", "", "nothing is listed or counted", lambda _: Empty()),
        FaultKind("unlisted", "WHICH", "records counted, but on no page", lambda it: Unlisted(read_chosen(it))),
        FaultKind("short", "WHICH", "records left out of their page", lambda it: Short(read_chosen(it))),
        FaultKind("miscounted", "N", "every count off by N, as -1", lambda it: Miscounted(read_offset(it))),
        FaultKind("total", "N", "`paging.total` told, off by N", lambda it: Total(read_offset(it)), default="0"),
        FaultKind("no-last-page", "", "`paging.last_page` missing", lambda _: NoLastPage()),
        FaultKind("capped", "N", "at most N records a page", lambda it: Capped(read_number(it))),
        FaultKind("same-page", "", "page 1 whatever page is asked for", lambda _: SamePage()),
        FaultKind("oldest-first", "", "sorted the other way round", lambda _: OldestFirst()),
        FaultKind("shuffled-ties", "", "one date in another order at each request", lambda _: ShuffledTies()),
        FaultKind("unreadable", "WHICH", "records with a date that is none", lambda it: Unreadable(read_chosen(it))),
        FaultKind("no-files", "", "the field `files` left out", lambda _: NoFiles()),
        FaultKind("capitals", "", "user ids in capitals", lambda _: Capitals()),
        FaultKind("renumbered", "N", "all ids higher by N", lambda it: Renumbered(read_number(it)), default="1000000"),
        FaultKind("wrong-date", "DURATION", "`Date` off by so much, as 1d", lambda it: WrongDate(read_seconds(it))),
        FaultKind("rate-limit", "", "`rate_limit_exceeded`", lambda _: _read_error("rate_limit_exceeded")),
        FaultKind("error", "NAME", "an error of the API", _read_error, default="server_error"),
        FaultKind(
            "status", "N", "an HTTP status without JSON", lambda it: Status(read_number(it, least=400)), default="502"
        ),
        FaultKind("cut-off", "", "half of the body", lambda _: CutOff()),
    )
}
"""Every kind of fault by its name."""
