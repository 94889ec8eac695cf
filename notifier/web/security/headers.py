"""Sets the default headers of answers. They forbid caching, framing, loading content, and guessing content types."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from aiohttp import hdrs, web

DEFAULT_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        hdrs.CACHE_CONTROL: "no-store",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
)
"""The default headers of an answer. They forbid browsers to load or run anything, which suits JSON and metrics."""


def set_default_headers(response: web.StreamResponse) -> None:
    """Add the default headers that an answer does not set itself."""
    for name, value in DEFAULT_HEADERS.items():
        response.headers.setdefault(name, value)
    # The default would reveal the versions of Python and aiohttp.
    response.headers[hdrs.SERVER] = "completion-notifier"


async def add_default_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Call `set_default_headers` for an answer, as a handler of `Application.on_response_prepare`."""
    set_default_headers(response)
