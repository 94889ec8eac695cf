"""What a request asks for, read from its JSON body or its query; whatever is wrong with it is a sentence. Pure."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import orjson

from notifier.completions import EventType
from notifier.ledger.again import Past, Retry
from notifier.ledger.history import DeliveryCursor, DeliveryFilter
from notifier.ledger.outbox import DeliveryState

MOST_ON_A_PAGE: Final = 1000
_ON_A_PAGE: Final = 100
_HIGHEST: Final = 2**63 - 1
"""The highest number that SQLite knows."""

RETRIED_STATES: Final = (DeliveryState.DEAD, DeliveryState.PENDING)
"""The states of deliveries that can be put back into the queue."""

REPLAYED_TYPES: Final = tuple(str(type_) for type_ in EventType if type_ is not EventType.ALERT)
"""The types of events that can be replayed: notices of the past would only confuse."""

_CURSOR: Final = re.compile(r"([0-9]{1,19})(?:,([a-z0-9-]*))?")
_LIMIT: Final = re.compile(r"[0-9]{1,4}")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9:]{5})"
)


class WrongRequestError(Exception):
    """A request asks for something that cannot be meant; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A wish for past events: detected from `since_ms` on and before `until_ms` (Unix ms; None: until now).

    None for a destination, source or type means any. `dry_run` wants to know only how many there are.
    """

    since_ms: int
    until_ms: int | None = None
    destination: str | None = None
    source: str | None = None
    type: str | None = None
    dry_run: bool = False

    def past(self, now_ms: int, newest: int, newest_attempt: int) -> Past:
        """Return which past events are meant.

        What is detected from now on (behind number `newest`), or delivered from now on, is none of it.
        """
        until_ms = now_ms if self.until_ms is None else self.until_ms
        return Past(self.since_ms, until_ms, newest, self.source, self.type, newest_attempt)


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """A wish for up to `limit` of some deliveries behind a place in their order."""

    chosen: DeliveryFilter
    after: DeliveryCursor
    limit: int


def retry_wish(body: bytes) -> Retry:
    """Read `{"event_ids": [...], "destination", "state"}`, all of it optional. Raises WrongRequestError."""
    fields = _fields(body, {"event_ids", "destination", "state"})
    ids = fields.get("event_ids") or []
    if not isinstance(ids, list) or not all(isinstance(id_, str) for id_ in ids):
        raise WrongRequestError("`event_ids` must be a list of event ids")
    state = _text(fields, "state") or DeliveryState.DEAD
    if state not in RETRIED_STATES:
        raise WrongRequestError("`state` must be dead or pending: what is delivered is sent again by a replay")
    return Retry(DeliveryState(state), tuple(dict.fromkeys(ids)), _text(fields, "destination"))


def replay_wish(body: bytes) -> Replay:
    """Read `{"since", "until", "destination", "source", "type", "dry_run"}`, `since` required.

    Raises WrongRequestError.
    """
    fields = _fields(body, {"since", "until", "destination", "source", "type", "dry_run"})
    since, until = _text(fields, "since"), _text(fields, "until")
    if since is None:
        raise WrongRequestError("`since` is required: a date, 2026-11-21, or a moment, 2026-11-21T17:00:00Z")
    type_ = _text(fields, "type")
    if type_ is not None and type_ not in REPLAYED_TYPES:
        raise WrongRequestError(f"`type` must be one of {', '.join(REPLAYED_TYPES)}")
    dry_run = fields.get("dry_run") or False
    if not isinstance(dry_run, bool):
        raise WrongRequestError("`dry_run` must be true or false")
    since_ms = _named_moment("since", since)
    until_ms = None if until is None else _named_moment("until", until, whole_day=True)
    if until_ms is not None and until_ms <= since_ms:
        raise WrongRequestError("`until` must be later than `since`")
    return Replay(since_ms, until_ms, _text(fields, "destination"), _text(fields, "source"), type_, dry_run)


def stop_wish(body: bytes) -> int | None:
    """Read `{"id"}`, the number of the replay that is to end, or None: whichever is under way.

    Raises WrongRequestError.
    """
    number = _fields(body, {"id"}).get("id")
    if number is not None and (type(number) is not int or not 0 < number <= _HIGHEST):
        raise WrongRequestError("`id` must be the number of a replay, as `POST /v1/replay` gives it")
    return number


def delivery_page(query: Mapping[str, str]) -> DeliveryPage:
    """Read `state`, `destination`, `after` (`SEQ,DESTINATION`) and `limit`, all optional. Raises WrongRequestError."""
    state = query.get("state") or None
    if state is not None and state not in set(DeliveryState):
        raise WrongRequestError(f"`state` must be one of {', '.join(DeliveryState)}")
    chosen = DeliveryFilter(None if state is None else DeliveryState(state), query.get("destination") or None)
    limit = query.get("limit") or str(_ON_A_PAGE)
    if not _LIMIT.fullmatch(limit) or not 1 <= int(limit) <= MOST_ON_A_PAGE:
        raise WrongRequestError(f"`limit` must be 1 to {MOST_ON_A_PAGE}")
    place = _CURSOR.fullmatch(query.get("after") or "0")
    if place is None or int(place[1]) > _HIGHEST:
        raise WrongRequestError("`after` must be the `next` of the page before, or an event's sequence")
    return DeliveryPage(chosen, DeliveryCursor(int(place[1]), place[2] or ""), int(limit))


def written_cursor(cursor: DeliveryCursor) -> str:
    """Write a place in the order of deliveries as `after` takes it."""
    return f"{cursor.sequence},{cursor.destination}"


def moment_ms(text: str, *, whole_day: bool = False) -> int:
    """Read a date (UTC) or an RFC 3339 moment as Unix milliseconds; of a date, its beginning, or the `whole_day`'s end.

    Raises ValueError for anything else.
    """
    if _DATE.fullmatch(text):
        day = date.fromisoformat(text) + timedelta(days=1 if whole_day else 0)
        at = datetime(day.year, day.month, day.day, tzinfo=UTC)
    elif _MOMENT.fullmatch(text):
        at = datetime.fromisoformat(text.upper())
    else:
        raise ValueError(text)
    return round(at.timestamp() * 1000)


def _named_moment(name: str, text: str, *, whole_day: bool = False) -> int:
    try:
        return moment_ms(text, whole_day=whole_day)
    except (ValueError, OverflowError) as error:
        example = "a date, 2026-11-21, or a moment, 2026-11-21T17:00:00Z"
        raise WrongRequestError(f"`{name}` must be {example}") from error


def _fields(body: bytes, known: Collection[str]) -> dict[str, Any]:
    """Read a JSON object of known fields; nothing at all is an empty one."""
    try:
        fields = orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError as error:
        raise WrongRequestError(f"the body is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise WrongRequestError("the body must be a JSON object")
    if unknown := [name for name in fields if name not in known]:
        raise WrongRequestError(f"there is no field `{unknown[0]}`; there is {', '.join(sorted(known))}")
    return fields


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    """Read a text; an empty one is none."""
    value = fields.get(name) or None
    if value is not None and not isinstance(value, str):
        raise WrongRequestError(f"`{name}` must be a text")
    return value
