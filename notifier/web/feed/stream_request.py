"""Parses requests to the feed from query and headers; errors are described in a sentence. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from multidict import MultiMapping

from notifier.events import EventType
from notifier.store.queries.feed import EventFilter
from notifier.web.requests import WrongRequestError, event_number, page_limit

LAST_EVENT_ID: Final = "Last-Event-ID"
"""The header with which a reconnecting browser names the last event that it received."""

_NAME: Final = re.compile(r"[a-z0-9-]+")


@dataclass(frozen=True, slots=True)
class PageWish:
    """A request for up to `limit` events after number `after` that the filter `chosen` admits."""

    after: int
    chosen: EventFilter
    limit: int


@dataclass(frozen=True, slots=True)
class StreamWish:
    """A request to follow the events that `chosen` admits, after number `after` (None: only new events)."""

    after: int | None
    chosen: EventFilter


def page_wish(query: MultiMapping[str]) -> PageWish:
    """Parse `after`, `limit`, `source` and `type`, all optional. Raises WrongRequestError."""
    return PageWish(event_number("after", query.get("after") or "0"), _filter(query), page_limit(query))


def stream_wish(query: MultiMapping[str], headers: Mapping[str, str]) -> StreamWish:
    """Parse `after`, `source` and `type`; if a reader reconnects, its `Last-Event-ID` is used instead of `after`.

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
    """Return the values of a key that may occur several times, each time with one value or several between commas."""
    return frozenset(value for values in query.getall(name, []) for value in values.split(",") if value)
