"""Parses the filters of the page of events, which are parameters of its URL. Pure."""

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

from pydantic import BeforeValidator, Field

from notifier.events import EventType
from notifier.store.queries.event_log import EventLogFilter
from notifier.store.tables.outbox import DeliveryState
from notifier.web.query_parameters import BaseQuery, parse_digits, parse_query
from notifier.web.requests import HIGHEST_INTEGER, MustBe, clamp_to_calendar, parse_moment_ms

if TYPE_CHECKING:
    from multidict import MultiMapping

_DATE_LENGTH = len("2026-11-21")


def _parse_time_ms(text: str, *, whole_day: bool) -> int:
    """Parse a date or an RFC 3339 time into Unix milliseconds.

    A date stands for the start of the day in this machine's time zone or, with `whole_day`, for the end of that day.
    """
    utc_ms = parse_moment_ms(text, whole_day=whole_day)
    if len(text) != _DATE_LENGTH:
        return utc_ms
    try:
        begin = datetime.combine(date.fromisoformat(text), time())
        return clamp_to_calendar(round((begin + timedelta(days=1 if whole_day else 0)).timestamp() * 1000))
    except (OverflowError, ValueError):
        # On the first day of the year 1 and the last day of the year 9999, `datetime` cannot convert every local time.
        return utc_ms


def _since(text: str) -> int:
    return _parse_time_ms(text, whole_day=False)


def _until(text: str) -> int:
    return _parse_time_ms(text, whole_day=True)


_Text = Annotated[str, MustBe("a text")]
_MUST_BE_TIME = MustBe("a date such as 2026-11-21, or a time such as 2026-11-21T17:00:00Z")


class EventLogQuery(BaseQuery):
    """The filters of a page of events. The page has only events with numbers below `before` (None: any number)."""

    person: _Text = ""
    training: _Text = ""
    type: Annotated[EventType | None, MustBe.one_of(EventType)] = None
    source: _Text = ""
    destination: _Text = ""
    state: Annotated[DeliveryState | None, MustBe.one_of(DeliveryState)] = None
    since: Annotated[int | None, BeforeValidator(_since), _MUST_BE_TIME] = None
    until: Annotated[int | None, BeforeValidator(_until), _MUST_BE_TIME] = None
    before: Annotated[
        Annotated[int, Field(ge=0, le=HIGHEST_INTEGER)] | None,
        BeforeValidator(parse_digits),
        MustBe("an event's sequence, as a whole number"),
    ] = None

    @property
    def event_filter(self) -> EventLogFilter:
        """The requested filters, without the position `before`."""
        types = frozenset[str]() if self.type is None else frozenset({str(self.type)})
        return EventLogFilter(
            self.person.strip(),
            self.training.strip(),
            types,
            self.source.strip(),
            self.destination.strip(),
            self.state,
            self.since,
            self.until,
        )


FILTER_NAMES = tuple(name for name in EventLogQuery.model_fields if name != "before")
"""The names of the filters."""


def parse_event_log(query: "MultiMapping[str]") -> EventLogQuery:
    """Parse the query parameters of the page of events. Raises WrongRequestError."""
    return parse_query(EventLogQuery, query)


def given_filters(query: "MultiMapping[str]") -> dict[str, str]:
    """Return the filters in a query as the user wrote them, without empty ones."""
    return {name: value for name in FILTER_NAMES if (value := query.get(name, "").strip())}


def page_address(path: str, filters: Mapping[str, str], before: int | None = None) -> str:
    """Return a URL with these filters. `path` is the path of the page of events or of a download."""
    parameters = {**filters, **({} if before is None else {"before": str(before)})}
    return f"{path}?{urlencode(parameters, errors='replace')}" if parameters else path
