"""What a request wants of the feed, read from its query and headers; whatever is wrong with it is a sentence. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from multidict import MultiMapping

from notifier.completions import EventType
from notifier.ledger.feed import EventFilter
from notifier.web.asked import WrongRequestError, event_number, page_limit

LAST_EVENT_ID: Final = "Last-Event-ID"
"""The header by which a browser says, when it comes back to a stream, which event it had last."""

_NAME: Final = re.compile(r"[a-z0-9-]+")


@dataclass(frozen=True, slots=True)
class PageWish:
    """A wish for up to `limit` of some events behind number `after`."""

    after: int
    chosen: EventFilter
    limit: int


@dataclass(frozen=True, slots=True)
class StreamWish:
    """A wish for some events behind number `after`, and all that follow; None: only what comes from now on."""

    after: int | None
    chosen: EventFilter


def page_wish(query: MultiMapping[str]) -> PageWish:
    """Read `after`, `limit`, `source` and `type`, all optional. Raises WrongRequestError."""
    return PageWish(event_number("after", query.get("after") or "0"), _filter(query), page_limit(query))


def stream_wish(query: MultiMapping[str], headers: Mapping[str, str]) -> StreamWish:
    """Read `after`, `source` and `type`; where a reader comes back, its `Last-Event-ID` counts and not `after`.

    Raises WrongRequestError.
    """
    if last := headers.get(LAST_EVENT_ID):
        return StreamWish(event_number(LAST_EVENT_ID, last), _filter(query))
    after = query.get("after")
    return StreamWish(event_number("after", after) if after else None, _filter(query))


def _filter(query: MultiMapping[str]) -> EventFilter:
    sources, types = _listed(query, "source"), _listed(query, "type")
    if not all(_NAME.fullmatch(name) for name in sources):
        raise WrongRequestError("`source` must be names of sources: lower-case letters, digits, hyphens")
    if not types <= set(EventType):
        raise WrongRequestError(f"`type` must be among {', '.join(EventType)}")
    return EventFilter(sources, types)


def _listed(query: MultiMapping[str], name: str) -> frozenset[str]:
    """Read a key that may stand there several times, each time with one value or several between commas."""
    return frozenset(value for values in query.getall(name, []) for value in values.split(",") if value)
