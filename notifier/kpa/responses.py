"""Converts an HTTP answer into the JSON object that the API returned, or raises an error with a named reason."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from notifier.http.exchange import Answer
from notifier.http.retry_after import date_ms, retry_after
from notifier.kpa.errors import ApiError, ApiErrorReason, error_of_answer, quoted
from notifier.kpa.field_parsers import whole_number

_OK = 200
_REDIRECTS = range(300, 400)
_LONGEST_RETRY_AFTER = 3600.0
_HIGHEST_COUNT = 10**12


def read_object(answer: Answer, token: str, parse: Callable[[bytes], Any]) -> dict[str, Any]:
    """Return the JSON object of an answer that says `"ok": true`.

    For any other answer, such as one from a proxy, ApiError is raised. `parse` turns the body into values, and raises
    ValueError if it is not JSON.
    """
    if answer.status != _OK:
        raise _http_status(answer, token)
    try:
        document = parse(answer.body)
    except (ValueError, RecursionError) as error:
        raise ApiError(ApiErrorReason.NOT_JSON, _describe_body(answer, token)) from error
    match document:
        case {"ok": True}:
            return dict(document)
        case {"ok": False}:
            raise error_of_answer(document.get("error"), document.get("description"), token)
        case dict():
            raise ApiError(ApiErrorReason.UNEXPECTED_SHAPE, "an object without `ok`")
        case _:
            raise ApiError(ApiErrorReason.UNEXPECTED_SHAPE, "no object")


def get_list(document: dict[str, Any], name: str) -> list[Any]:
    """Return the list with this name in an answer. Raises ApiError if there is none."""
    found = document.get(name)
    if not isinstance(found, list):
        raise ApiError(ApiErrorReason.UNEXPECTED_SHAPE, f"no list `{name}`")
    return found


def get_paging(document: dict[str, Any]) -> dict[str, Any]:
    """Return the page information in an answer, empty if there is none."""
    paging = document.get("paging")
    return paging if isinstance(paging, dict) else {}


def parse_count(value: object) -> int | None:
    """Return a number of records or pages, given as a number or as text; None if it is missing or not plausible."""
    if value is None or value == "":
        return None
    number = whole_number(value)
    return number if number is not None and 0 <= number <= _HIGHEST_COUNT else None


def parse_json(body: bytes) -> Any:
    """Parse a JSON body. Raises ValueError or RecursionError if that fails.

    Half of a surrogate pair, as in a note that was cut within an emoji, becomes U+FFFD. Otherwise the whole record
    would be lost, because neither orjson nor SQLite accepts such a half.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        mended = json.dumps(json.loads(body), ensure_ascii=False).encode("utf-16", "surrogatepass")
        return orjson.loads(mended.decode("utf-16", "replace"))


def served_at_ms(headers: Mapping[str, str]) -> int | None:
    """Return the server's clock from the Date header, in Unix milliseconds; None without a valid header."""
    return date_ms(headers.get("Date", ""))


def _http_status(answer: Answer, token: str) -> ApiError:
    detail = f"HTTP {answer.status}"
    if answer.status in _REDIRECTS and "Location" in answer.headers:
        detail += f", a redirect to {quoted(answer.headers['Location'], token)}, which is never followed"
    asked = retry_after(answer.headers)
    wait = None if asked is None else min(asked, _LONGEST_RETRY_AFTER)
    return ApiError(ApiErrorReason.HTTP_STATUS, detail, retry_after=wait)


def _describe_body(answer: Answer, token: str) -> str:
    if not answer.body:
        return "an empty body"
    return f"{len(answer.body)} bytes of {quoted(answer.headers.get('Content-Type', 'unknown type'), token)}"
