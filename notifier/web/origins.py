"""Where a request comes from, by what a browser says of it, and what it brings. Pure.

A program says nothing of all this and may do everything. A browser says it truthfully, and a web page has no way to
make it lie: https://developer.mozilla.org/docs/Web/HTTP/Headers/Sec-Fetch-Site
"""

from collections.abc import Mapping

from aiohttp import hdrs

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""What changes nothing."""

_JSON = "application/json"
_OF_FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})
"""What a page may send anywhere without asking first (https://fetch.spec.whatwg.org/#cors-safelisted-request-header).
"""


def is_foreign(method: str, headers: Mapping[str, str]) -> bool:
    """Tell whether a page of another origin asks for something that it has no business with.

    It may point a browser here, so that links work. It may not load anything into itself, nor change anything.
    """
    if headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}:
        is_link = headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"
        return method not in SAFE_METHODS or not is_link
    origin = headers.get(hdrs.ORIGIN)
    return method not in SAFE_METHODS and origin is not None and origin.partition("://")[2] != headers.get(hdrs.HOST)


def is_json_or_nothing(headers: Mapping[str, str]) -> bool:
    """Tell whether a request brings JSON, or nothing: what no form of a page can send unasked."""
    kind = headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
    if headers.get(hdrs.CONTENT_LENGTH, "0") == "0" and hdrs.TRANSFER_ENCODING not in headers:
        return kind not in _OF_FORMS
    return kind == _JSON
