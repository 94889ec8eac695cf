"""Parses requests from their JSON body or query; errors are described in a sentence. Pure."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import orjson

from notifier.events import EventType
from notifier.store.queries.history import DeliveryCursor, DeliveryFilter
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.requeue import Drop, ReplayRange, Retry
from notifier.watch.detection.holds import Direction

MOST_ON_A_PAGE: Final = 1000
_ON_A_PAGE: Final = 100
_LONGEST_NAME: Final = 500
_HIGHEST: Final = 2**63 - 1
"""The highest number that SQLite supports."""

RETRIED_STATES: Final = (DeliveryState.DEAD, DeliveryState.PENDING, DeliveryState.DELIVERED)
"""The states of deliveries that can be put back into the queue; delivered ones only if their events are named."""

DROPPED_STATES: Final = (DeliveryState.DEAD, DeliveryState.PENDING)
"""The states of deliveries that can be removed from the queue."""

NAME_EVENTS: Final = "name the events that are to be sent again: to send all of some time again is a replay"
"""The error message for a request to retry all delivered events."""

REPLAYED_TYPES: Final = tuple(str(type_) for type_ in EventType if type_ is not EventType.ALERT)
"""The types of events that can be replayed. Notices cannot, because old ones would only confuse."""

_CURSOR: Final = re.compile(r"([0-9]{1,19})(?:,([a-z0-9-]*))?")
_LIMIT: Final = re.compile(r"[0-9]{1,4}")
_NUMBER: Final = re.compile(r"[0-9]{1,20}")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9:]{5})"
)


class WrongRequestError(Exception):
    """A field of the request is missing or invalid; the message says which."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A request to replay the events detected from `since_ms` to before `until_ms` (Unix ms; None: until now).

    None for a destination, source or type means any. With `dry_run`, the events are only counted.
    """

    since_ms: int
    until_ms: int | None = None
    destination: str | None = None
    source: str | None = None
    type: str | None = None
    dry_run: bool = False

    def past(self, now_ms: int, newest: int, newest_attempt: int) -> ReplayRange:
        """Return the range of events to replay.

        It excludes events with a number above `newest` (detected from now on) and attempts with a number above
        `newest_attempt` (made from now on).
        """
        until_ms = now_ms if self.until_ms is None else self.until_ms
        return ReplayRange(self.since_ms, until_ms, newest, self.source, self.type, newest_attempt)


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """A request for up to `limit` deliveries that `chosen` admits, after a place in their order."""

    chosen: DeliveryFilter
    after: DeliveryCursor
    limit: int


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """A request to release the changes of one kind that a source holds back; `silently`: without reporting them."""

    what: Direction
    silently: bool


def parse_release(body: bytes) -> ReleaseRequest:
    """Parse `{"what": "removals|arrivals|changes", "silently": false}`. Raises WrongRequestError."""
    fields = _fields(body, {"what", "silently"})
    what, silently = fields.get("what"), fields.get("silently", False)
    if not isinstance(what, str) or what not in set(Direction):
        raise WrongRequestError(f"`what` must be one of {', '.join(Direction)}")
    if not isinstance(silently, bool):
        raise WrongRequestError("`silently` must be true or false")
    return ReleaseRequest(Direction(str(what)), silently)


def retry_wish(body: bytes) -> Retry:
    """Parse `{"event_ids": [...], "destination", "state"}`, all optional. Raises WrongRequestError."""
    fields = _fields(body, {"event_ids", "destination", "state"})
    ids = _event_ids(fields)
    state = _text(fields, "state") or DeliveryState.DEAD
    if state not in RETRIED_STATES:
        raise WrongRequestError("`state` must be dead, pending or delivered")
    if state == DeliveryState.DELIVERED and not ids:
        raise WrongRequestError(NAME_EVENTS)
    return Retry(DeliveryState(state), ids, _text(fields, "destination"))


def drop_wish(body: bytes) -> tuple[Drop, bool]:
    """Parse `{"event_ids": [...], "destination", "state", "unmatched", "dry_run"}`.

    Event ids or a destination are required. Returns the deliveries to drop, and whether they are only to be counted.
    Raises WrongRequestError.
    """
    fields = _fields(body, {"event_ids", "destination", "state", "unmatched", "dry_run"})
    ids, destination = _event_ids(fields), _text(fields, "destination")
    if not ids and destination is None:
        raise WrongRequestError("name events in `event_ids`, or a `destination`")
    state = _text(fields, "state") or DeliveryState.PENDING
    if state not in DROPPED_STATES:
        raise WrongRequestError("`state` must be pending or dead: what is delivered cannot be dropped")
    unmatched = _truth(fields, "unmatched")
    return Drop(ids, destination, DeliveryState(state), unmatched=unmatched), _truth(fields, "dry_run")


def move_wish(body: bytes) -> tuple[str, str]:
    """Parse `{"from", "to"}`, the names of two destinations. Raises WrongRequestError."""
    fields = _fields(body, {"from", "to"})
    old, new = _text(fields, "from"), _text(fields, "to")
    if old is None or new is None:
        raise WrongRequestError("`from` and `to` must be the names of two destinations")
    return old, new


def forget_wish(body: bytes) -> tuple[str, bool]:
    """Read `{"person", "dry_run"}`: whose data is erased, and whether nothing is yet. Raises WrongRequestError."""
    fields = _fields(body, {"person", "dry_run"})
    person = (_text(fields, "person") or "").strip()
    if not 0 < len(person) <= _LONGEST_NAME or not _is_unicode(person):
        raise WrongRequestError("`person` must be a user's id, an employee number or an exact name")
    return person, _truth(fields, "dry_run")


def _is_unicode(text: str) -> bool:
    """Return whether a text can be stored: JSON can contain halves of characters."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def replay_wish(body: bytes) -> Replay:
    """Parse `{"since", "until", "destination", "source", "type", "dry_run"}`; `since` is required.

    Raises WrongRequestError.
    """
    fields = _fields(body, {"since", "until", "destination", "source", "type", "dry_run"})
    since, until = _text(fields, "since"), _text(fields, "until")
    if since is None:
        raise WrongRequestError("`since` is required: a date, 2026-11-21, or a moment, 2026-11-21T17:00:00Z")
    type_ = _text(fields, "type")
    if type_ is not None and type_ not in REPLAYED_TYPES:
        raise WrongRequestError(f"`type` must be one of {', '.join(REPLAYED_TYPES)}")
    dry_run = _truth(fields, "dry_run")
    since_ms = _named_moment("since", since)
    until_ms = None if until is None else _named_moment("until", until, whole_day=True)
    if until_ms is not None and until_ms <= since_ms:
        raise WrongRequestError("`until` must be later than `since`")
    return Replay(since_ms, until_ms, _text(fields, "destination"), _text(fields, "source"), type_, dry_run)


def stop_wish(body: bytes) -> int | None:
    """Parse `{"id"}`, and return the number of the replay to stop, or None for all that are under way.

    Raises WrongRequestError.
    """
    number = _fields(body, {"id"}).get("id")
    if isinstance(number, float) and number.is_integer():
        # JSON does not distinguish integers from other numbers, so 7.0 means 7.
        number = int(number)
    if number is not None and (type(number) is not int or not 0 < number <= _HIGHEST):
        raise WrongRequestError("`id` must be the number of a replay, as `POST /v1/replay` gives it")
    return number


def delivery_page(query: Mapping[str, str]) -> DeliveryPage:
    """Parse `state`, `destination`, `after` (`SEQ,DESTINATION`) and `limit`, all optional. Raises WrongRequestError."""
    state = query.get("state") or None
    if state is not None and state not in set(DeliveryState):
        raise WrongRequestError(f"`state` must be one of {', '.join(DeliveryState)}")
    chosen = DeliveryFilter(None if state is None else DeliveryState(state), query.get("destination") or None)
    limit = page_limit(query)
    place = _CURSOR.fullmatch(query.get("after") or "0")
    if place is None or int(place[1]) > _HIGHEST:
        raise WrongRequestError("`after` must be the `next` of the page before, or an event's sequence")
    return DeliveryPage(chosen, DeliveryCursor(int(place[1]), place[2] or ""), limit)


def page_limit(query: Mapping[str, str]) -> int:
    """Parse `limit`, the size of a page. Raises WrongRequestError."""
    limit = query.get("limit") or str(_ON_A_PAGE)
    if not _LIMIT.fullmatch(limit) or not 1 <= int(limit) <= MOST_ON_A_PAGE:
        raise WrongRequestError(f"`limit` must be 1 to {MOST_ON_A_PAGE}")
    return int(limit)


def event_number(name: str, written: str) -> int:
    """Parse an event's `sequence` from the field `name`. Raises WrongRequestError."""
    if not _NUMBER.fullmatch(written) or int(written) > _HIGHEST:
        raise WrongRequestError(f"`{name}` must be an event's sequence, as a whole number")
    return int(written)


def written_cursor(cursor: DeliveryCursor) -> str:
    """Return a place in the order of deliveries in the format of the parameter `after`."""
    return f"{cursor.sequence},{cursor.destination}"


def moment_ms(text: str, *, whole_day: bool = False) -> int:
    """Parse a date (UTC) or an RFC 3339 time into Unix milliseconds.

    A date means the beginning of the day, or with `whole_day` its end. Raises ValueError for anything else.
    """
    if _DATE.fullmatch(text):
        day = date.fromisoformat(text) + timedelta(days=1 if whole_day else 0)
        at = datetime(day.year, day.month, day.day, tzinfo=UTC)
    elif _MOMENT.fullmatch(text):
        at = datetime.fromisoformat(text.upper())
    else:
        raise ValueError(text)
    return round(at.timestamp() * 1000)


def _event_ids(fields: Mapping[str, Any]) -> tuple[str, ...]:
    ids = fields.get("event_ids")
    ids = [] if ids is None else ids
    if not isinstance(ids, list) or not all(isinstance(id_, str) for id_ in ids):
        raise WrongRequestError("`event_ids` must be a list of event ids")
    return tuple(dict.fromkeys(ids))


def _truth(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    value = False if value is None else value
    if not isinstance(value, bool):
        raise WrongRequestError(f"`{name}` must be true or false")
    return value


def _named_moment(name: str, text: str, *, whole_day: bool = False) -> int:
    try:
        return moment_ms(text, whole_day=whole_day)
    except (ValueError, OverflowError) as error:
        example = "a date, 2026-11-21, or a moment, 2026-11-21T17:00:00Z"
        raise WrongRequestError(f"`{name}` must be {example}") from error


def _fields(body: bytes, known: Collection[str]) -> dict[str, Any]:
    """Parse a JSON object that has only known fields; an empty body is an empty object. Raises WrongRequestError."""
    try:
        fields = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError as error:
        raise WrongRequestError(f"the body is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise WrongRequestError("the body must be a JSON object")
    if unknown := [name for name in fields if name not in known]:
        raise WrongRequestError(f"there is no field `{unknown[0]}`; there is {', '.join(sorted(known))}")
    return fields


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    """Return a text field, or None if it is missing or empty. Raises WrongRequestError."""
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise WrongRequestError(f"`{name}` must be a text")
    return value or None
