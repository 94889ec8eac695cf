"""Reading what a peer answered: how long it asks us to wait, and what of its words may be shown."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qsl, unquote, urlsplit

from notifier.deliver.policy import LONGEST_WAIT
from notifier.redact import redact

LONGEST_DETAIL = 300
"""Characters of a peer's words that are kept."""

_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_LONG_SEGMENT = 16


def retry_after(value: str | None, now_ms: int) -> float | None:
    """Read a `Retry-After` header, seconds or HTTP date (RFC 9110, section 10.2.3), as seconds from now.

    Clamped to 0..LONGEST_WAIT; None when there is none or it makes no sense.
    """
    if value is None:
        return None
    value = value.strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        wait = (moment - datetime.fromtimestamp(now_ms / 1000, UTC)).total_seconds()
    except OverflowError:
        return None
    return min(max(wait, 0.0), LONGEST_WAIT)


def shown(text: str, secrets: tuple[str, ...]) -> str:
    """Make a peer's words fit to be shown: without secrets, on one line of printable characters, cut to length."""
    line = " ".join(redact(text, *secrets).split())
    if not line.isprintable():
        line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    return line if len(line) <= LONGEST_DETAIL else line[: LONGEST_DETAIL - 1] + "…"


def header_secrets(value: str) -> tuple[str, ...]:
    """Return what of a header's value a peer may repeat that must not be shown: all of it, or all after its scheme."""
    scheme, _, credentials = value.partition(" ")
    return (value, credentials or scheme)


def url_secrets(url: str) -> tuple[str, ...]:
    """Return what of a URL a peer may repeat that must not be shown.

    The path and query (a webhook's path *is* its secret), long path segments on their own, passwords and query
    values; each as it stands in the URL and decoded.
    """
    parts = urlsplit(url)
    path = parts.path if parts.path != "/" else ""
    written = [url, path, *(segment for segment in path.split("/") if len(segment) >= _LONG_SEGMENT)]
    written += [parts.query, parts.password or ""]
    values = [value for _, value in parse_qsl(parts.query)]
    return tuple(dict.fromkeys(text for text in (*written, *map(unquote, written), *values) if text))
