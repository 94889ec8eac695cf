"""Parses `Retry-After` (RFC 9110, section 10.2.3), for all peers in the same way."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final

_SECONDS: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def retry_after(headers: Mapping[str, str], now_ms: int | None = None) -> float | None:
    """Return an answer's `Retry-After` in seconds (at least 0), or None if it is missing or invalid.

    If `Retry-After` is a date, the seconds are counted from the answer's own `Date`, because the peer's clock may be
    wrong. Without a `Date`, they are counted from `now_ms` (this machine's time). Without `now_ms`, the result is None.
    The caller must limit the result.
    """
    value = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    until, now = http_date(value), http_date(headers.get("Date", ""))
    try:
        if now is None and now_ms is not None:
            now = datetime.fromtimestamp(now_ms / 1000, UTC)
        return None if until is None or now is None else max(0.0, (until - now).total_seconds())
    except OverflowError:
        return None


def http_date(value: str) -> datetime | None:
    """Return an HTTP date as a datetime, or None if it is invalid. A date without a zone is taken as UTC."""
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


@lru_cache(maxsize=64)
def date_ms(value: str) -> int | None:
    """Return an HTTP date in Unix milliseconds, or None if it is invalid."""
    moment = http_date(value)
    return None if moment is None else int(moment.timestamp()) * 1000
