"""From an HTTP answer to the JSON object the API meant, or to a named failure."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from notifier.kpa.failures import ApiFailure, Reason, quoted, refusal
from notifier.transport import Answer

_OK = 200
_REDIRECTS = range(300, 400)
_LONGEST_RETRY_AFTER = 3600.0


def read_object(answer: Answer, token: str, parse: Callable[[bytes], Any]) -> dict[str, Any]:
    """Return the object the API answered with, which says `"ok": true`.

    `parse` makes values of the body and raises ValueError where it is no JSON. Raises ApiFailure for everything else
    that can stand in the API's place.
    """
    if answer.status != _OK:
        raise _http_status(answer, token)
    try:
        document = parse(answer.body)
    except (ValueError, RecursionError) as error:
        raise ApiFailure(Reason.NOT_JSON, _kind(answer, token)) from error
    match document:
        case {"ok": True}:
            return dict(document)
        case {"ok": False}:
            raise refusal(document.get("error"), document.get("description"), token)
        case dict():
            raise ApiFailure(Reason.UNEXPECTED_SHAPE, "an object without `ok`")
        case _:
            raise ApiFailure(Reason.UNEXPECTED_SHAPE, "no object")


def list_in(document: dict[str, Any], name: str) -> list[Any]:
    """Return the list an answer is about; raises ApiFailure when there is none."""
    found = document.get(name)
    if not isinstance(found, list):
        raise ApiFailure(Reason.UNEXPECTED_SHAPE, f"no list `{name}`")
    return found


def parse_json(body: bytes) -> Any:
    """Parse a body; raises ValueError, or RecursionError, where it is no JSON.

    Strings may hold half of a surrogate pair, as when someone's note was cut within an emoji: a replacement character
    takes its place, since neither orjson nor SQLite could hold it, and its record would be lost.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        mended = json.dumps(json.loads(body), ensure_ascii=False).encode("utf-16", "surrogatepass")
        return orjson.loads(mended.decode("utf-16", "replace"))


def served_at_ms(headers: Mapping[str, str]) -> int | None:
    """Return the server's own clock, from the Date header, in Unix milliseconds; None where there is none."""
    moment = _http_date(headers.get("Date", ""))
    return None if moment is None else int(moment.timestamp()) * 1000


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds the peer wants to be left alone, an hour at the most; None where it does not say.

    A date in Retry-After is taken against the same answer's Date, for the peer's clock need not be ours.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), _LONGEST_RETRY_AFTER)
    until, now = _http_date(value), _http_date(headers.get("Date", ""))
    if until is None or now is None:
        return None
    return min(max(0.0, (until - now).total_seconds()), _LONGEST_RETRY_AFTER)


def _http_date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    except (ValueError, OverflowError):
        return None


def _http_status(answer: Answer, token: str) -> ApiFailure:
    detail = f"HTTP {answer.status}"
    if answer.status in _REDIRECTS and "Location" in answer.headers:
        detail += f", a redirect to {quoted(answer.headers['Location'], token)}, which is never followed"
    return ApiFailure(Reason.HTTP_STATUS, detail, retry_after=retry_after(answer.headers))


def _kind(answer: Answer, token: str) -> str:
    if not answer.body:
        return "an empty body"
    return f"{len(answer.body)} bytes of {quoted(answer.headers.get('Content-Type', 'unknown type'), token)}"
