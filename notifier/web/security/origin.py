"""Detects requests from pages of other origins, by headers that the browser adds. Pure.

Programs that are not browsers send none of these headers, and are not restricted. A web page cannot change the headers:
https://developer.mozilla.org/docs/Web/HTTP/Headers/Sec-Fetch-Site
"""

from collections.abc import Mapping

from aiohttp import hdrs

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""The HTTP methods that change nothing."""

_JSON = "application/json"
_FORM_TYPES = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})
"""The content types that a page may send to any host without a preflight request
(https://fetch.spec.whatwg.org/#cors-safelisted-request-header)."""


def is_forbidden_cross_origin(method: str, headers: Mapping[str, str]) -> bool:
    """Return whether a request comes from a page of another origin and must be refused.

    Such a page may link to this server. It may neither embed anything from this server nor change anything.
    """
    if headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}:
        is_link = headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"
        return method not in SAFE_METHODS or not is_link
    origin = headers.get(hdrs.ORIGIN)
    return method not in SAFE_METHODS and origin is not None and origin.partition("://")[2] != headers.get(hdrs.HOST)


def has_json_or_no_body(headers: Mapping[str, str]) -> bool:
    """Return whether a request has a JSON body, or none.

    The result is False for every posted HTML form: even with an empty form, a browser sends a form's content type.
    """
    kind = headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
    if headers.get(hdrs.CONTENT_LENGTH, "0") == "0" and hdrs.TRANSFER_ENCODING not in headers:
        return kind not in _FORM_TYPES
    return kind == _JSON
